#include "controlplane/plane_link/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <string>

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

ring::Bootstrap bootstrap(uint32_t engines) {
    ring::Bootstrap made{};
    made.magic = ring::kBootstrapMagic;
    made.abi_version = ring::kAbiVersion;
    made.size = sizeof made;
    made.engines = engines;
    made.cores.fill(-1);
    made.role = ring::Role::node;
    made.limits.streams = 100;
    made.limits.sessions = 100;
    made.limits.unauthenticated = 10;
    made.limits.handshake_timeout_ms = made.limits.connect_timeout_ms = made.limits.resolve_timeout_ms = 1000;
    return made;
}

class SupervisorTest : public testing::Test {
protected:
    SupervisorTest() : give_up_(loop_, [this] { loop_.stop(); }) {
        ::unsetenv("FAKE_DATA_PLANE_MODE");
        give_up_.start(seconds(20));
    }
    ~SupervisorTest() override { ::unsetenv("FAKE_DATA_PLANE_MODE"); }

    void make(const char* mode = nullptr, std::string program = FAKE_DATA_PLANE) {
        if (mode != nullptr) ::setenv("FAKE_DATA_PLANE_MODE", mode, 1);
        supervisor_.emplace(loop_, std::move(program), bootstrap(2),
                            Supervisor::Handlers{
                                .on_ready =
                                    [this] {
                                        ++ready_;
                                        if (on_ready_) on_ready_();
                                    },
                                .on_event =
                                    [this](uint32_t engine, const ring::MessageView& event) {
                                        events_.emplace_back(engine, event.type());
                                        if (on_event_) on_event_(engine, event);
                                    },
                                .on_lost = [this] { ++lost_; },
                                .on_start_failed =
                                    [this](std::string message) {
                                        failed_ = std::move(message);
                                        loop_.stop();
                                    },
                                .on_stopped =
                                    [this](bool clean) {
                                        stopped_ = clean;
                                        loop_.stop();
                                    },
                            });
    }

    [[nodiscard]] bool process_exists(pid_t pid) const { return ::kill(pid, 0) == 0; }

    EventLoop loop_;
    Timer give_up_;
    std::optional<Supervisor> supervisor_;
    int ready_ = 0;
    int lost_ = 0;
    std::string failed_;
    std::optional<bool> stopped_;
    Callback on_ready_;
    std::function<void(uint32_t, const ring::MessageView&)> on_event_;
    std::vector<std::pair<uint32_t, ring::MessageType>> events_;
};

TEST_F(SupervisorTest, StartsListensAndStops) {
    make();
    on_ready_ = [this] {
        EXPECT_EQ(supervisor_->engines(), 2u);
        EXPECT_EQ(supervisor_->features(), "fake");
        EXPECT_EQ(supervisor_->memory_budget(), 1u << 20);
        EXPECT_EQ(supervisor_->counters(1).streams_total.load(), 3u);
        ring::Listen listen{};
        listen.kind = ring::ListenerKind::tunnel;
        listen.address = to_ring(*wire::Endpoint::parse("127.0.0.1:4000"));
        supervisor_->send_all(listen);
    };
    on_event_ = [this](uint32_t, const ring::MessageView&) {
        if (events_.size() == 2) supervisor_->stop();
    };
    ASSERT_TRUE(supervisor_->start().has_value());
    const pid_t pid = supervisor_->pid();
    loop_.run();
    EXPECT_EQ(stopped_, true);
    EXPECT_THAT(events_, testing::UnorderedElementsAre(testing::Pair(0u, ring::MessageType::listen_result),
                                                       testing::Pair(1u, ring::MessageType::listen_result)));
    EXPECT_FALSE(process_exists(pid));
    EXPECT_EQ(supervisor_->engines(), 0u);
}

TEST_F(SupervisorTest, AProgramThatIsNotThereFailsAtOnce) {
    make(nullptr, "/nonexistent/qanat-dataplane");
    const auto started = supervisor_->start();
    ASSERT_FALSE(started.has_value());
    EXPECT_THAT(started.error().message, testing::HasSubstr("cannot execute /nonexistent/qanat-dataplane"));
}

TEST_F(SupervisorTest, AFirstStartThatFailsIsReportedAndNotRepeated) {
    for (const auto& [mode, text] :
         {std::pair{"exit", "exit status 3"}, std::pair{"refuse", "no memory for anything"}}) {
        failed_.clear();
        make(mode);
        ASSERT_TRUE(supervisor_->start().has_value());
        const pid_t pid = supervisor_->pid();
        loop_.run();
        EXPECT_THAT(failed_, testing::HasSubstr(text));
        EXPECT_EQ(ready_, 0);
        EXPECT_FALSE(process_exists(pid));
    }
}

TEST_F(SupervisorTest, ADataPlaneThatDiesIsRestartedQuickly) {
    make();
    Instant killed{};
    on_ready_ = [&] {
        if (ready_ == 1) {
            killed = EventLoop::now();
            ::kill(supervisor_->pid(), SIGKILL);
        } else {
            EXPECT_LT(EventLoop::now() - killed, seconds(1));
            supervisor_->stop();
        }
    };
    ASSERT_TRUE(supervisor_->start().has_value());
    loop_.run();
    EXPECT_EQ(ready_, 2);
    EXPECT_EQ(lost_, 1);
    EXPECT_EQ(supervisor_->restarts(), 1u);
    EXPECT_EQ(stopped_, true);
}

TEST_F(SupervisorTest, CommandsWithoutADataPlaneVanish) {
    make();
    EXPECT_EQ(supervisor_->engines(), 0u);
    supervisor_->send_all(ring::Drain{});
    supervisor_->send(5, ring::Drain{});
    bool flushed = false;
    supervisor_->when_flushed([&] { flushed = true; });
    EXPECT_FALSE(flushed);
}

TEST_F(SupervisorTest, AForbiddenEventEndsTheDataPlane) {
    make("forge");
    on_ready_ = [this] {
        ::unsetenv("FAKE_DATA_PLANE_MODE");
        if (ready_ == 2) supervisor_->stop();
    };
    ASSERT_TRUE(supervisor_->start().has_value());
    loop_.run();
    EXPECT_EQ(lost_, 1);
    EXPECT_EQ(ready_, 2);
    EXPECT_TRUE(events_.empty());
}

TEST_F(SupervisorTest, OneThatDoesNotStopIsKilled) {
    make("stubborn");
    on_ready_ = [this] { supervisor_->stop(); };
    ASSERT_TRUE(supervisor_->start().has_value());
    const Instant start = EventLoop::now();
    loop_.run();
    EXPECT_EQ(stopped_, false);
    EXPECT_GE(EventLoop::now() - start, Supervisor::kStopTime);
}

TEST_F(SupervisorTest, StopNowDoesNotWait) {
    make("stubborn");
    on_ready_ = [this] { supervisor_->stop_now(); };
    ASSERT_TRUE(supervisor_->start().has_value());
    const Instant start = EventLoop::now();
    loop_.run();
    EXPECT_TRUE(stopped_.has_value());
    EXPECT_LT(EventLoop::now() - start, seconds(1));
}

TEST_F(SupervisorTest, StopBeforeTheReplyAndWithoutAProcess) {
    make("silent");
    ASSERT_TRUE(supervisor_->start().has_value());
    supervisor_->stop();
    loop_.run();
    EXPECT_TRUE(stopped_.has_value());
    EXPECT_EQ(ready_, 0);

    stopped_.reset();
    supervisor_->stop();
    loop_.run();
    EXPECT_EQ(stopped_, true);
}

TEST_F(SupervisorTest, DestroyingItLeavesNothingBehind) {
    make("silent");
    ASSERT_TRUE(supervisor_->start().has_value());
    const pid_t pid = supervisor_->pid();
    EXPECT_TRUE(process_exists(pid));
    supervisor_.reset();
    EXPECT_FALSE(process_exists(pid));
}

}  // namespace
}  // namespace qanat::controlplane
