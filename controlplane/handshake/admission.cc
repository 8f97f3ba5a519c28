#include "controlplane/handshake/admission.h"

#include <algorithm>
#include <cstring>

namespace qanat::controlplane {
namespace {

// One customer: an IPv4 address, or an IPv6 /56.
wire::IpAddress source_block(const wire::IpAddress& address) {
    wire::IpAddress block = address;
    if (!block.is_v4()) std::memset(block.bytes.data() + 7, 0, 9);
    return block;
}

}  // namespace

double TokenBucket::level(Instant now) {
    if (now > at_) {
        const double seconds = std::chrono::duration<double>(now - at_).count();
        tokens_ = std::min(burst_, tokens_ + seconds * rate_);
        at_ = now;
    }
    return tokens_;
}

bool TokenBucket::take(Instant now) {
    if (level(now) < 1) return false;
    tokens_ -= 1;
    return true;
}

bool Admission::admit(const wire::IpAddress& source, Instant now) {
    const wire::IpAddress block = source_block(source);
    auto found = sources_.find(block);
    if (found == sources_.end()) {
        if (sources_.size() >= kSourcesMax) forget_idle_sources(now);
        // With that many busy sources the common budget has to do.
        if (sources_.size() >= kSourcesMax) return budget_.take(now);
        found = sources_.emplace(block, TokenBucket(settings_.source_per_second, settings_.source_burst, now)).first;
    }
    return found->second.take(now) && budget_.take(now);
}

void Admission::forget_idle_sources(Instant now) {
    for (auto at = sources_.begin(); at != sources_.end();)
        at = at->second.level(now) >= settings_.source_burst ? sources_.erase(at) : std::next(at);
}

}  // namespace qanat::controlplane
