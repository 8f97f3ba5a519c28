#include "tests/unit/controlplane/discovery/redis_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <thread>

#include "controlplane/loop/event_loop.h"

extern char** environ;

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;

uint16_t free_port() {
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* generic = static_cast<sockaddr*>(static_cast<void*>(&address));
    EXPECT_EQ(::bind(fd.get(), generic, sizeof address), 0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(fd.get(), generic, &size), 0);
    return ntohs(address.sin_port);
}

pid_t spawn(const std::string& program, const std::vector<std::string>& arguments) {
    std::vector<std::string> copies = arguments;
    std::vector<char*> argv;
    for (std::string& argument : copies) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t pid = -1;
    if (::posix_spawnp(&pid, program.c_str(), &actions, nullptr, argv.data(), environ) != 0) pid = -1;
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

UniqueFd connect_to(const std::string& socket) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::connect(fd.get(), static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof address) != 0) fd.reset();
    return fd;
}

}  // namespace

bool run_program(const std::vector<std::string>& arguments) {
    const pid_t pid = spawn(arguments.front(), arguments);
    int status = 0;
    return pid > 0 && ::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::optional<std::string> RedisServer::program() {
    // One program with two names: called redis-server it serves. Debian has this name in redis-tools and the other one
    // in a package that starts a server on the machine.
    for (const char* path : {"/usr/bin/redis-server", "/usr/bin/redis-check-rdb", "/usr/local/bin/redis-server"})
        if (::access(path, X_OK) == 0) return path;
    return std::nullopt;
}

RedisServer::RedisServer(std::vector<std::string> options)
    : options_(std::move(options)), port_(free_port()), tls_port_(free_port()) {
    start();
}

void RedisServer::start() {
    // A port that another process has taken meanwhile ends the server at once: once more with another one.
    for (int tries = 0; tries < 5; ++tries) {
        std::vector<std::string> arguments{
            "redis-server",    "--port",    std::to_string(port_), "--bind", "127.0.0.1",   "--unixsocket", socket(),
            "--save",          "",          "--appendonly",        "no",     "--daemonize", "no",           "--dir",
            directory_.path(), "--logfile", directory_ / "log"};
        for (const std::string& option : options_)
            arguments.push_back(option == "TLS-PORT" ? std::to_string(tls_port_) : option);
        pid_ = spawn(*program(), arguments);
        ASSERT_GT(pid_, 0);
        const auto end = EventLoop::now() + std::chrono::seconds(10);
        while (EventLoop::now() < end) {
            if (connect_to(socket())) return;
            if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
                pid_ = -1;
                break;
            }
            std::this_thread::sleep_for(milliseconds(2));
        }
        kill();
        port_ = free_port();
        tls_port_ = free_port();
    }
    FAIL() << TempDirectory::read(directory_ / "log");
}

void RedisServer::end(int signal) {
    if (pid_ <= 0) return;
    ::kill(pid_, signal);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
    ::unlink(socket().c_str());
}

RedisReply RedisServer::ask(const std::vector<std::string>& command) {
    SideConnection connection(socket());
    if (!password.empty()) {
        connection.send({"AUTH", password});
        EXPECT_TRUE(connection.receive().is_status("OK"));
    }
    connection.send(command);
    return connection.receive();
}

SideConnection::SideConnection(const std::string& socket) : fd_(connect_to(socket)) {
    EXPECT_TRUE(fd_);
    const timeval limit{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

void SideConnection::send(const std::vector<std::string>& command) {
    const std::string bytes = format_redis_command(command);
    for (size_t sent = 0; sent < bytes.size();) {
        const ssize_t size = ::send(fd_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
        ASSERT_GT(size, 0);
        sent += static_cast<size_t>(size);
    }
}

RedisReply SideConnection::receive() {
    for (;;) {
        auto reply = parser_.next();
        if (reply && *reply) return **reply;
        std::array<uint8_t, 65536> buffer;
        const ssize_t size = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
        if (!reply || size <= 0 || !parser_.feed(Bytes(buffer).first(static_cast<size_t>(size)))) {
            ADD_FAILURE() << "no reply";
            return {};
        }
    }
}

}  // namespace qanat::controlplane
