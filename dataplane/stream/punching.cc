#include "dataplane/stream/punching.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/crypto/random.h"
#include "dataplane/engine/socket.h"
#include "dataplane/engine/timers.h"
#include "dataplane/stream/ring_endpoint.h"

namespace qanat::dataplane {
namespace {

constexpr uint64_t kObserveTimeNs = 3'000 * kNsPerMs;
constexpr uint64_t kPeerTimeNs = 6'000 * kNsPerMs;
// The kernel repeats a SYN after 1 and 3 s: a first one that came too early is made good within this time.
constexpr uint64_t kDialTimeNs = 4'000 * kNsPerMs;
// A NAT that refuses what it does not expect ends a try; the next one finds the other side's way out.
constexpr uint64_t kRetryNs = 200 * kNsPerMs;

}  // namespace

Punching::Punch* Punching::find(uint64_t id) {
    Punch* found = nullptr;
    punches_.for_each([&](Punch& punch) {
        if (punch.id == id && punch.stage != Stage::over) found = &punch;
    });
    return found;
}

Token Punching::token(const Punch& punch) const {
    return {.kind = OpKind::punch,
            .lane = punch.try_no,
            .generation = punches_.generation_of(&punch),
            .slot = punches_.index_of(&punch)};
}

void Punching::arm(Punch& punch, int fd, uint32_t events) {
    punch.armed = true;
    ++punch.in_flight;
    services_.io.poll(fd, events, token(punch));
}

void Punching::report(uint64_t id, uint32_t node, int error, const wire::Endpoint& observed) {
    ring::PunchObserved event{};
    event.punch = id;
    event.node = node;
    event.error = error;
    if (error == 0) event.observed = endpoint_to_ring(observed);
    services_.report(event);
}

bool Punching::begin(uint32_t node, uint32_t relay, const ring::RingEndpoint& relay_address) {
    uint64_t id = 0;
    crypto::random_bytes(MutableBytes(reinterpret_cast<uint8_t*>(&id), sizeof id));
    return start(id | ring::kClientPunchBit, node, relay, relay_address) == 0;
}

void Punching::apply(const ring::Punch& command) {
    const int error = services_.draining               ? ESHUTDOWN
                      : find(command.punch) != nullptr ? EEXIST
                                                       : start(command.punch, 0, command.relay, command.address);
    if (error != 0) report(command.punch, 0, error);
}

int Punching::start(uint64_t id, uint32_t node, uint32_t relay, const ring::RingEndpoint& relay_address) {
    if (services_.sessions.current_for_node(relay) == nullptr) return ENOTCONN;
    Punch* punch = punches_.acquire();
    if (punch == nullptr) return EBUSY;
    Connecting connecting = start_connect_from({}, endpoint_from_ring(relay_address));
    if (connecting.error != 0) {
        punches_.release(punch);
        return connecting.error;
    }
    punch->timer.own(Timer::Kind::punch, punch);
    punch->id = id;
    punch->node = node;
    punch->relay = relay;
    punch->begun_ns = services_.now_ns;
    punch->probe = std::move(connecting.fd);
    services_.timers.arm(punch->timer, services_.now_ns + kObserveTimeNs);
    arm(*punch, punch->probe.get(), POLLOUT);
    return 0;
}

void Punching::on_ready(const Completion& completion) {
    Punch* punch = punches_.find(completion.token.slot, completion.token.generation);
    if (punch == nullptr) return;
    --punch->in_flight;
    if (punch->stage == Stage::over) return end(*punch);
    if (completion.token.lane != punch->try_no) return;
    punch->armed = false;
    switch (punch->stage) {
        case Stage::connecting:
            if (const int error = connect_error(punch->probe.get()); error != 0)
                return fail(*punch, PunchFailure::not_now, error);
            return ask(*punch);
        case Stage::observing:
            return read_answer(*punch);
        case Stage::dialing:
            if (connect_error(punch->direct.get()) == 0) return succeed(*punch);
            punch->direct.reset();
            punch->stage = Stage::pausing;
            return services_.timers.arm(punch->timer, std::min(services_.now_ns + kRetryNs, punch->give_up_ns));
        case Stage::waiting:
        case Stage::delaying:
        case Stage::pausing:
        case Stage::over:
            return;
    }
}

void Punching::ask(Punch& punch) {
    SharedSession* session = services_.sessions.current_for_node(punch.relay);
    if (session == nullptr) return fail(punch, PunchFailure::not_now, ENOTCONN);
    wire::Random random;
    crypto::random_bytes(random);
    std::array<uint8_t, Observation::kFlightSize> flight;
    punch.observation.compose(flight, *session, random);
    const IoResult written = write_some(punch.probe.get(), flight);
    if (written.status != IoStatus::ok || written.count != flight.size())
        return fail(punch, PunchFailure::not_now, written.error != 0 ? written.error : ENOBUFS);
    punch.stage = Stage::observing;
    arm(punch, punch.probe.get(), POLLIN);
}

void Punching::read_answer(Punch& punch) {
    const IoResult read = read_some(punch.probe.get(), MutableBytes(punch.answer).subspan(punch.answer_size));
    if (read.status == IoStatus::again) return arm(punch, punch.probe.get(), POLLIN);
    if (read.status != IoStatus::ok)
        return fail(punch, PunchFailure::not_now, read.error != 0 ? read.error : ECONNRESET);
    punch.answer_size += read.count;
    const Observation::Step step = punch.observation.feed(MutableBytes(punch.answer).first(punch.answer_size));
    switch (step.kind) {
        case Observation::Step::Kind::need_more:
            return arm(punch, punch.probe.get(), POLLIN);
        case Observation::Step::Kind::refused: {
            // An older relay does not know the question.
            const bool never = step.status == wire::StreamStatus::kind_not_supported;
            return fail(punch, never ? PunchFailure::impossible : PunchFailure::not_now, EOPNOTSUPP);
        }
        case Observation::Step::Kind::malformed:
            return fail(punch, PunchFailure::not_now, EBADMSG);
        case Observation::Step::Kind::observed:
            break;
    }
    punch.stage = Stage::waiting;
    services_.timers.arm(punch.timer, services_.now_ns + kPeerTimeNs);
    report(punch.id, punch.node, 0, step.address);
}

void Punching::apply(const ring::PunchPeer& command) {
    Punch* punch = find(command.punch);
    if (punch == nullptr || punch->stage != Stage::waiting) return;
    switch (command.start) {
        case ring::PunchStart::busy:
            return fail(*punch, PunchFailure::not_now, 0);
        case ring::PunchStart::impossible:
            return fail(*punch, PunchFailure::impossible, 0);
        case ring::PunchStart::ready:
            break;
    }
    punch->peer = endpoint_from_ring(command.peer);
    const uint64_t first_ns = services_.now_ns + command.delay_ms * kNsPerMs;
    punch->give_up_ns = first_ns + kDialTimeNs;
    punch->stage = Stage::delaying;
    command.delay_ms == 0 ? dial(*punch) : services_.timers.arm(punch->timer, first_ns);
}

void Punching::dial(Punch& punch) {
    ++punch.try_no;
    Connecting connecting = start_connect_from(local_endpoint(punch.probe.get()), punch.peer);
    if (connecting.error != 0) {
        if (out_of_resources(connecting.error)) return fail(punch, PunchFailure::not_now, connecting.error);
        punch.stage = Stage::pausing;
        return services_.timers.arm(punch.timer, std::min(services_.now_ns + kRetryNs, punch.give_up_ns));
    }
    punch.stage = Stage::dialing;
    punch.direct = std::move(connecting.fd);
    services_.timers.arm(punch.timer, punch.give_up_ns);
    arm(punch, punch.direct.get(), POLLOUT);
}

void Punching::on_timer(Timer& timer) {
    Punch& punch = *static_cast<Punch*>(timer.owner);
    switch (punch.stage) {
        case Stage::connecting:
        case Stage::observing:
        case Stage::waiting:
            return fail(punch, PunchFailure::not_now, ETIMEDOUT);
        case Stage::delaying:
            return dial(punch);
        case Stage::pausing:
            if (services_.now_ns < punch.give_up_ns) return dial(punch);
            return fail(punch, PunchFailure::in_vain, ECONNREFUSED);
        case Stage::dialing:
            return fail(punch, PunchFailure::in_vain, ETIMEDOUT);
        case Stage::over:
            return;
    }
}

void Punching::succeed(Punch& punch) {
    ring::add(services_.counters.punched);
    UniqueFd fd = std::move(punch.direct);
    const bool client = by_client(punch);
    const uint32_t node = punch.node;
    const uint64_t begun_ns = punch.begun_ns;
    end(punch);
    if (!client) {
        keep_alive(fd.get());  // an accepted one would have it from its listener
        return hooks_.accept(std::move(fd));
    }
    services_.node_stats.note_punched(node);
    hooks_.on_punched(node, std::move(fd), begun_ns);
}

void Punching::fail(Punch& punch, PunchFailure why, int error) {
    ring::add(services_.counters.punch_failed);
    const bool client = by_client(punch);
    const uint32_t node = punch.node;
    // The other side has its answer once the relay has given one.
    if (!client && (punch.stage == Stage::connecting || punch.stage == Stage::observing))
        report(punch.id, 0, error != 0 ? error : ECANCELED);
    end(punch);
    if (!client) return;
    services_.node_stats.note_punch_failed(node);
    hooks_.on_failed(node, why);
}

void Punching::end(Punch& punch) {
    punch.stage = Stage::over;
    if (punch.armed) services_.io.cancel(token(punch));
    punch.armed = false;
    services_.timers.disarm(punch.timer);
    punch.probe.reset();
    punch.direct.reset();
    if (punch.in_flight == 0) punches_.release(&punch);
}

void Punching::end_all() {
    punches_.for_each([&](Punch& punch) {
        if (punch.stage != Stage::over) end(punch);
    });
}

}  // namespace qanat::dataplane
