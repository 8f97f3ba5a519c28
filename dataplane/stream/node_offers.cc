#include "dataplane/stream/node_offers.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dataplane/engine/socket.h"

namespace qanat::dataplane {
namespace {

constexpr uint64_t kTickNs = 1'000'000'000;
constexpr uint64_t kTakenTimeoutNs = 5'000'000'000;  // from the first byte of TAKEN to its last

}  // namespace

void NodeOffers::apply(const ring::Offer& command) {
    if (services_.draining) return;
    Relay& relay = relays_[command.node];
    relay.owner = this;
    relay.kind = wire::RequestKind::offer;
    relay.node = command.node;
    relay.minimum = command.minimum;
    relay.maximum = command.maximum;
    relay.state.node = command.node;
    const bool moved = std::memcmp(&relay.address, &command.address, sizeof command.address) != 0;
    if (moved || command.maximum == 0) kept_.close_all(relay);
    if (moved) relay.back_off = {};
    relay.address = command.address;
    while (relay.ready_count > relay.maximum) kept_.close(*relay.ready.front());
    if (!tick_.armed()) services_.timers.arm(tick_, services_.now_ns + kTickNs);
    refill(relay);
    report(relay);
}

void NodeOffers::on_session_removed(uint64_t session_id) {
    for (auto& [node, relay] : relays_) kept_.close_session(relay, session_id);
    refill_all();
}

void NodeOffers::refill_all() {
    for (auto& [node, relay] : relays_) refill(relay);
}

void NodeOffers::refill(Relay& relay) {
    make(relay, std::max(relay.minimum, relay.size.wanted(services_.now_ns)));
}

void NodeOffers::make(Relay& relay, uint32_t upto) {
    if (services_.draining || !kept_.usable(relay)) return;
    while (relay.count() < std::min(upto, relay.maximum) && relay.back_off.ready(services_.now_ns))
        if (!kept_.make(relay)) return;
}

void NodeOffers::on_timer() {
    for (auto& [node, relay] : relays_) {
        // One at a time, the newest: it is the last that the relay would take at this moment.
        const uint32_t wanted = std::max(relay.minimum, relay.size.wanted(services_.now_ns));
        if (relay.ready_count > wanted || (kept_.too_many() && relay.ready_count > 0)) kept_.close(*relay.ready.back());
        refill(relay);
        report(relay);
    }
    if (!relays_.empty()) services_.timers.arm(tick_, services_.now_ns + kTickNs);
}

void NodeOffers::close_all() {
    for (auto& [node, relay] : relays_) {
        kept_.close_all(relay);
        relay.minimum = relay.maximum = 0;
    }
}

void NodeOffers::report(Relay& relay) {
    relay.state.parked = relay.ready_count;
    const bool changed = std::memcmp(&relay.state, &relay.reported, sizeof relay.state) != 0;
    const bool soon = relay.reported_ns != 0 && services_.now_ns - relay.reported_ns < kTickNs;
    if (!changed || soon || services_.draining || !services_.report(relay.state)) return;
    relay.reported = relay.state;
    relay.reported_ns = services_.now_ns;
}

void NodeOffers::on_ready(KeptGroup& group, uint64_t) {
    Relay& relay = static_cast<Relay&>(group);
    relay.state.error = 0;
    relay.state.status = 0;
    report(relay);
}

void NodeOffers::on_failed(KeptGroup& group, const KeptFailure& failure) {
    Relay& relay = static_cast<Relay&>(group);
    kept_.back_off(relay);
    relay.state.error = failure.error;
    relay.state.status = static_cast<uint8_t>(failure.status);
    report(relay);
}

void NodeOffers::on_lost(KeptGroup& group) {
    Relay& relay = static_cast<Relay&>(group);
    refill(relay);
    report(relay);
}

void NodeOffers::on_readable(Stream& stream) {
    if (stream.opening == nullptr) {
        table_.borrow_opening(stream);
        table_.deadline(stream, services_.now_ns + kTakenTimeoutNs);
    }
    Opening& opening = *stream.opening;
    const IoResult read = read_some(stream.tunnel.get(), MutableBytes(opening.flight).subspan(opening.flight_size));
    opening.flight_size += static_cast<uint32_t>(read.count);
    digest(stream, read.status == IoStatus::end ? ECONNRESET : read.error);
}

void NodeOffers::digest(Stream& stream, int error) {
    Opening& opening = *stream.opening;
    const auto wait = [&] { error != 0 ? drop(stream, error) : table_.arm_open(stream, stream.tunnel.get(), POLLIN); };
    const MutableBytes flight = MutableBytes(opening.flight).first(opening.flight_size);
    if (flight.size() < wire::kRecordHeaderSize) return wait();
    const auto size = wire::record_size(flight);
    if (!size || *size > kFlightMax) return drop(stream, EBADMSG);
    if (flight.size() < *size) return wait();
    const auto record = wire::open_record(services_.keys.context(stream.open.key, stream.open.key_tag), stream.open.key,
                                          flight.first(*size));
    if (!record) return drop(stream, EBADMSG);
    if (record->type == wire::ContentType::alert) return drop(stream, ECONNRESET);  // the relay does not need it
    const auto taken = wire::decode_taken(record->content);
    if (record->type != wire::ContentType::control || *size != wire::kTakenRecordSize || !taken)
        return drop(stream, EBADMSG);

    Relay& relay = static_cast<Relay&>(*stream.kept_in);
    ring::add(services_.counters.offers_taken);
    ++relay.state.taken;
    std::array<uint8_t, kFlightMax> behind;
    const size_t behind_size = flight.size() - *size;
    std::memcpy(behind.data(), flight.data() + *size, behind_size);
    UniqueFd socket = kept_.take_socket(stream);
    keep_alive(socket.get());  // an accepted one would have it from its listener
    accept_(std::move(socket), taken->source, Bytes(behind).first(behind_size));

    const uint32_t streams = uint32_t{taken->waiting} + 1;
    relay.size.on_demand(services_.now_ns, streams);
    make(relay, relay.count() + streams);
    report(relay);
}

void NodeOffers::drop(Stream& stream, int error) {
    Relay& relay = static_cast<Relay&>(*stream.kept_in);
    const bool short_lived = services_.now_ns - stream.accepted_ns < kTickNs;
    (void)kept_.take_socket(stream);
    if (short_lived || error == EBADMSG) {
        kept_.back_off(relay);
        relay.state.error = error;
    }
    on_lost(relay);
}

}  // namespace qanat::dataplane
