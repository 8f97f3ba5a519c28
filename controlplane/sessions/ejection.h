// Ejection: whether a node with a session may have streams, by what became of the streams before (passive health).
// Pure: time and randomness are arguments.
//
//   in ──kFailuresMax failures in a row──> ejected ──the wait is over──> trial ──a stream opened──> in
//                                             ▲                            │a stream failed
//                                             └────────────────────────────┘
//
// The wait doubles from kWaitMin to kWaitMax with each ejection in a row. PINGs alone do not bring a node back: it
// answered them while its streams failed.
#pragma once

#include <cstdint>
#include <optional>

#include "controlplane/loop/backoff.h"
#include "controlplane/loop/event_loop.h"

namespace qanat::controlplane {

class Ejection {
public:
    enum class State : uint8_t { in, ejected, trial };

    static constexpr unsigned kFailuresMax = 5;
    // Engines report failures at once and successes once a second: a row counts only when it has lasted longer than
    // that without one.
    static constexpr Duration kEvidenceTime = std::chrono::milliseconds(1200);
    static constexpr Duration kWaitMin = std::chrono::seconds(1);
    static constexpr Duration kWaitMax = std::chrono::seconds(60);
    static constexpr Duration kTrialTime = std::chrono::seconds(60);  // without a failure; then it is in again

    // A stream failed, or opened. True: state() has changed.
    bool failed(Instant now, uint64_t random);
    bool succeeded();
    // To be called at deadline(), or any time. True: state() has changed.
    bool tick(Instant now, uint64_t random);
    [[nodiscard]] std::optional<Instant> deadline() const;
    // Another process is behind the node's name now.
    void forget() { *this = Ejection(); }

    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] Instant until() const { return until_; }   // of ejected
    [[nodiscard]] unsigned times() const { return times_; }  // ejections in a row
    [[nodiscard]] unsigned failures_in_row() const { return in_row_; }

private:
    bool eject(Instant now, uint64_t random);

    State state_ = State::in;
    Backoff wait_{kWaitMin, kWaitMax};
    unsigned in_row_ = 0;
    unsigned times_ = 0;
    Instant row_since_{};
    Instant until_{};  // ejected: when the trial begins; trial: when it ends
};

}  // namespace qanat::controlplane
