// A Redis of a test's own: the server of Debian's redis-tools, in a directory that goes with it, on a free port of
// 127.0.0.1 and on a Unix socket. And a client that blocks, to look at it from the side.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "controlplane/discovery/redis_protocol.h"
#include "tests/unit/controlplane/config/temp_directory.h"

namespace qanat::controlplane {

// Runs a program to its end; true if it succeeded. What it writes goes nowhere.
bool run_program(const std::vector<std::string>& arguments);

class RedisServer {
public:
    // The program, or nullopt where redis-tools is not installed.
    [[nodiscard]] static std::optional<std::string> program();

    // More of the command line: {"--requirepass", "secret"}.
    explicit RedisServer(std::vector<std::string> options = {});
    ~RedisServer() { kill(); }
    RedisServer(const RedisServer&) = delete;
    RedisServer& operator=(const RedisServer&) = delete;

    void start();  // again after kill(), with the same addresses and no data
    void kill() { end(SIGKILL); }
    void pause() const { ::kill(pid_, SIGSTOP); }
    void resume() const { ::kill(pid_, SIGCONT); }

    [[nodiscard]] uint16_t port() const { return port_; }
    [[nodiscard]] uint16_t tls_port() const { return tls_port_; }
    [[nodiscard]] std::string socket() const { return directory_ / "redis.sock"; }
    [[nodiscard]] const TempDirectory& directory() const { return directory_; }
    [[nodiscard]] std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }

    // One command on a connection of its own, over the Unix socket.
    RedisReply ask(const std::vector<std::string>& command);

    std::string password;  // that ask() logs in with, if --requirepass wants one

private:
    void end(int signal);

    std::vector<std::string> options_;
    TempDirectory directory_;
    uint16_t port_ = 0;
    uint16_t tls_port_ = 0;
    pid_t pid_ = -1;
};

// A connection that blocks, for at most 10 s at a time.
class SideConnection {
public:
    explicit SideConnection(const std::string& socket);

    void send(const std::vector<std::string>& command);
    RedisReply receive();

private:
    UniqueFd fd_;
    RedisParser parser_;
};

}  // namespace qanat::controlplane
