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
#include "controlplane/admin/operator_commands.h"
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
          server_(loop_, file_.fd(), [this](const Json::Value& request, const AdminServer::Reply& reply) {
              commands_.push_back(request["cmd"].asString());
              last_request_ = request;
              on_request_(reply);
          }) {}

    [[nodiscard]] OperatorContext context(const std::string& path, OutputFormat format = OutputFormat::json) {
        out_.str("");
        return {path, format, environment_, out_};
    }
    Result<std::string> ask(const std::string& command) {
        return ask_admin(file_.path(), admin_request(command)).map([](const auto& line) { return line.text; });
    }

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
    std::function<void(const AdminServer::Reply&)> on_request_ = [this](const auto& reply) { reply.finish(answer_); };
    std::vector<std::string> commands_;
    Json::Value last_request_;
    std::ostringstream out_;
    const std::string anywhere_;
    AdminServer server_;
    std::atomic<bool> done_{false};
};

TEST_F(AdminTest, OneLineInOneLineOut) {
    const auto answer = with_loop([&] { return ask("status"); });
    ASSERT_TRUE(answer.has_value()) << answer.error().message;
    EXPECT_EQ(*answer, answer_);
    EXPECT_THAT(commands_, testing::ElementsAre("status"));
}

TEST_F(AdminTest, LargeAnswersArriveWhole) {
    answer_ = "{\"x\":\"" + std::string(5'000'000, 'y') + "\"}";
    const auto answer = with_loop([&] { return ask("status"); });
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
    EXPECT_FALSE(with_loop([&] { return ask("status"); }).has_value());
    held.pop_back();
    with_loop([] { return 0; });
    EXPECT_TRUE(with_loop([&] { return ask("status"); }).has_value());
}

TEST_F(AdminTest, StatusFindsTheInstances) {
    const OperatorContext all = context(anywhere_);
    auto done = with_loop([&] { return run_status(all); });
    ASSERT_TRUE(done.has_value());
    EXPECT_EQ(out_.str(), answer_ + "\n");
    EXPECT_TRUE(with_loop([&] { return run_reload(all); }).has_value());

    const auto second = SocketFile::open("", Role::client, environment_);
    ASSERT_TRUE(second.has_value());
    AdminServer other(loop_, second->fd(),
                      [](const Json::Value&, const auto& reply) { reply.finish(R"({"role":"client"})"); });
    out_.str("");
    ASSERT_TRUE(with_loop([&] { return run_status(all); }).has_value());
    EXPECT_EQ(out_.str(), "{\"role\":\"client\"}\n" + answer_ + "\n");

    const OperatorContext one = context(second->path());
    ASSERT_TRUE(with_loop([&] { return run_status(one); }).has_value());
    EXPECT_EQ(out_.str(), "{\"role\":\"client\"}\n");

    // What changes something goes to one that is named.
    for (const auto& run : {run_reload(all), run_drain(all, std::nullopt)}) {
        ASSERT_FALSE(run.has_value());
        EXPECT_THAT(run.error().message,
                    testing::MatchesRegex("several programs are running: .* --admin: .*/client.sock, .*/node.sock"));
    }
}

TEST_F(AdminTest, AnswersMayComeLater) {
    std::optional<AdminServer::Reply> kept;
    Timer later(loop_, [&] { kept->finish("{\"late\":true}"); });
    on_request_ = [&](const AdminServer::Reply& reply) {
        kept = reply;
        later.start(std::chrono::milliseconds(50));
    };
    const auto answer = with_loop([&] { return ask("explain"); });
    ASSERT_TRUE(answer.has_value()) << answer.error().message;
    EXPECT_EQ(*answer, "{\"late\":true}");
    EXPECT_TRUE(kept->gone());
    kept->finish("{}");
    kept->progress("{}");
    // Somebody who says that he sends no more waits for his answer all the same.
    EXPECT_EQ(with_loop([&] { return raw("{\"cmd\":\"explain\"}\n", true); }), "{\"late\":true}\n");
}

TEST_F(AdminTest, OnlyOneAnswerCounts) {
    on_request_ = [&](const AdminServer::Reply& reply) {
        reply.finish("{\"n\":1}");
        reply.finish("{\"n\":2}");
        reply.progress("{\"n\":3}");
    };
    EXPECT_EQ(with_loop([&] { return raw("{\"cmd\":\"x\"}\n", false); }), "{\"n\":1}\n");
}

TEST_F(AdminTest, ErrorsOfTheProgramArePassedOn) {
    answer_ = R"({"error":"node.json: key: \\x1b is wrong"})";
    const OperatorContext one = context(file_.path(), OutputFormat::table);
    const auto done = with_loop([&] { return run_reload(one); });
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().message, "node.json: key: \\x1b is wrong");
    EXPECT_EQ(out_.str(), "");
    answer_ = "[1]";
    EXPECT_THAT(with_loop([&] { return run_reload(one); }).error().message, testing::HasSubstr("is not JSON"));
    answer_ = std::string(2000, '[');
    EXPECT_THAT(with_loop([&] { return run_reload(one); }).error().message, testing::HasSubstr("is not JSON"));
}

TEST_F(AdminTest, DrainTellsItsProgress) {
    std::vector<std::string> lines{R"({"draining":true,"streams":2,"seconds_left":61})",
                                   R"({"draining":true,"streams":2,"seconds_left":60})",
                                   R"({"draining":true,"streams":1,"seconds_left":59})"};
    std::string end = R"({"draining":false,"streams":0,"cut":0})";
    std::optional<AdminServer::Reply> kept;
    size_t next = 0;
    Timer tick(loop_, [&] {
        if (next < lines.size())
            kept->progress(lines[next++]);
        else
            kept->finish(end);
    });
    on_request_ = [&](const AdminServer::Reply& reply) {
        kept = reply;
        next = 0;
        tick.start_every(std::chrono::milliseconds(5));
    };
    // The test is the program that it waits for: the end of the connection has to do.
    const auto drained = [&](OutputFormat format) {
        const OperatorContext one = context(file_.path(), format);
        return with_loop([&] { return run_drain(one, std::chrono::seconds(90)); });
    };
    ASSERT_TRUE(drained(OutputFormat::table).has_value());
    EXPECT_EQ(last_request_["timeout_ms"].asInt64(), 90'000);
    EXPECT_EQ(out_.str(),
              "draining: 2 streams left, 1m 01s to the deadline\n"
              "draining: 1 stream left, 59s to the deadline\n"
              "drained\n");
    end = R"({"draining":false,"streams":0,"cut":1})";
    const auto cut = drained(OutputFormat::json);
    ASSERT_FALSE(cut.has_value());
    EXPECT_EQ(cut.error().message, "1 stream was cut: give them more time with --timeout");
    EXPECT_EQ(out_.str(), lines[0] + "\n" + lines[1] + "\n" + lines[2] + "\n" + end + "\n");
}

TEST_F(AdminTest, ExplainSendsTheTarget) {
    answer_ = R"({"target":"a:1","decision":"x"})";
    const OperatorContext one = context(file_.path(), OutputFormat::table);
    ASSERT_TRUE(with_loop([&] { return run_explain(one, *wire::Target::parse("[::1]:22")); }).has_value());
    EXPECT_EQ(last_request_["target"].asString(), "[::1]:22");
    EXPECT_EQ(out_.str(), "target    a:1\ndecision  x\n");
}

TEST(AdminClient, NobodyThereIsAnErrorWithARemedy) {
    const TemporaryDirectory directory;
    const Environment environment = root_in(directory.path());
    std::ostringstream out;
    const std::string anywhere;
    const auto none = run_status({anywhere, OutputFormat::table, environment, out});
    ASSERT_FALSE(none.has_value());
    EXPECT_THAT(none.error().message, testing::HasSubstr("start one"));
    const std::string path = directory.path("x.sock");
    const auto named = run_status({path, OutputFormat::table, environment, out});
    ASSERT_FALSE(named.has_value());
    EXPECT_THAT(named.error().message, testing::HasSubstr("nobody listens on"));
    EXPECT_EQ(out.str(), "");
}

}  // namespace
}  // namespace qanat::controlplane
