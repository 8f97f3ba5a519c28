#include "controlplane/discovery/redis_connection.h"

#include <algorithm>
#include <utility>

#include "common/base/assert.h"
#include "common/base/log.h"
#include "controlplane/config/addresses.h"

namespace qanat::controlplane {
namespace {

constexpr size_t kErrorSizeMax = 200;
constexpr const char* kNotRedis = "not the protocol of Redis";
// A connection that lived that many of its shortest pauses was a good one: the next pause is the shortest again.
constexpr int kGoodAfterPauses = 10;

// The word in capitals that errors begin with: "WRONGPASS", "OOM".
std::string code_of(const RedisReply& error) {
    const auto end = std::find_if(error.text.begin(), error.text.end(), [](char c) { return c < 'A' || c > 'Z'; });
    return std::string(error.text.begin(), end).substr(0, 20);
}

// The answer to PING, as a connection with subscriptions gets it in the second form. A user that may not PING is still
// one that is logged in, and the answer shows that the server lives.
bool is_pong(const RedisReply& reply) {
    const bool subscribed =
        reply.kind == RedisReply::Kind::array && !reply.elements.empty() && reply.elements.front().is_text("pong");
    return reply.is_status("PONG") || subscribed || (reply.is_error() && code_of(reply) == "NOPERM");
}

// Said to whoever connects, before any command is looked at: protected mode, or too many clients.
bool refuses_connection(const RedisReply& reply) {
    return reply.is_error() && (code_of(reply) == "DENIED" || reply.text.starts_with("ERR max number of clients"));
}

}  // namespace

uint64_t random_bits(const RandomBytes& random) {
    uint64_t bits = 0;
    random({reinterpret_cast<uint8_t*>(&bits), sizeof bits});
    return bits;
}

RedisConnection::RedisConnection(EventLoop& loop, std::string name, RedisSettings settings, HostLookup lookup,
                                 RandomBytes random, Handlers handlers)
    : loop_(loop),
      name_(std::move(name)),
      settings_(std::move(settings)),
      lookup_(std::move(lookup)),
      random_(std::move(random)),
      handlers_(std::move(handlers)),
      backoff_(settings_.retry_min, settings_.retry_max),
      retry_(loop, [this] { attempt(); }),
      deadline_(loop, [this] { fail("no answer within " + format_duration(settings_.timeout)); }),
      ping_(loop, [this] { send_ping(); }) {}

RedisConnection::~RedisConnection() {
    *alive_ = false;
}

void RedisConnection::start() {
    QANAT_ASSERT(state_ == State::idle);
    attempt();
}

void RedisConnection::attempt() {
    ++generation_;
    untried_.clear();
    const RedisAddress& address = settings_.address;
    if (address.unix_path.empty() && address.server.is_name()) return look_up();
    if (address.unix_path.empty())
        untried_.emplace_back(address.server.endpoint());
    else
        untried_.emplace_back(address.unix_path);
    connect_next();
}

void RedisConnection::look_up() {
    state_ = State::looking_up;
    deadline_.start(settings_.timeout);
    const auto done = [this, alive = alive_,
                       generation = generation_](const Result<std::vector<wire::IpAddress>>& addresses) {
        if (!*alive || generation != generation_ || state_ != State::looking_up) return;
        if (!addresses) return fail(addresses.error().message);
        for (const wire::IpAddress& ip : *addresses)
            if (untried_.size() < kAddressesPerNameMax)
                untried_.emplace_back(wire::Endpoint{ip, settings_.address.server.port()});
        if (untried_.empty()) return fail("the name has no address");
        connect_next();
    };
    lookup_(std::string(settings_.address.server.name()), NameFamily::any, done);
}

Result<std::unique_ptr<TlsClient>> RedisConnection::make_tls() {
    if (!settings_.address.tls) return nullptr;
    if (!tls_context_) {
        auto loaded = TlsContext::load();
        if (!loaded) return tl::unexpected(loaded.error());
        tls_context_ = std::move(*loaded);
    }
    return std::make_unique<TlsClient>(*tls_context_, settings_.address.server);
}

void RedisConnection::connect_next() {
    state_ = State::connecting;
    const RedisStream::Address address = std::move(untried_.front());
    untried_.pop_front();
    auto tls = make_tls();
    if (!tls) return fail(tls.error().message);
    deadline_.start(settings_.timeout);
    parser_ = std::make_unique<RedisParser>();
    stream_ = std::make_unique<RedisStream>(loop_, std::move(*tls),
                                            RedisStream::Handlers{
                                                [this] { log_in(); },
                                                [this](Bytes bytes) { on_bytes(bytes); },
                                                [this](std::string reason) { fail(std::move(reason)); },
                                            });
    if (const auto connected = stream_->connect(address); !connected) fail(connected.error().message);
}

void RedisConnection::log_in() {
    state_ = State::logging_in;
    // A reason for each step, made only when it fails. What the server says about AUTH is not shown: some errors of
    // Redis repeat the arguments.
    const auto step = [this](std::vector<std::string> command, std::function<std::string(const RedisReply&)> explain) {
        send(std::move(command), [this, explain = std::move(explain)](const RedisReply& reply) {
            if (reply.is_error()) return fail(explain(reply));
            if (!reply.is_status("OK")) fail(kNotRedis);
        });
    };
    if (!settings_.pass.empty()) {
        std::vector<std::string> command{"AUTH"};
        if (!settings_.user.empty()) command.push_back(settings_.user);
        command.push_back(settings_.pass);
        step(std::move(command), [](const RedisReply& error) {
            return "Redis refused user or password (" + code_of(error) + "): check discovery.user and discovery.pass";
        });
    }
    if (settings_.address.database != 0)
        step({"SELECT", std::to_string(settings_.address.database)}, [this](const RedisReply& error) {
            return "Redis refused database " + std::to_string(settings_.address.database) + " (" + text_of(error) +
                   "): check the end of discovery.address";
        });
    send({"PING"}, [this](const RedisReply& reply) {
        if (reply.is_error() && code_of(reply) == "NOAUTH")
            return fail("Redis wants a password (NOAUTH): set discovery.pass");
        if (!is_pong(reply)) return fail(reply.is_error() ? "Redis is not usable: " + text_of(reply) : kNotRedis);
        state_ = State::ready;
        since_ = EventLoop::now();
        ++connects_;
        failures_ = 0;
        logged_error_.clear();
        ping_.start_every(settings_.ping);
        log_info("discovery connected", {{"connection", name_}, {"redis", format_redis_address(settings_.address)}});
        if (handlers_.on_ready) handlers_.on_ready();
    });
}

void RedisConnection::send_ping() {
    if (!asked_.empty()) return;
    send({"PING"}, [this](const RedisReply& reply) {
        if (!is_pong(reply)) fail(reply.is_error() ? "Redis is not usable: " + text_of(reply) : kNotRedis);
    });
}

void RedisConnection::command(std::vector<std::string> arguments, OnReply on_reply) {
    QANAT_ASSERT(ready() && !subscribed_);
    send(std::move(arguments), std::move(on_reply));
}

void RedisConnection::subscribe(const std::string& channel, OnReply on_reply) {
    QANAT_ASSERT(ready());
    subscribed_ = true;
    send({"SUBSCRIBE", channel}, std::move(on_reply));
}

void RedisConnection::send(std::vector<std::string> arguments, OnReply on_reply) {
    if (asked_.empty()) deadline_.start(settings_.timeout);
    asked_.push_back(std::move(on_reply));
    const auto written = stream_->write(format_redis_command(arguments));
    if (written) return;
    // Not from inside: the caller is in the middle of something.
    loop_.defer([this, alive = alive_, generation = generation_, reason = written.error().message] {
        if (*alive && generation == generation_ && stream_ != nullptr) fail(reason);
    });
}

void RedisConnection::on_bytes(Bytes bytes) {
    const uint64_t generation = generation_;
    const RedisStream* stream = stream_.get();
    if (const auto fed = parser_->feed(bytes); !fed) return fail(fed.error().message);
    for (;;) {
        auto reply = parser_->next();
        if (!reply) return fail(reply.error().message);
        if (!*reply) return;
        on_reply(**reply);
        if (generation != generation_ || stream != stream_.get()) return;
    }
}

void RedisConnection::on_reply(const RedisReply& reply) {
    using Kind = RedisReply::Kind;
    const auto& elements = reply.elements;
    if (subscribed_ && reply.kind == Kind::array && !elements.empty() && elements[0].is_text("message")) {
        if (elements.size() != 3 || elements[2].kind != Kind::text) return fail(kNotRedis);
        if (handlers_.on_message) handlers_.on_message(elements[2].text);
        return;
    }
    if (asked_.empty()) return fail("an answer that nobody asked for");
    if (state_ == State::logging_in && refuses_connection(reply))
        return fail("Redis refused the connection: " + text_of(reply));
    const OnReply asked = std::move(asked_.front());
    asked_.pop_front();
    if (asked_.empty())
        deadline_.cancel();
    else
        deadline_.start(settings_.timeout);
    asked(reply);
}

void RedisConnection::stop() {
    ++generation_;
    state_ = State::idle;
    retry_.cancel();
    close_stream();
}

void RedisConnection::close_stream() {
    deadline_.cancel();
    ping_.cancel();
    asked_.clear();
    subscribed_ = false;
    if (stream_ == nullptr) return;
    // A CA may have been added since: read them again.
    if (stream_->certificate_refused()) tls_context_.reset();
    stream_->close();
    // We may be inside one of its calls.
    loop_.defer([dead = std::shared_ptr<RedisStream>(std::move(stream_))] {});
}

void RedisConnection::drop(std::string reason) {
    if (ready()) fail(std::move(reason));
}

void RedisConnection::fail(std::string reason) {
    const bool was_ready = ready();
    const bool never_connected = state_ == State::connecting;
    close_stream();
    last_error_ = std::move(reason);
    if (never_connected && !untried_.empty()) return connect_next();

    ++generation_;
    ++failures_;
    state_ = State::waiting;
    const Instant now = EventLoop::now();
    if (was_ready && now - since_ >= settings_.retry_min * kGoodAfterPauses) backoff_.reset();
    if (was_ready) since_ = now;
    const Duration pause = backoff_.next(random_bits(random_));
    retry_.start(pause);
    // The same failure again and again is one line.
    if (logged_error_ != last_error_)
        log_warn(was_ready ? "discovery lost Redis" : "discovery cannot reach Redis",
                 {{"connection", name_},
                  {"redis", format_redis_address(settings_.address)},
                  {"error", last_error_},
                  {"retry_ms", pause.count()}});
    logged_error_ = last_error_;
    if (was_ready && handlers_.on_lost) handlers_.on_lost();
}

std::string RedisConnection::text_of(const RedisReply& error) const {
    if (!settings_.pass.empty() && error.text.find(settings_.pass) != std::string::npos)
        return code_of(error) + " (the rest repeats the password)";
    return printable(std::string_view(error.text).substr(0, kErrorSizeMax));
}

}  // namespace qanat::controlplane
