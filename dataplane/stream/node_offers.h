// NodeOffers: connections that a node keeps ready at relays, for clients that reach it through them (OFFER, PROTOCOL.md
// section 6.2). One per engine. A connection that the relay takes becomes an accepted tunnel connection.
#pragma once

#include <functional>
#include <unordered_map>

#include "dataplane/stream/kept_connections.h"

namespace qanat::dataplane {

class NodeOffers final : public KeptOwner {
public:
    // Takes over a connection as if it had been accepted now. `source` stands for the address of its other end;
    // `received` is what has come on it.
    using Accept = std::function<void(UniqueFd fd, const std::array<uint8_t, 16>& source, Bytes received)>;

    NodeOffers(EngineServices& services, StreamTable& table, KeptConnections& kept, Accept accept)
        : services_(services), table_(table), kept_(kept), accept_(std::move(accept)) {
        tick_.own(Timer::Kind::offers, this);
    }

    void apply(const ring::Offer& command);
    void on_session_installed() { refill_all(); }
    void on_session_removed(uint64_t session_id);
    void on_timer();
    void close_all();

    void on_ready(KeptGroup& group, uint64_t rtt_us) override;
    void on_failed(KeptGroup& group, const KeptFailure& failure) override;
    void on_lost(KeptGroup& group) override;
    void on_readable(Stream& stream) override;

private:
    struct Relay : KeptGroup {
        uint32_t minimum = 0;
        uint32_t maximum = 0;
        ring::OfferState state{};
        ring::OfferState reported{};  // the last one that was sent
        uint64_t reported_ns = 0;
    };

    void refill(Relay& relay);
    void refill_all();
    void make(Relay& relay, uint32_t upto);
    void report(Relay& relay);
    // `error`: how the connection has ended, or 0: it has not.
    void digest(Stream& stream, int error);
    void drop(Stream& stream, int error);

    EngineServices& services_;
    StreamTable& table_;
    KeptConnections& kept_;
    Accept accept_;
    std::unordered_map<uint32_t, Relay> relays_;  // by node
    Timer tick_;
};

}  // namespace qanat::dataplane
