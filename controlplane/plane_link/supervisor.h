// Supervisor: keeps one data-plane process running, and is the CommandPort to whichever runs now.
//
//   stopped → starting → running → (it ends) → waiting → starting → …        stop() → stopping → stopped
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/base/log.h"
#include "common/base/result.h"
#include "common/ring/bootstrap.h"
#include "controlplane/loop/backoff.h"
#include "controlplane/loop/fd_watch.h"
#include "controlplane/loop/timer.h"
#include "controlplane/plane_link/command_port.h"
#include "controlplane/plane_link/link.h"
#include "controlplane/plane_link/process.h"

namespace qanat::controlplane {

class Supervisor final : public CommandPort {
public:
    enum class State : uint8_t { stopped, starting, running, waiting, stopping };

    // All are called from the loop.
    struct Handlers {
        // A data plane without any state is ready: send it everything. Again after each restart.
        Callback on_ready;
        std::function<void(uint32_t engine, const ring::MessageView&)> on_event;
        // It ended, and its sessions, streams and connections with it. A restart follows.
        Callback on_lost;
        // The first one could not start; nothing runs. One line for a person.
        std::function<void(std::string)> on_start_failed;
        // After stop(): it has left. `clean`: by itself and with status 0.
        std::function<void(bool clean)> on_stopped;
    };

    static constexpr Duration kStartTime = std::chrono::seconds(10);  // until the bootstrap reply
    static constexpr Duration kStopTime = std::chrono::seconds(2);    // from Stop to SIGKILL
    static constexpr Duration kBackoffMin = std::chrono::milliseconds(100);
    static constexpr Duration kBackoffMax = std::chrono::seconds(5);
    static constexpr Duration kStableTime = std::chrono::seconds(10);  // after that the back-off starts anew

    // `program`: path of the data plane.
    Supervisor(EventLoop& loop, std::string program, const ring::Bootstrap& bootstrap, Handlers handlers);
    ~Supervisor() override;

    // Starts the first one. An error is one that shows at once; then nothing runs.
    [[nodiscard]] Result<void> start();

    // How the data planes log that are started from now on.
    void set_log(LogLevel level, LogFormat format);

    // Ends the data plane for a reason of ours (it broke the protocol); it is restarted.
    void end_data_plane(const std::string& reason);

    // Stop to every engine, wait kStopTime, SIGKILL. on_stopped follows, also when nothing runs.
    void stop();
    // The same without waiting.
    void stop_now();

    [[nodiscard]] uint32_t engines() const override { return link_ ? link_->engines() : 0; }
    void when_flushed(Callback callback) override;

    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] pid_t pid() const { return process_ && process_->running() ? process_->pid() : 0; }
    [[nodiscard]] uint64_t restarts() const { return restarts_; }
    [[nodiscard]] uint64_t memory_budget() const { return memory_budget_; }  // bytes
    [[nodiscard]] const std::string& features() const { return features_; }  // of the engines, for people
    [[nodiscard]] const ring::EngineCounters& counters(uint32_t engine) const { return link_->counters(engine); }
    [[nodiscard]] RingDepths depths(uint32_t engine) const { return link_->depths(engine); }

protected:
    void write(uint32_t engine, ring::MessageType type, Bytes message) override;

private:
    [[nodiscard]] Result<void> launch();
    void on_reply();
    void on_exit(bool clean, const std::string& how);
    void start_failed(const std::string& message);
    void restart_later();

    EventLoop& loop_;
    std::string program_;
    ring::Bootstrap bootstrap_;
    Handlers handlers_;
    State state_ = State::stopped;
    bool was_ready_ = false;
    uint64_t restarts_ = 0;
    uint64_t memory_budget_ = 0;
    std::string features_;
    std::string end_reason_;  // why we end it, for the log
    Instant ready_at_{};
    Backoff backoff_;
    UniqueFd socket_;
    std::unique_ptr<FdWatch> reply_watch_;
    std::unique_ptr<Process> process_;
    std::unique_ptr<Link> link_;
    Timer timer_;  // starting: reply overdue; waiting: next start; stopping: SIGKILL
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for deferred calls
};

}  // namespace qanat::controlplane
