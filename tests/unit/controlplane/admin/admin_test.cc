// The admin server and its client: the client blocks, so it runs in a thread of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <future>
#include <sstream>
#include <thread>

#include "controlplane/admin/client.h"
#include "controlplane/admin/server.h"
#include "controlplane/admin/socket_file.h"
#include "tests/unit/controlplane/admin/temporary_directory.h"

namespace qanat::controlplane {
namespace {

Environment root_in(const std::string& directory) {
    Environment environment;
    environment.uid = 0;
    environment.system_runtime_directory = directory;
    return environment;
}

class AdminTest : public testing::Test {
protected:
    AdminTest()
        : environment_(root_in(directory_.path())),
          file_(SocketFile::open("", Role::node, environment_).value()),
          server_(loop_, file_.fd(), [this](const std::string& command) {
              commands_.push_back(command);
              return answer_;
          }) {}

    // Runs `client` in a thread and the loop in this one until it has returned.
    template <class Client>
    auto with_loop(Client client) {
        auto result = std::async(std::launch::async, [&] {
            auto value = client();
            done_ = true;
            return value;
        });
        Timer watch(loop_, [&] {
            if (done_) loop_.stop();
        });
        watch.start_every(std::chrono::milliseconds(1));
        loop_.run();
        done_ = false;
        return result.get();
    }

    // Sends raw bytes and returns all that comes back.
    std::string raw(const std::string& bytes, bool half_close) const {
        const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, file_.path().c_str(), sizeof address.sun_path - 1);
        EXPECT_EQ(::connect(fd.get(), static_cast<const sockaddr*>(static_cast<const void*>(&address)), sizeof address),
                  0);
        if (!bytes.empty()) (void)::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (half_close) ::shutdown(fd.get(), SHUT_WR);
        std::string answer;
        char buffer[4096];
        for (ssize_t size = 0; (size = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;)
            answer.append(buffer, static_cast<size_t>(size));
        return answer;
    }

    TemporaryDirectory directory_;
    Environment environment_;
    EventLoop loop_;
    SocketFile file_;
    std::string answer_ = R"({"role":"node","ready":true})";
    std::vector<std::string> commands_;
    AdminServer server_;
    std::atomic<bool> done_{false};
};

TEST_F(AdminTest, OneLineInOneLineOut) {
    const auto answer = with_loop([&] { return ask_admin(file_.path(), "status"); });
    ASSERT_TRUE(answer.has_value()) << answer.error().message;
    EXPECT_EQ(*answer, answer_);
    EXPECT_THAT(commands_, testing::ElementsAre("status"));
}

TEST_F(AdminTest, LargeAnswersArriveWhole) {
    answer_ = "{\"x\":\"" + std::string(5'000'000, 'y') + "\"}";
    const auto answer = with_loop([&] { return ask_admin(file_.path(), "status"); });
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(*answer, answer_);
}

TEST_F(AdminTest, NonsenseGetsAnErrorAndNothingIsAsked) {
    const std::string deep = std::string(1000, '[') + "\n";
    for (const std::string& request :
         {std::string("\n"), std::string("hello\n"), std::string("{}\n"), std::string("{\"cmd\":1}\n"),
          std::string("[\"cmd\"]\n"), std::string("{\"cmd\":\"status\"} x\n"), std::string("\0\xff\n", 3), deep}) {
        const std::string answer = with_loop([&] { return raw(request, false); });
        EXPECT_THAT(answer, testing::HasSubstr("\"error\"")) << request;
    }
    EXPECT_TRUE(commands_.empty());
}

TEST_F(AdminTest, RequestsAreBounded) {
    const std::string answer =
        with_loop([&] { return raw(std::string(AdminServer::kRequestSizeMax + 1, 'x'), false); });
    EXPECT_THAT(answer, testing::HasSubstr("too long"));
    EXPECT_EQ(with_loop([&] { return raw("{\"cmd\":", true); }), "");
}

TEST_F(AdminTest, ConnectionsAreBounded) {
    std::vector<UniqueFd> held;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, file_.path().c_str(), sizeof address.sun_path - 1);
    for (size_t i = 0; i < AdminServer::kConnectionsMax; ++i) {
        held.emplace_back(::socket(AF_UNIX, SOCK_STREAM, 0));
        ASSERT_EQ(::connect(held.back().get(), static_cast<const sockaddr*>(static_cast<const void*>(&address)),
                            sizeof address),
                  0);
        with_loop([] { return 0; });
    }
    EXPECT_FALSE(with_loop([&] { return ask_admin(file_.path(), "status"); }).has_value());
    held.pop_back();
    with_loop([] { return 0; });
    EXPECT_TRUE(with_loop([&] { return ask_admin(file_.path(), "status"); }).has_value());
}

TEST_F(AdminTest, StatusFindsTheInstances) {
    std::ostringstream out;
    auto done = with_loop([&] { return run_status("", StatusFormat::json, environment_, out); });
    ASSERT_TRUE(done.has_value());
    EXPECT_EQ(out.str(), answer_ + "\n");

    const auto second = SocketFile::open("", Role::client, environment_);
    ASSERT_TRUE(second.has_value());
    AdminServer other(loop_, second->fd(), [](const std::string&) { return R"({"role":"client"})"; });
    out.str("");
    done = with_loop([&] { return run_status("", StatusFormat::json, environment_, out); });
    EXPECT_EQ(out.str(), "{\"role\":\"client\"}\n" + answer_ + "\n");

    out.str("");
    done = with_loop([&] { return run_status(second->path(), StatusFormat::json, environment_, out); });
    EXPECT_EQ(out.str(), "{\"role\":\"client\"}\n");
}

TEST(AdminClient, NobodyThereIsAnErrorWithARemedy) {
    const TemporaryDirectory directory;
    const Environment environment = root_in(directory.path());
    std::ostringstream out;
    const auto none = run_status("", StatusFormat::table, environment, out);
    ASSERT_FALSE(none.has_value());
    EXPECT_THAT(none.error().message, testing::HasSubstr("start one"));
    const auto named = run_status(directory.path("x.sock"), StatusFormat::table, environment, out);
    ASSERT_FALSE(named.has_value());
    EXPECT_THAT(named.error().message, testing::HasSubstr("nobody listens on"));
    EXPECT_EQ(out.str(), "");
}

}  // namespace
}  // namespace qanat::controlplane
