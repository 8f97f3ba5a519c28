#include "common/ring/bootstrap.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/ring/channel.h"
#include "common/ring/region.h"

namespace qanat::ring {
namespace {

using testing::HasSubstr;

Bootstrap sample_bootstrap() {
    Bootstrap message{};
    message.magic = kBootstrapMagic;
    message.abi_version = kAbiVersion;
    message.size = sizeof message;
    message.engines = 2;
    message.cores = {0, -1};
    message.role = Role::node;
    message.log_level = 1;
    message.limits = {.streams = 65536,
                      .sessions = 4096,
                      .unauthenticated = 1024,
                      .buffer_memory_mb = 0,
                      .handshake_timeout_ms = 10'000,
                      .connect_timeout_ms = 10'000,
                      .resolve_timeout_ms = 5'000};
    std::memcpy(message.run_as.data(), "nobody", 6);
    return message;
}

BootstrapReply sample_reply(uint32_t engines) {
    BootstrapReply reply{};
    reply.magic = kBootstrapMagic;
    reply.abi_version = kAbiVersion;
    reply.engines = engines;
    reply.region_size = region_size(engines);
    reply.memory_budget = 1 << 30;
    std::memcpy(reply.message.data(), "ready", 5);
    return reply;
}

size_t open_descriptors() {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
    return count;
}

class BootstrapSocket : public testing::Test {
protected:
    void SetUp() override {
        int pair[2];
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        control_.reset(pair[0]);
        data_.reset(pair[1]);
    }
    // Bytes and descriptors as a hostile peer would send them.
    void send_raw(int socket, const void* bytes, size_t size, const std::vector<int>& fds = {}) {
        alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))] = {};
        std::vector<char> copy(size + 1);
        if (size > 0) std::memcpy(copy.data(), bytes, size);
        iovec data{copy.data(), size};
        msghdr header{};
        header.msg_iov = &data;
        header.msg_iovlen = 1;
        if (!fds.empty()) {
            header.msg_control = control;
            header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
            cmsghdr* rights = CMSG_FIRSTHDR(&header);
            rights->cmsg_level = SOL_SOCKET;
            rights->cmsg_type = SCM_RIGHTS;
            rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
            std::memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
        }
        ASSERT_EQ(::sendmsg(socket, &header, MSG_NOSIGNAL), static_cast<ssize_t>(size));
    }
    std::string bootstrap_error(const std::function<void(Bootstrap&)>& change) {
        Bootstrap message = sample_bootstrap();
        change(message);
        send_raw(control_.get(), &message, sizeof message);
        const auto received = receive_bootstrap(data_.get());
        return received ? std::string() : received.error().message;
    }
    std::string reply_error(const BootstrapReply& reply, const std::vector<int>& fds) {
        send_raw(data_.get(), &reply, sizeof reply, fds);
        const auto received = receive_reply(control_.get(), 1000);
        return received ? std::string() : received.error().message;
    }

    UniqueFd control_;
    UniqueFd data_;
};

TEST_F(BootstrapSocket, HandsOverTheWholeLink) {
    for (const uint32_t engines : {1U, 2U, kEnginesMax}) {
        Bootstrap message = sample_bootstrap();
        message.engines = engines;
        ASSERT_TRUE(send_bootstrap(control_.get(), message));
        const auto asked = receive_bootstrap(data_.get());
        ASSERT_TRUE(asked) << asked.error().message;
        EXPECT_EQ(std::memcmp(&*asked, &message, sizeof message), 0);

        const auto region = Region::create(engines);
        ASSERT_TRUE(region);
        std::vector<UniqueFd> eventfds;
        std::vector<int> fds{region->fd()};
        for (uint32_t i = 0; i < 2 * engines; ++i) {
            eventfds.push_back(make_eventfd().value());
            fds.push_back(eventfds.back().get());
        }
        const auto sent = send_reply(data_.get(), sample_reply(engines), fds);
        ASSERT_TRUE(sent) << sent.error().message;
        auto received = receive_reply(control_.get(), 1000);
        ASSERT_TRUE(received) << received.error().message;
        ASSERT_EQ(received->fds.size(), reply_descriptors(engines));
        EXPECT_STREQ(received->reply.message.data(), "ready");
        for (const UniqueFd& fd : received->fds) EXPECT_NE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);

        EXPECT_EQ(::ftruncate(received->fds[0].get(), 4096), -1);
        const auto opened = Region::open(std::move(received->fds[0]), engines);
        ASSERT_TRUE(opened) << opened.error().message;

        // A command through the descriptors of the last engine.
        const size_t last = engines - 1;
        CommandSender sender(opened->engine(engines - 1).commands, std::move(received->fds[1 + 2 * last]));
        Receiver receiver(Direction::command, region->engine(engines - 1).commands, std::move(eventfds[2 * last]),
                          Role::node);
        EXPECT_TRUE(receiver.prepare_to_sleep());
        ASSERT_TRUE(
            sender.send(Settings{.stream_events = 1, .zero = {}, .pool_max = 0, .pool_min_rtt_us = 0, .zero2 = 0}));
        sender.flush();
        uint64_t rings = 0;
        EXPECT_EQ(::read(receiver.event_fd(), &rings, sizeof rings), 8);
        EXPECT_EQ(receiver.next().value()->get<Settings>().stream_events, 1);
    }
}

TEST_F(BootstrapSocket, FieldsOfBootstrap) {
    EXPECT_EQ(bootstrap_error([](Bootstrap&) {}), "");
    EXPECT_THAT(bootstrap_error([](Bootstrap& m) { m.magic ^= 1; }), HasSubstr("not a message of Qanat"));
    EXPECT_THAT(bootstrap_error([](Bootstrap& m) { m.abi_version = kAbiVersion + 1; }),
                HasSubstr("ring version 4, this program version 3"));
    struct Row {
        const char* field;
        std::function<void(Bootstrap&)> change;
    };
    const Row rows[] = {
        {"size", [](Bootstrap& m) { --m.size; }},
        {"engines", [](Bootstrap& m) { m.engines = 0; }},
        {"engines", [](Bootstrap& m) { m.engines = kEnginesMax + 1; }},
        {"cores", [](Bootstrap& m) { m.cores[1] = -2; }},
        {"role", [](Bootstrap& m) { m.role = Role{0}; }},
        {"role", [](Bootstrap& m) { m.role = Role{3}; }},
        {"busy_poll", [](Bootstrap& m) { m.busy_poll = 2; }},
        {"log_level", [](Bootstrap& m) { m.log_level = 4; }},
        {"log_json", [](Bootstrap& m) { m.log_json = 2; }},
        {"attach", [](Bootstrap& m) { m.attach = 2; }},
        {"relay", [](Bootstrap& m) { m.relay = 2; }},
        {"unused bytes", [](Bootstrap& m) { m.zero[1] = 1; }},
        {"limits.streams", [](Bootstrap& m) { m.limits.streams = 0; }},
        {"limits.streams", [](Bootstrap& m) { m.limits.streams = (1 << 22) + 1; }},
        {"limits.sessions", [](Bootstrap& m) { m.limits.sessions = 0xffffffff; }},
        {"limits.unauthenticated", [](Bootstrap& m) { m.limits.unauthenticated = 0xffffffff; }},
        {"run_as", [](Bootstrap& m) { m.run_as.fill('x'); }},
        {"run_as", [](Bootstrap& m) { m.run_as[63] = 'x'; }},
    };
    for (const Row& row : rows) EXPECT_THAT(bootstrap_error(row.change), HasSubstr(row.field));
    // Cores of engines that do not exist are not looked at.
    EXPECT_EQ(bootstrap_error([](Bootstrap& m) { m.cores[2] = -5; }), "");
}

TEST_F(BootstrapSocket, SizesOfBootstrap) {
    const Bootstrap message = sample_bootstrap();
    std::vector<uint8_t> bytes(sizeof message + 1);
    std::memcpy(bytes.data(), &message, sizeof message);
    for (const size_t size : {size_t{1}, size_t{7}, size_t{8}, sizeof message - 1, sizeof message + 1}) {
        send_raw(control_.get(), bytes.data(), size);
        EXPECT_FALSE(receive_bootstrap(data_.get())) << size;
    }
    control_.reset();
    const auto closed = receive_bootstrap(data_.get());
    ASSERT_FALSE(closed);
    EXPECT_THAT(closed.error().message, HasSubstr("closed"));
}

TEST_F(BootstrapSocket, DescriptorsWithBootstrapAreClosed) {
    const Bootstrap message = sample_bootstrap();
    const UniqueFd extra = make_eventfd().value();
    const size_t before = open_descriptors();
    send_raw(control_.get(), &message, sizeof message, {extra.get(), extra.get()});
    EXPECT_FALSE(receive_bootstrap(data_.get()));
    EXPECT_EQ(open_descriptors(), before);
}

TEST_F(BootstrapSocket, TooFewAndTooManyDescriptors) {
    const UniqueFd fd = make_eventfd().value();
    const size_t before = open_descriptors();
    for (const size_t count : {size_t{0}, size_t{1}, size_t{4}, size_t{5}, size_t{6}, size_t{253}}) {
        const std::vector<int> fds(count, fd.get());
        const std::string error = reply_error(sample_reply(2), fds);
        if (count == 5)
            EXPECT_EQ(error, "");
        else
            EXPECT_THAT(error, HasSubstr(std::to_string(count) + " descriptors, expected 5"));
        EXPECT_EQ(open_descriptors(), before);
        if (count != 5) {
            EXPECT_FALSE(send_reply(data_.get(), sample_reply(2), fds));
        }
    }
}

TEST_F(BootstrapSocket, BlockingEventDescriptorsAreRefused) {
    const UniqueFd good = make_eventfd().value();
    const UniqueFd blocking(::eventfd(0, EFD_CLOEXEC));
    EXPECT_EQ(reply_error(sample_reply(1), {blocking.get(), good.get(), good.get()}), "");
    EXPECT_THAT(reply_error(sample_reply(1), {good.get(), blocking.get(), good.get()}), HasSubstr("blocks"));
    EXPECT_THAT(reply_error(sample_reply(1), {good.get(), good.get(), blocking.get()}), HasSubstr("blocks"));
}

TEST_F(BootstrapSocket, FailureIsAReplyToo) {
    BootstrapReply reply = sample_reply(1);
    reply.error = EACCES;
    reply.region_size = 0;
    ASSERT_TRUE(send_reply(data_.get(), reply, {}));
    const auto received = receive_reply(control_.get(), 1000);
    ASSERT_TRUE(received) << received.error().message;
    EXPECT_EQ(received->reply.error, EACCES);
    EXPECT_TRUE(received->fds.empty());
    const UniqueFd fd = make_eventfd().value();
    EXPECT_THAT(reply_error(reply, {fd.get()}), HasSubstr("1 descriptors, expected 0"));
}

TEST_F(BootstrapSocket, FieldsOfReply) {
    const UniqueFd fd = make_eventfd().value();
    const std::vector<int> fds(3, fd.get());
    const auto error = [&](const std::function<void(BootstrapReply&)>& change) {
        BootstrapReply reply = sample_reply(1);
        change(reply);
        return reply_error(reply, fds);
    };
    EXPECT_EQ(error([](BootstrapReply&) {}), "");
    EXPECT_THAT(error([](BootstrapReply& r) { r.magic = 0; }), HasSubstr("not a message"));
    EXPECT_THAT(error([](BootstrapReply& r) { r.abi_version = 0; }), HasSubstr("ring version 0"));
    EXPECT_THAT(error([](BootstrapReply& r) { r.error = -13; }), HasSubstr("error"));
    EXPECT_THAT(error([](BootstrapReply& r) { r.engines = 0; }), HasSubstr("engines"));
    EXPECT_THAT(error([](BootstrapReply& r) { r.engines = 65; }), HasSubstr("engines"));
    EXPECT_THAT(error([](BootstrapReply& r) { r.region_size += 1; }), HasSubstr("region_size"));
    EXPECT_THAT(error([](BootstrapReply& r) { r.message.fill('m'); }), HasSubstr("message"));
}

TEST_F(BootstrapSocket, WaitingForAReplyEnds) {
    const auto late = receive_reply(control_.get(), 20);
    ASSERT_FALSE(late);
    EXPECT_THAT(late.error().message, HasSubstr("no answer within 20 ms"));
    data_.reset();
    const auto closed = receive_reply(control_.get(), 1000);
    ASSERT_FALSE(closed);
    EXPECT_THAT(closed.error().message, HasSubstr("closed"));
    // And sending to a side that is gone is an error, not a signal.
    EXPECT_FALSE(send_bootstrap(control_.get(), sample_bootstrap()));
}

}  // namespace
}  // namespace qanat::ring
