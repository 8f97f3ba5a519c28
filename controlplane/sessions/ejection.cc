#include "controlplane/sessions/ejection.h"

namespace qanat::controlplane {

bool Ejection::failed(Instant now, uint64_t random) {
    if (in_row_ == 0) row_since_ = now;
    ++in_row_;
    if (state_ == State::trial) return eject(now, random);
    return tick(now, random);
}

bool Ejection::succeeded() {
    in_row_ = 0;
    // A stream that was on its way when the node was ejected proves nothing about now.
    if (state_ != State::trial) return false;
    forget();
    return true;
}

bool Ejection::tick(Instant now, uint64_t random) {
    switch (state_) {
        case State::in:
            if (in_row_ < kFailuresMax || now - row_since_ < kEvidenceTime) return false;
            return eject(now, random);
        case State::ejected:
            if (now < until_) return false;
            state_ = State::trial;
            until_ = now + kTrialTime;
            return true;
        case State::trial:
            if (now < until_) return false;
            forget();
            return true;
    }
    return false;
}

std::optional<Instant> Ejection::deadline() const {
    if (state_ != State::in) return until_;
    if (in_row_ >= kFailuresMax) return row_since_ + kEvidenceTime;
    return std::nullopt;
}

bool Ejection::eject(Instant now, uint64_t random) {
    state_ = State::ejected;
    ++times_;
    in_row_ = 0;
    until_ = now + wait_.next(random);
    return true;
}

}  // namespace qanat::controlplane
