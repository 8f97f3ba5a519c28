#include "controlplane/plane_link/supervisor.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/base/assert.h"
#include "common/base/log.h"
#include "common/crypto/random.h"

namespace qanat::controlplane {
namespace {

std::string text_of(const std::array<char, 256>& message) {
    return {message.data(), ::strnlen(message.data(), message.size())};
}

uint64_t random_u64() {
    std::array<uint8_t, 8> bytes{};
    crypto::random_bytes(bytes);
    uint64_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

}  // namespace

Supervisor::Supervisor(EventLoop& loop, std::string program, const ring::Bootstrap& bootstrap, Handlers handlers)
    : loop_(loop),
      program_(std::move(program)),
      bootstrap_(bootstrap),
      handlers_(std::move(handlers)),
      backoff_(kBackoffMin, kBackoffMax),
      timer_(loop, [this] {
          if (state_ == State::starting) {
              end_reason_ = "no answer to the bootstrap message";
              process_->kill();
          } else if (state_ == State::waiting) {
              if (const auto launched = launch(); !launched) {
                  log_error("cannot restart the data plane", {{"error", launched.error().message}});
                  restart_later();
              }
          } else if (state_ == State::stopping && process_ != nullptr) {
              log_warn("the data plane does not stop, killing it", {{"pid", process_->pid()}});
              process_->kill();
          }
      }) {}

Supervisor::~Supervisor() {
    *alive_ = false;
}

Result<void> Supervisor::start() {
    QANAT_ASSERT(state_ == State::stopped);
    return launch();
}

Result<void> Supervisor::launch() {
    std::array<int, 2> sockets{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) != 0)
        return fail(std::string("cannot make the bootstrap socket: ") + std::strerror(errno));
    socket_.reset(sockets[0]);
    UniqueFd theirs(sockets[1]);
    // The message waits in the socket for the new process.
    if (auto sent = ring::send_bootstrap(socket_.get(), bootstrap_); !sent) return sent;
    auto process = Process::start(loop_, program_, std::move(theirs),
                                  [this](bool clean, const std::string& how) { on_exit(clean, how); });
    if (!process) return tl::unexpected(process.error());
    process_ = std::move(*process);
    end_reason_.clear();
    state_ = State::starting;
    reply_watch_ =
        std::make_unique<FdWatch>(loop_, socket_.get(), Readiness{.readable = true}, [this](Readiness) { on_reply(); });
    timer_.start(kStartTime);
    log_debug("data plane started", {{"pid", process_->pid()}, {"program", program_}});
    return {};
}

void Supervisor::on_reply() {
    reply_watch_.reset();
    auto received = ring::receive_reply(socket_.get(), 0);
    if (!received) {
        // Most often it has died, and its exit tells more.
        end_reason_ = received.error().message;
        process_->kill();
        return;
    }
    if (received->reply.error != 0) {
        end_reason_ = text_of(received->reply.message);
        process_->kill();
        return;
    }
    memory_budget_ = received->reply.memory_budget;
    features_ = text_of(received->reply.message);
    Link::Handlers handlers{
        .on_event = handlers_.on_event,
        .on_fault =
            [this, alive = alive_](const std::string& reason) {
                if (*alive) end_data_plane(reason);
            },
    };
    auto link = Link::open(loop_, std::move(*received), bootstrap_.role, std::move(handlers));
    if (!link) {
        end_reason_ = link.error().message;
        process_->kill();
        return;
    }
    timer_.cancel();
    link_ = std::move(*link);
    state_ = State::running;
    was_ready_ = true;
    ready_at_ = EventLoop::now();
    log_debug("data plane linked", {{"pid", process_->pid()}, {"restarts", restarts_}});
    handlers_.on_ready();
}

void Supervisor::set_log(LogLevel level, LogFormat format) {
    bootstrap_.log_level = static_cast<uint8_t>(level);
    bootstrap_.log_json = format == LogFormat::json ? 1 : 0;
}

void Supervisor::end_data_plane(const std::string& reason) {
    if (state_ != State::starting && state_ != State::running) return;
    log_error("ending the data plane", {{"reason", reason}});
    end_reason_ = reason;
    process_->kill();
}

void Supervisor::on_exit(bool clean, const std::string& how) {
    // Everything of this process goes, but not from inside a callback of one of its parts.
    loop_.defer([this, alive = alive_, clean, how] {
        if (!*alive) return;
        const pid_t pid = process_->pid();
        reply_watch_.reset();
        link_.reset();
        process_.reset();
        socket_.reset();
        timer_.cancel();
        if (state_ == State::stopping) {
            state_ = State::stopped;
            if (!clean) log_warn("the data plane did not end cleanly", {{"pid", pid}, {"how", how}});
            handlers_.on_stopped(clean);
            return;
        }
        const std::string reason = end_reason_.empty() ? how : end_reason_ + " (" + how + ")";
        if (!was_ready_) return start_failed("the data plane could not start: " + reason);
        log_error("the data plane ended", {{"pid", pid}, {"reason", reason}});
        const bool was_running = state_ == State::running;
        if (was_running && EventLoop::now() - ready_at_ >= kStableTime) backoff_.reset();
        restart_later();
        if (was_running) handlers_.on_lost();
    });
}

void Supervisor::start_failed(const std::string& message) {
    state_ = State::stopped;
    handlers_.on_start_failed(message);
}

void Supervisor::restart_later() {
    const Duration wait = backoff_.next(random_u64());
    state_ = State::waiting;
    ++restarts_;
    log_info("restarting the data plane", {{"wait_ms", wait.count()}});
    timer_.start(wait);
}

void Supervisor::stop() {
    if (state_ == State::stopping) return;
    timer_.cancel();
    if (process_ == nullptr) {
        state_ = State::stopped;
        loop_.defer([this, alive = alive_] {
            if (*alive) handlers_.on_stopped(true);
        });
        return;
    }
    const bool reachable = state_ == State::running;
    state_ = State::stopping;
    if (reachable) {
        send_all(ring::Stop{});
        timer_.start(kStopTime);
    } else {
        process_->kill();
    }
}

void Supervisor::stop_now() {
    stop();
    if (process_ != nullptr) process_->kill();
}

void Supervisor::when_flushed(Callback callback) {
    if (link_ != nullptr) link_->when_flushed(std::move(callback));
}

void Supervisor::write(uint32_t engine, ring::MessageType type, Bytes message) {
    if (link_ != nullptr) link_->write(engine, type, message);
}

}  // namespace qanat::controlplane
