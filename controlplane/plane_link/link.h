// Link: the rings of one data-plane process, from the bootstrap reply until that process ends.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/ring/bootstrap.h"
#include "common/ring/region.h"
#include "controlplane/plane_link/engine_link.h"

namespace qanat::controlplane {

class Link {
public:
    struct Handlers {
        std::function<void(uint32_t engine, const ring::MessageView&)> on_event;
        std::function<void(std::string reason)> on_fault;
    };

    // Maps the region of a reply without error. Handlers are called from the loop, never from inside open(); a handler
    // must not destroy the link (defer it).
    [[nodiscard]] static Result<std::unique_ptr<Link>> open(EventLoop& loop, ring::ReceivedReply reply, ring::Role role,
                                                            Handlers handlers);

    [[nodiscard]] uint32_t engines() const { return static_cast<uint32_t>(engines_.size()); }
    void write(uint32_t engine, ring::MessageType type, Bytes message);
    void when_flushed(Callback callback);
    [[nodiscard]] const ring::EngineCounters& counters(uint32_t engine) const { return engines_[engine]->counters(); }
    [[nodiscard]] RingDepths depths(uint32_t engine) const { return engines_[engine]->depths(); }

private:
    // Reached when every engine has been shown as many commands as had been accepted for it.
    struct Barrier {
        std::vector<uint64_t> accepted;
        Callback callback;
    };

    explicit Link(ring::Region region) : region_(std::move(region)) {}
    [[nodiscard]] bool reached(const std::vector<uint64_t>& accepted) const;
    void run_barriers();

    ring::Region region_;
    std::vector<std::unique_ptr<EngineLink>> engines_;
    std::deque<Barrier> barriers_;
};

}  // namespace qanat::controlplane
