#include "controlplane/loop/event_loop.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>

#include "common/base/unique_fd.h"
#include "controlplane/loop/fd_watch.h"
#include "controlplane/loop/signal_watch.h"
#include "controlplane/loop/timer.h"

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;

TEST(EventLoop, ReturnsWhenNothingCanEverHappen) {
    EventLoop loop;
    loop.run();
}

TEST(EventLoop, DeferredCallsRunInOrderAndAfterTheCaller) {
    EventLoop loop;
    std::string order;
    loop.defer([&] {
        loop.defer([&] {
            order += "c";
            loop.stop();
        });
        order += "a";
    });
    loop.defer([&] { order += "b"; });
    loop.run();
    EXPECT_EQ(order, "abc");
}

TEST(EventLoop, StopKeepsWhatWasNotCalled) {
    EventLoop loop;
    int calls = 0;
    loop.defer([&] { loop.stop(); });
    loop.defer([&] { ++calls; });
    loop.run();
    EXPECT_EQ(calls, 0);
    loop.run();
    EXPECT_EQ(calls, 1);
}

TEST(Timer, FiresOnceAndNotBeforeItsTime) {
    EventLoop loop;
    int fired = 0;
    Timer timer(loop, [&] { ++fired; });
    const Instant start = EventLoop::now();
    timer.start(milliseconds(20));
    loop.run();
    EXPECT_EQ(fired, 1);
    EXPECT_GE(EventLoop::now() - start, milliseconds(19));
}

TEST(Timer, RepeatsUntilCancelledAndCanBecomeAOneShot) {
    EventLoop loop;
    int fired = 0;
    std::optional<Timer> timer;
    timer.emplace(loop, [&] {
        if (++fired == 3) timer->start(milliseconds(1));
    });
    timer->start_every(milliseconds(1));
    loop.run();
    EXPECT_EQ(fired, 4);
}

TEST(Timer, MayDestroyItselfInItsCallback) {
    EventLoop loop;
    std::optional<Timer> timer;
    int fired = 0;
    timer.emplace(loop, [&] {
        timer.reset();
        ++fired;
    });
    timer->start_every(milliseconds(1));
    loop.run();
    EXPECT_EQ(fired, 1);
}

TEST(Timer, StartMovesItAndThePastIsNow) {
    EventLoop loop;
    int fired = 0;
    Timer timer(loop, [&] { ++fired; });
    timer.start(std::chrono::hours(1));
    timer.start_at(EventLoop::now() - std::chrono::hours(1));
    loop.run();
    EXPECT_EQ(fired, 1);
}

TEST(FdWatch, ReadsAndWrites) {
    EventLoop loop;
    std::array<int, 2> fds{};
    ASSERT_EQ(::pipe(fds.data()), 0);
    const UniqueFd in(fds[0]);
    const UniqueFd out(fds[1]);
    std::string order;
    std::optional<FdWatch> writer;
    std::optional<FdWatch> reader;
    writer.emplace(loop, out.get(), Readiness{.writable = true}, [&](Readiness ready) {
        EXPECT_TRUE(ready.writable);
        EXPECT_FALSE(ready.readable);
        order += "w";
        ASSERT_EQ(::write(out.get(), "x", 1), 1);
        writer->set_interest({});
        reader->set_interest({.readable = true});
    });
    reader.emplace(loop, in.get(), Readiness{}, [&](Readiness ready) {
        EXPECT_TRUE(ready.readable);
        order += "r";
        reader.reset();  // inside its own callback
        loop.stop();
    });
    loop.run();
    EXPECT_EQ(order, "wr");
}

TEST(SignalWatch, TurnsASignalIntoACall) {
    EventLoop loop;
    int calls = 0;
    SignalWatch watch(loop, SIGUSR1, [&] {
        ++calls;
        loop.stop();
    });
    ::kill(::getpid(), SIGUSR1);
    loop.run();
    EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace qanat::controlplane
