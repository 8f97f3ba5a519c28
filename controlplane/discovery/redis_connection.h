// RedisConnection: a connection to one Redis server that is made again whenever it is lost, with growing pauses. Logs
// in, chooses the database, notices a server that hangs. Never blocks, and takes nothing that the server says for
// granted.
//
// What was asked before a connection was lost is never answered: owners start over in on_ready.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "controlplane/config/config.h"
#include "controlplane/discovery/redis_protocol.h"
#include "controlplane/discovery/redis_stream.h"
#include "controlplane/loop/backoff.h"
#include "controlplane/loop/timer.h"

namespace qanat::controlplane {

using RandomBytes = std::function<void(MutableBytes)>;
[[nodiscard]] uint64_t random_bits(const RandomBytes& random);

// Looks a host name up without blocking; calls back once, possibly at once. An error is one line for a person.
using HostLookup = std::function<void(const std::string& name, NameFamily family,
                                      std::function<void(Result<std::vector<wire::IpAddress>>)> done)>;

struct RedisSettings {
    RedisAddress address{};
    std::string user{};  // empty: the password alone, or none
    std::string pass{};
    Duration timeout = std::chrono::seconds(10);  // for a connection, and for an answer while something is asked
    Duration ping = std::chrono::seconds(5);      // after that long without a question, one is asked
    Duration retry_min = std::chrono::milliseconds(500);
    Duration retry_max = std::chrono::seconds(30);
};

class RedisConnection {
public:
    // The arguments that the reply answers are the caller's to remember. A reply may be an error.
    using OnReply = std::function<void(const RedisReply&)>;

    // None of them may destroy the connection.
    struct Handlers {
        Callback on_ready{};                                           // logged in: commands may be sent
        Callback on_lost{};                                            // was ready and is not any more
        std::function<void(const std::string& payload)> on_message{};  // after subscribe()
    };

    static constexpr size_t kAddressesPerNameMax = 8;

    // `name` tells connections apart in logs. `lookup` is called only if the address is a name.
    RedisConnection(EventLoop& loop, std::string name, RedisSettings settings, HostLookup lookup, RandomBytes random,
                    Handlers handlers);
    ~RedisConnection();
    RedisConnection(const RedisConnection&) = delete;
    RedisConnection& operator=(const RedisConnection&) = delete;

    void start();
    // Ends the connection and makes no other. Nothing is called any more.
    void stop();

    [[nodiscard]] bool ready() const { return state_ == State::ready; }

    // Only while ready. Replies come in the order of the commands, never from inside.
    void command(std::vector<std::string> arguments, OnReply on_reply);

    // Only while ready; from then on this connection takes subscribe() and nothing else, until it is lost.
    void subscribe(const std::string& channel, OnReply on_reply);

    // Gives the connection up because of what a reply said, and makes it again after a pause.
    void drop(std::string reason);

    // Why there is no connection, or why the last one ended; empty if none ever did. Never contains the password.
    [[nodiscard]] const std::string& last_error() const { return last_error_; }
    [[nodiscard]] Instant since() const { return since_; }         // the last change of ready()
    [[nodiscard]] uint64_t connects() const { return connects_; }  // how often it became ready
    [[nodiscard]] uint64_t failures() const { return failures_; }  // since it was ready last

    // What an error reply says, fit for logs and status: one line, and without the password, whatever the server put
    // in.
    [[nodiscard]] std::string text_of(const RedisReply& error) const;

private:
    enum class State : uint8_t { idle, waiting, looking_up, connecting, logging_in, ready };

    void attempt();
    void look_up();
    void connect_next();
    void log_in();
    void on_bytes(Bytes bytes);
    void on_reply(const RedisReply& reply);
    void send(std::vector<std::string> arguments, OnReply on_reply);
    void close_stream();
    void fail(std::string reason);
    void send_ping();
    [[nodiscard]] Result<std::unique_ptr<TlsClient>> make_tls();

    EventLoop& loop_;
    std::string name_;
    RedisSettings settings_;
    HostLookup lookup_;
    RandomBytes random_;
    Handlers handlers_;

    State state_ = State::idle;
    uint64_t generation_ = 0;  // of the attempt: what an older one started comes too late
    std::deque<RedisStream::Address> untried_;
    std::optional<TlsContext> tls_context_;
    std::unique_ptr<RedisStream> stream_;
    std::unique_ptr<RedisParser> parser_;
    std::deque<OnReply> asked_;
    bool subscribed_ = false;

    std::string last_error_;
    std::string logged_error_;
    Instant since_ = EventLoop::now();
    uint64_t connects_ = 0;
    uint64_t failures_ = 0;
    Backoff backoff_;
    Timer retry_;
    Timer deadline_;
    Timer ping_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for lookups
};

}  // namespace qanat::controlplane
