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

    explicit StreamTable(EngineServices& services);

    // Where streams wait, in order. Others put them in and take them out; finish() takes a stream out of all of them.
    List<Stream, &Stream::phase_hook> unauthenticated;  // exit: nothing proved yet, oldest first
    List<Stream, &Stream::phase_hook> opening;          // client: between request and relay
    List<Stream, &Stream::ready_hook> ready;            // lanes that yielded
    List<Stream, &Stream::memory_hook> memory;          // lanes that wait for chunks

    // A new stream with an Opening, or nullptr when even the refusal slots are taken.
    Stream* acquire(StreamSide side, Phase phase);
    // From now on this connection is a stream in the counters: a SOCKS client at once, a tunnel once it is
    // authenticated.
    void count(Stream& stream);
    [[nodiscard]] bool over_capacity() const { return counted_ > services_.limits.streams; }
    [[nodiscard]] uint32_t active() const { return streams_.used(); }
    [[nodiscard]] Stream* find(uint32_t slot, uint16_t generation) { return streams_.find(slot, generation); }
    [[nodiscard]] Stream* find(uint64_t handle);
    [[nodiscard]] uint64_t handle(const Stream& stream) const;  // for questions that go through the ring

    // One completion of the kind when fd is ready. The kind must not be armed.
    void arm_seal(Stream& stream, int fd, uint32_t events);
    void arm_open(Stream& stream, int fd, uint32_t events);
    // Watches the source of `lane` until the stream ends: errors, hang-ups, and room to write after there was none.
    void arm_watch(Stream& stream, uint8_t lane);
    void arm_dial(Stream& stream, size_t slot);
    // Accounts for a completion. False: it belongs to something abandoned, do nothing more.
    [[nodiscard]] bool take(Stream& stream, const Completion& completion);

    void deadline(Stream& stream, uint64_t at_ns) { services_.timers.arm(stream.timer, at_ns); }

    // Closes the tunnel connection, forgets its operations and keys, and makes the stream ready for another one.
    void abandon_tunnel(Stream& stream);
    // Drops one connection attempt of the exit.
    void abandon_attempt(Stream& stream, size_t slot);
    void release_opening(Stream& stream);

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
    void report_end(const Stream& stream);

    EngineServices& services_;
    uint32_t counted_ = 0;  // streams, without the connections that have proved nothing
    Slab<Stream> streams_;
    Slab<Opening> openings_;
    List<Stream, &Stream::sweep_hook> finished_;
};

}  // namespace qanat::dataplane
