// KeptConnections: tunnel connections that are made ahead of time and wait, authenticated, until they are used: a
// client's at its exit nodes (PARK), a node's at relays (OFFER). This is what both have in common:
//
//   pool_connect → pool_response → pooled
//
// How many there are, and what a connection that is ready serves for, is up to their owners (ClientPool, NodeOffers).
#pragma once

#include "common/wire/stream_messages.h"
#include "dataplane/stream/back_off.h"
#include "dataplane/stream/pool_size.h"
#include "dataplane/stream/stream_table.h"

namespace qanat::dataplane {

class KeptOwner;

// The connections that one owner keeps with one node. Stays where it is as long as it has any.
struct KeptGroup {
    KeptOwner* owner = nullptr;
    wire::RequestKind kind = wire::RequestKind::park;
    bool punched = false;  // through NATs, past the relays
    uint32_t node = 0;     // the one at the end of the path
    ring::RingEndpoint address{};
    uint8_t via_count = 0;
    std::array<ring::Via, ring::kViaMax> via{};

    List<Stream, &Stream::phase_hook> making;
    List<Stream, &Stream::phase_hook> ready;  // the oldest first
    uint32_t making_count = 0;
    uint32_t ready_count = 0;
    PoolSize size;
    BackOff back_off;

    [[nodiscard]] uint32_t count() const { return making_count + ready_count; }
    [[nodiscard]] std::span<const ring::Via> path() const { return std::span(via).first(via_count); }
};

struct KeptFailure {
    ring::HopStage stage;
    int error;                  // errno, or 0
    wire::StreamStatus status;  // the refusal, or ok
    uint32_t at;                // whose fault: a relay of the path, or the node
    uint64_t session_id;        // the session with that one
};

class KeptOwner {
public:
    virtual ~KeptOwner() = default;

    // It may be used from now on. rtt_us: from the first flight to the answer.
    virtual void on_ready(KeptGroup& group, uint64_t rtt_us) = 0;
    // One could not be made, and is gone.
    virtual void on_failed(KeptGroup& group, const KeptFailure& failure) = 0;
    // One that was ready has ended, and is gone.
    virtual void on_lost(KeptGroup& group) = 0;
    // The other side has sent something, or has ended. Either it is closed now, or armed again.
    virtual void on_readable(Stream& stream) = 0;
};

class KeptConnections {
public:
    // `descriptors`: what the engine may have open.
    KeptConnections(EngineServices& services, StreamTable& table, uint64_t descriptors)
        : services_(services), table_(table), descriptors_(descriptors) {}

    // True if the sessions that a connection of this group needs are there.
    [[nodiscard]] bool usable(const KeptGroup& group) const;
    // How many more there may be: a share of the engine's streams, and never more than half of the descriptors that are
    // free.
    [[nodiscard]] uint32_t room() const;
    // True if there are more than there may be.
    [[nodiscard]] bool too_many() const { return count_ > limit(); }

    // Takes a tunnel whose stream has come to its end: it is ready, and the newest. False, and it stays where it is, if
    // `wanted` are ready already or there is no room. Nobody notices its end before watch().
    [[nodiscard]] bool take_back(KeptGroup& group, Stream& ended, uint32_t wanted);
    // From now on the end of those that are ready is noticed.
    void watch(KeptGroup& group);
    // Begins to make one. False if that failed at once, or there is no room; on_failed() tells why in the first case.
    bool make(KeptGroup& group);
    // The same with a connection that stands already; `begun_ns`: when it was begun. False if there is no room.
    bool adopt(KeptGroup& group, UniqueFd fd, uint64_t begun_ns);
    // Gives tunnel and keys of a connection that is ready to `to`, which has an Opening and no tunnel. False, and it is
    // closed, if the other side has ended it or said something.
    [[nodiscard]] bool hand_over(Stream& ready, Stream& to);
    // The same without keys, for one that from now on speaks another language.
    [[nodiscard]] UniqueFd take_socket(Stream& ready);

    // Closes one; with close_notify if it was ready.
    void close(Stream& stream);
    void close_all(KeptGroup& group);
    void close_ready(KeptGroup& group);
    void close_session(KeptGroup& group, uint64_t session_id);

    // One has failed: no more for a while.
    void back_off(KeptGroup& group);

    void on_tunnel_ready(Stream& stream);  // the three phases
    void on_timer(Stream& stream);

private:
    [[nodiscard]] uint32_t limit() const;
    // A slot in the group, before there is a connection; nullptr: there is no room.
    [[nodiscard]] Stream* begin(KeptGroup& group);
    void send_first_flight(Stream& stream);
    void read_answer(Stream& stream);
    void become_ready(Stream& stream);
    void fail(Stream& stream, ring::HopStage stage, int error, wire::StreamStatus status = wire::StreamStatus::ok);
    // Takes it out of its group, and ends it.
    void leave(Stream& stream);
    void add_ready(KeptGroup& group, Stream& stream);
    void uncount_ready(const KeptGroup& group);

    EngineServices& services_;
    StreamTable& table_;
    uint64_t descriptors_;
    uint32_t count_ = 0;
};

}  // namespace qanat::dataplane
