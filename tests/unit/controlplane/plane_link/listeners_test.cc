#include "controlplane/plane_link/listeners.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "controlplane/plane_link/command_port.h"

namespace qanat::controlplane {
namespace {

using Progress = Listeners::Progress;

ListenerSpec spec(std::string_view address) {
    return {ring::ListenerKind::tunnel, *wire::Endpoint::parse(address), "--listen or node.listen"};
}

ring::ListenResult result(uint32_t listener, std::string_view address, int error = 0) {
    ring::ListenResult made{};
    made.listener = listener;
    made.error = error;
    made.address = to_ring(*wire::Endpoint::parse(address));
    return made;
}

TEST(Listeners, TheFirstEngineGoesAheadAlone) {
    Listeners listeners({spec("0.0.0.0:4000")});
    auto commands = listeners.start(3);
    ASSERT_EQ(commands.size(), 1u);
    EXPECT_EQ(commands[0].engine, 0u);
    EXPECT_EQ(commands[0].listen.check_exclusive, 1);
    EXPECT_FALSE(listeners.listening());

    commands.clear();
    EXPECT_EQ(listeners.on_result(0, result(0, "0.0.0.0:4000"), commands), Progress::waiting);
    ASSERT_EQ(commands.size(), 2u);
    EXPECT_EQ(commands[0].engine, 1u);
    EXPECT_EQ(commands[1].engine, 2u);
    EXPECT_EQ(commands[1].listen.check_exclusive, 0);

    commands.clear();
    EXPECT_EQ(listeners.on_result(2, result(0, "0.0.0.0:4000"), commands), Progress::waiting);
    EXPECT_EQ(listeners.on_result(1, result(0, "0.0.0.0:4000"), commands), Progress::listening);
    EXPECT_TRUE(commands.empty());
    EXPECT_TRUE(listeners.listening());
}

TEST(Listeners, AChosenPortIsSharedAndAskedForAgain) {
    Listeners listeners({spec("127.0.0.1:0"), spec("[::1]:0")});
    (void)listeners.start(2);
    std::vector<Listeners::Command> commands;
    (void)listeners.on_result(0, result(0, "127.0.0.1:50001"), commands);
    (void)listeners.on_result(0, result(1, "[::1]:50002"), commands);
    ASSERT_EQ(commands.size(), 2u);
    EXPECT_EQ(commands[0].listen.address.port, 50001);
    EXPECT_EQ(commands[1].listen.address.port, 50002);
    (void)listeners.on_result(1, result(0, "127.0.0.1:50001"), commands);
    EXPECT_EQ(listeners.on_result(1, result(1, "[::1]:50002"), commands), Progress::listening);
    EXPECT_EQ(listeners.addresses()[1].format(), "[::1]:50002");

    const auto again = listeners.start(1);
    ASSERT_EQ(again.size(), 2u);
    EXPECT_FALSE(listeners.listening());
    EXPECT_EQ(again[0].listen.address.port, 50001);
    EXPECT_EQ(again[0].listen.check_exclusive, 1);
}

TEST(Listeners, AFailureNamesAddressFieldAndRemedy) {
    Listeners listeners({spec("192.0.2.1:4000")});
    (void)listeners.start(2);
    std::vector<Listeners::Command> commands;
    EXPECT_EQ(listeners.on_result(0, result(0, "192.0.2.1:4000", EADDRINUSE), commands), Progress::failed);
    EXPECT_EQ(listeners.describe_failure(),
              "cannot listen on 192.0.2.1:4000: the address is in use (stop the program that uses it, or change "
              "--listen or node.listen)");
    EXPECT_EQ(listeners.retry().engine, 0u);
    EXPECT_EQ(listeners.retry().listen.check_exclusive, 1);
    EXPECT_EQ(listeners.on_result(0, result(0, "192.0.2.1:4000", EADDRNOTAVAIL), commands), Progress::failed);
    EXPECT_THAT(listeners.describe_failure(), testing::HasSubstr("no interface of this machine has that address"));
    EXPECT_EQ(listeners.on_result(0, result(0, "192.0.2.1:4000"), commands), Progress::waiting);
    EXPECT_EQ(listeners.on_result(1, result(0, "192.0.2.1:4000", EMFILE), commands), Progress::failed);
    EXPECT_EQ(listeners.retry().engine, 1u);
    EXPECT_EQ(listeners.on_result(1, result(0, "192.0.2.1:4000"), commands), Progress::listening);
}

TEST(Listeners, ResultsNobodyAskedForAreStray) {
    Listeners listeners({spec("127.0.0.1:4000")});
    std::vector<Listeners::Command> commands;
    EXPECT_EQ(listeners.on_result(0, result(0, "127.0.0.1:4000"), commands), Progress::stray);
    (void)listeners.start(2);
    EXPECT_EQ(listeners.on_result(1, result(0, "127.0.0.1:4000"), commands), Progress::stray);
    EXPECT_EQ(listeners.on_result(2, result(0, "127.0.0.1:4000"), commands), Progress::stray);
    EXPECT_EQ(listeners.on_result(0, result(1, "127.0.0.1:4000"), commands), Progress::stray);
    EXPECT_EQ(listeners.on_result(0, result(0, "127.0.0.1:4000"), commands), Progress::waiting);
    EXPECT_EQ(listeners.on_result(0, result(0, "127.0.0.1:4000"), commands), Progress::stray);
}

}  // namespace
}  // namespace qanat::controlplane
