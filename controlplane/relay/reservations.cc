#include "controlplane/relay/reservations.h"

#include <algorithm>
#include <cstring>

#include "common/base/log.h"
#include "common/handshake/node_id.h"
#include "common/wire/stream_messages.h"

namespace qanat::controlplane {
namespace {

std::string describe_refusal(uint8_t status) {
    switch (static_cast<wire::StreamStatus>(status)) {
        case wire::StreamStatus::kind_not_supported:
            return "it does not relay";
        case wire::StreamStatus::relay_limit:
            return "its limit for each member";
        case wire::StreamStatus::at_capacity:
            return "it is at capacity";
        case wire::StreamStatus::draining:
            return "it is draining";
        default:
            return "status " + std::to_string(status);
    }
}

}  // namespace

std::string_view Reservations::name_of(State state) {
    switch (state) {
        case State::connecting:
            return "connecting";
        case State::waiting:
            return "waiting";
        case State::reserved:
            return "reserved";
        case State::refused:
            return "refused";
        case State::failed:
            return "failed";
    }
    return "unknown";
}

void Reservations::update(std::span<const Relay> relays) {
    for (auto at = entries_.begin(); at != entries_.end();) {
        const bool named = std::any_of(relays.begin(), relays.end(), [&](const Relay& relay) {
            return relay.number == at->first && relay.id == at->second.id;
        });
        if (named) {
            ++at;
            continue;
        }
        offer(at->first, {}, 0, 0);
        at = entries_.erase(at);
    }
    for (const Relay& relay : relays) {
        Entry& entry = entries_.try_emplace(relay.number, Entry{.id = relay.id}).first->second;
        if (entry.address == relay.address) continue;
        // A session that ended takes its connections with it; the engines begin anew under the next one.
        entry.address = relay.address;
        for (auto& [engine, share] : entry.shares) share = {.parked = 0, .taken = share.taken};
        if (relay.address && !stopped_) offer(relay.number, *relay.address, kMinimum, kMaximum);
        log_change(relay.number, entry);
    }
}

void Reservations::on_state(uint32_t engine, const ring::OfferState& state) {
    const auto found = entries_.find(state.node);
    if (found == entries_.end()) return;
    found->second.shares[engine] = {state.parked, state.taken, state.error, state.status};
    log_change(state.node, found->second);
}

void Reservations::stop() {
    stopped_ = true;
    for (const auto& [number, entry] : entries_) offer(number, {}, 0, 0);
}

void Reservations::reset() {
    entries_.clear();
}

std::vector<Reservations::View> Reservations::views() const {
    std::vector<View> views;
    for (const auto& [number, entry] : entries_) views.push_back(view(number, entry));
    return views;
}

void Reservations::offer(uint32_t number, const wire::Endpoint& address, uint16_t minimum, uint16_t maximum) {
    ring::Offer message{};
    message.node = number;
    message.minimum = minimum;
    message.maximum = maximum;
    if (maximum != 0) message.address = to_ring(address);
    port_.send_all(message);
}

void Reservations::log_change(uint32_t number, Entry& entry) {
    const View now = view(number, entry);
    if (now.state == entry.logged && now.error == entry.logged_error) return;
    entry.logged = now.state;
    entry.logged_error = now.error;
    const std::string relay = encode_node_id(entry.id);
    switch (now.state) {
        case State::reserved:
            return log_info("reserved at relay", {{"relay", relay}, {"address", entry.address->format()}});
        case State::refused:
            return log_warn("relay refuses the reservation", {{"relay", relay}, {"reason", now.error}});
        case State::failed:
            return log_warn("cannot reserve at relay", {{"relay", relay}, {"error", now.error}});
        case State::connecting:  // the driver has told why
        case State::waiting:
            return;
    }
}

Reservations::View Reservations::view(uint32_t number, const Entry& entry) {
    View view;
    view.number = number;
    view.id = entry.id;
    int32_t error = 0;
    uint8_t status = 0;
    for (const auto& [engine, share] : entry.shares) {
        view.parked += share.parked;
        view.taken += share.taken;
        if (share.error != 0) error = share.error;
        if (share.status != 0) status = share.status;
    }
    if (!entry.address)
        view.state = State::connecting;
    else if (view.parked > 0)
        view.state = State::reserved;
    else if (status != 0)
        view.state = State::refused;
    else
        view.state = error != 0 ? State::failed : State::waiting;
    if (status != 0)
        view.error = describe_refusal(status);
    else if (error != 0)
        view.error = std::strerror(error);
    return view;
}

}  // namespace qanat::controlplane
