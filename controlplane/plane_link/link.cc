#include "controlplane/plane_link/link.h"

#include <utility>

#include "common/base/assert.h"

namespace qanat::controlplane {

Result<std::unique_ptr<Link>> Link::open(EventLoop& loop, ring::ReceivedReply reply, ring::Role role,
                                         Handlers handlers) {
    const uint32_t engines = reply.reply.engines;
    if (reply.fds.size() != ring::reply_descriptors(engines)) return fail("the data plane sent too few descriptors");
    auto region = ring::Region::open(std::move(reply.fds[0]), engines);
    if (!region) return tl::unexpected(region.error());

    std::unique_ptr<Link> link(new Link(std::move(*region)));
    for (uint32_t i = 0; i < engines; ++i) {
        EngineLink::Handlers engine_handlers{
            .on_event = [i, on_event = handlers.on_event](const ring::MessageView& event) { on_event(i, event); },
            .on_fault = [i, on_fault = handlers.on_fault](
                            const std::string& reason) { on_fault("engine " + std::to_string(i) + ": " + reason); },
            .on_progress = [self = link.get()] { self->run_barriers(); },
        };
        link->engines_.push_back(
            std::make_unique<EngineLink>(loop, link->region_.engine(i), std::move(reply.fds[1 + 2 * size_t{i}]),
                                         std::move(reply.fds[2 + 2 * size_t{i}]), role, std::move(engine_handlers)));
    }
    return link;
}

void Link::write(uint32_t engine, ring::MessageType type, Bytes message) {
    QANAT_ASSERT(engine < engines_.size());
    engines_[engine]->write(type, message);
}

void Link::when_flushed(Callback callback) {
    std::vector<uint64_t> accepted;
    for (const auto& engine : engines_) accepted.push_back(engine->accepted());
    if (barriers_.empty() && reached(accepted)) return callback();
    barriers_.push_back({std::move(accepted), std::move(callback)});
}

bool Link::reached(const std::vector<uint64_t>& accepted) const {
    for (size_t i = 0; i < engines_.size(); ++i)
        if (engines_[i]->written() < accepted[i]) return false;
    return true;
}

void Link::run_barriers() {
    while (!barriers_.empty() && reached(barriers_.front().accepted)) {
        const Callback callback = std::move(barriers_.front().callback);
        barriers_.pop_front();
        callback();
    }
}

}  // namespace qanat::controlplane
