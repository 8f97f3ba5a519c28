#include "dataplane/engine/inbox.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <thread>

namespace qanat::dataplane {
namespace {

std::string text(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

TEST(Inbox, PacketsArriveInOrderWithTheirDescriptors) {
    Inboxes inboxes = std::move(*Inboxes::make(2));
    std::array<uint8_t, kInboxPacketMax> buffer;
    EXPECT_TRUE(receive_packet(inboxes.receive_ends[0].get(), buffer).packet.empty());
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    const UniqueFd near(ends[0]);
    UniqueFd far(ends[1]);
    EXPECT_TRUE(send_packet(inboxes.send_ends[0].get(), as_bytes(std::string("first")), far.get()));
    EXPECT_TRUE(send_packet(inboxes.send_ends[0].get(), as_bytes(std::string("second")), -1));
    far.reset();
    EXPECT_TRUE(receive_packet(inboxes.receive_ends[1].get(), buffer).packet.empty());
    const Received first = receive_packet(inboxes.receive_ends[0].get(), buffer);
    EXPECT_EQ(text(first.packet), "first");
    ASSERT_TRUE(first.descriptor);
    ASSERT_EQ(::send(first.descriptor.get(), "x", 1, 0), 1);
    char byte = 0;
    EXPECT_EQ(::recv(near.get(), &byte, 1, 0), 1);
    const Received second = receive_packet(inboxes.receive_ends[0].get(), buffer);
    EXPECT_EQ(text(second.packet), "second");
    EXPECT_FALSE(second.descriptor);
}

TEST(Inbox, AFullOneRefusesAndGoesOnWhenItIsRead) {
    Inboxes inboxes = std::move(*Inboxes::make(1));
    const std::string packet(kInboxPacketMax, 'p');
    size_t sent = 0;
    while (send_packet(inboxes.send_ends[0].get(), as_bytes(packet), -1)) ASSERT_LT(++sent, 10'000u);
    EXPECT_GE(sent, 16u);
    std::array<uint8_t, kInboxPacketMax> buffer;
    for (size_t i = 0; i < sent; ++i)
        ASSERT_EQ(receive_packet(inboxes.receive_ends[0].get(), buffer).packet.size(), packet.size());
    EXPECT_TRUE(send_packet(inboxes.send_ends[0].get(), as_bytes(packet), -1));
}

// As between engines.
TEST(Inbox, ADescriptorArrivesInAnotherTable) {
    Inboxes inboxes = std::move(*Inboxes::make(1));
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    const UniqueFd near(ends[0]);
    UniqueFd far;
    std::thread other([&] {
        ASSERT_EQ(::unshare(CLONE_FILES), 0);
        EXPECT_TRUE(send_packet(inboxes.send_ends[0].get(), as_bytes(std::string("x")), ends[1]));
    });
    other.join();
    ::close(ends[1]);
    std::array<uint8_t, kInboxPacketMax> buffer;
    const Received received = receive_packet(inboxes.receive_ends[0].get(), buffer);
    ASSERT_TRUE(received.descriptor);
    ASSERT_EQ(::send(received.descriptor.get(), "y", 1, 0), 1);
    char byte = 0;
    EXPECT_EQ(::recv(near.get(), &byte, 1, 0), 1);
}

}  // namespace
}  // namespace qanat::dataplane
