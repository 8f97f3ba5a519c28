#include "controlplane/loop/acceptor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <optional>
#include <vector>

#include "common/base/log.h"
#include "tests/support/run_until.h"

namespace qanat::controlplane {
namespace {

// While it lives, this process can open nothing more.
class NoDescriptors {
public:
    NoDescriptors() {
        EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
        const UniqueFd next(::fcntl(0, F_DUPFD_CLOEXEC, 0));
        const rlimit none{static_cast<rlim_t>(next.get()), before_.rlim_max};
        EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    }
    ~NoDescriptors() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }
    NoDescriptors(const NoDescriptors&) = delete;
    NoDescriptors& operator=(const NoDescriptors&) = delete;

private:
    rlimit before_{};
};

class AcceptorTest : public testing::Test {
protected:
    AcceptorTest() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
        address_.sin_family = AF_INET;
        address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address_;
        EXPECT_EQ(::bind(listener_.get(), generic(), size), 0);
        EXPECT_EQ(::listen(listener_.get(), 64), 0);
        EXPECT_EQ(::getsockname(listener_.get(), generic(), &size), 0);
        acceptor_.emplace(loop_, "test", listener_.get(), [this](UniqueFd fd) { accepted_.push_back(std::move(fd)); });
        // The undefined-behaviour sanitizer opens a pipe to look at a class it has not met before, which fails without
        // descriptors: here it meets those of the log, of watches and of timers.
        log_info("the first connection");
        const UniqueFd first = connect();
        EXPECT_TRUE(run_until(loop_, [&] { return accepted_.size() == 1; }));
        accepted_.clear();
    }
    sockaddr* generic() { return static_cast<sockaddr*>(static_cast<void*>(&address_)); }

    UniqueFd connect() {
        UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::connect(fd.get(), generic(), sizeof address_), 0);
        return fd;
    }

    EventLoop loop_;
    sockaddr_in address_{};
    UniqueFd listener_;
    std::vector<UniqueFd> accepted_;
    std::optional<Acceptor> acceptor_;
};

TEST_F(AcceptorTest, takes_what_comes) {
    const UniqueFd one = connect();
    const UniqueFd other = connect();
    ASSERT_TRUE(run_until(loop_, [&] { return accepted_.size() == 2; }));
    EXPECT_EQ(::fcntl(accepted_[0].get(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    EXPECT_EQ(::fcntl(accepted_[0].get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    EXPECT_EQ(acceptor_->pauses(), 0U);
}

TEST_F(AcceptorTest, pauses_while_there_are_no_descriptors_and_then_goes_on) {
    const UniqueFd one = connect();
    const UniqueFd other = connect();
    {
        const NoDescriptors none;
        const Instant begin = EventLoop::now();
        ASSERT_TRUE(run_until(loop_, [&] { return acceptor_->pauses() >= 4; }));
        EXPECT_GE(EventLoop::now() - begin, 3 * Acceptor::kPause);
        EXPECT_TRUE(accepted_.empty());
    }
    ASSERT_TRUE(run_until(loop_, [&] { return accepted_.size() == 2; }));
    const UniqueFd another = connect();
    ASSERT_TRUE(run_until(loop_, [&] { return accepted_.size() == 3; }));
}

TEST_F(AcceptorTest, may_end_while_it_pauses) {
    const UniqueFd one = connect();
    {
        const NoDescriptors none;
        ASSERT_TRUE(run_until(loop_, [&] { return acceptor_->pauses() == 1; }));
    }
    acceptor_.reset();
    const Instant end = EventLoop::now() + 2 * Acceptor::kPause;
    ASSERT_TRUE(run_until(loop_, [&] { return EventLoop::now() >= end; }));
    EXPECT_TRUE(accepted_.empty());
}

}  // namespace
}  // namespace qanat::controlplane
