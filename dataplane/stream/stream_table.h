// StreamTable: every stream of one engine, from slot to slot: acquiring, arming operations, ending. It knows phases
// only as names; what happens in them is decided in client_opening, exit_opening and relaying.
//
// Ending is a join. finish() records the reason, frees everything the stream held, asks for the end of its operations
// and leaves it in Phase::closing; sweep() closes the sockets and releases the slot once the last completion is in.
// So nobody who holds a Stream* during a turn sees it vanish.
#pragma once

#include "dataplane/engine/slab.h"
#include "dataplane/stream/services.h"
#include "dataplane/stream/stream.h"

namespace qanat::dataplane {

// How the application or target sees the end. Reset is what a plain socket does from the beginning unless it is told
// otherwise: should this process die, half a download must not look like a whole one.
enum class PlainEnd : uint8_t { close, reset };

class StreamTable {
public:
    // Slots beyond the cap that serve only to refuse by name.
    static constexpr uint32_t kRefusalSlots = 64;
    // Slots beyond the cap for connections that are kept ready, which are no streams yet.
    [[nodiscard]] static constexpr uint32_t kept_max(const ring::DataPlaneLimits& limits) { return limits.streams / 8; }
    // All slots. Outsiders have slots of their own: however many they are, they take none from members.
    [[nodiscard]] static constexpr uint32_t slots(const ring::DataPlaneLimits& limits) {
        return limits.streams + limits.unauthenticated + kRefusalSlots + kept_max(limits);
    }

    explicit StreamTable(EngineServices& services);

    // Where streams wait, in order. Others put them in and take them out; finish() takes a stream out of all of them.
    List<Stream, &Stream::phase_hook> unauthenticated;  // exit: nothing proved yet, oldest first
    List<Stream, &Stream::phase_hook> opening;          // client: between request and relay
    List<Stream, &Stream::ready_hook> ready;            // lanes that yielded
    List<Stream, &Stream::memory_hook> memory;          // lanes that wait for chunks

    // A new stream with an Opening, or nullptr when even the refusal slots are taken.
    Stream* acquire(StreamSide side, Phase phase);
    // The same without Opening, for a connection that is authenticated and waits.
    Stream* acquire_waiting(StreamSide side, Phase phase);
    // From now on this connection is a stream in the counters: a SOCKS client at once, a tunnel once it is
    // authenticated.
    void count(Stream& stream);
    // The same for one that another engine has counted in streams_total.
    void count_moved(Stream& stream);
    [[nodiscard]] bool over_capacity() const { return counted_ > services_.limits.streams; }
    // Exit: connections that wait for their REQUEST, oldest first. They are no streams, but have the room of some.
    void park(Stream& stream);
    void unpark(Stream& stream);
    [[nodiscard]] const List<Stream, &Stream::phase_hook>& parked() const { return parked_; }
    // For one more, stream or parked.
    [[nodiscard]] bool has_room() const { return counted_ + parked_count_ < services_.limits.streams; }
    [[nodiscard]] uint32_t active() const { return streams_.used(); }
    [[nodiscard]] Stream* find(uint32_t slot, uint16_t generation) { return streams_.find(slot, generation); }
    [[nodiscard]] Stream* find(uint64_t handle);
    [[nodiscard]] uint64_t handle(const Stream& stream) const;  // for questions that go through the ring
    [[nodiscard]] EngineStream engine_stream(const Stream& stream) const {
        return {.engine = services_.relay.engine, .handle = handle(stream)};
    }

    // One completion of the kind when fd is ready. The kind must not be armed.
    void arm_seal(Stream& stream, int fd, uint32_t events);
    void arm_open(Stream& stream, int fd, uint32_t events);
    // Watches the source of `lane` until the stream ends: errors, hang-ups, and room to write after there was none.
    // Nothing more, if it is watched already.
    void watch(Stream& stream, uint8_t lane);
    void arm_dial(Stream& stream, size_t slot);
    // Accounts for a completion. False: it belongs to something abandoned, do nothing more.
    [[nodiscard]] bool take(Stream& stream, const Completion& completion);

    void deadline(Stream& stream, uint64_t at_ns) { services_.timers.arm(stream.timer, at_ns); }

    // The stream goes through this node from now on, until it leaves it or ends: NodeStats counts it there.
    void enter_node(Stream& stream, uint32_t node);
    void leave_node(Stream& stream);
    // Closes the tunnel connection, leaves its node, forgets its operations and keys, and makes the stream ready for
    // another one.
    void abandon_tunnel(Stream& stream);
    // Drops one connection attempt of the exit.
    void abandon_attempt(Stream& stream, size_t slot);
    // A stream that has given its Opening back needs one again.
    void borrow_opening(Stream& stream);
    void release_opening(Stream& stream);
    // Closes the connection to the next node while it is being made.
    void abandon_plain(Stream& stream);
    // Takes the stream, or offered connection, out of what its member may have, and out of the queue that it waits in.
    void leave_member(Stream& stream);
    // From lanes with keys, which are wiped, to lanes without.
    void begin_splicing(Stream& stream);

    void finish(Stream& stream, ring::EndReason reason, PlainEnd how);
    void finish_all(ring::EndReason reason);
    template <class F>
    void for_each(F&& visit) {
        streams_.for_each(std::forward<F>(visit));
    }

    // At the end of a turn: closes and releases what is finished. True if anything was released.
    bool sweep();

private:
    [[nodiscard]] Token token(const Stream& stream, OpKind kind, uint8_t lane) const;
    void cancel(Stream& stream, OpKind kind, uint8_t lane);
    // Gives back what both spliced lanes have leased.
    void release_splicing(Stream& stream);
    // `up`, `down`: what was carried away from and towards the client.
    void report_end(const Stream& stream, uint64_t up, uint64_t down);

    EngineServices& services_;
    List<Stream, &Stream::phase_hook> parked_;
    uint32_t parked_count_ = 0;
    uint32_t counted_ = 0;  // streams, without the connections that have proved nothing
    Slab<Stream> streams_;
    Slab<Opening> openings_;
    List<Stream, &Stream::sweep_hook> finished_;
};

}  // namespace qanat::dataplane
