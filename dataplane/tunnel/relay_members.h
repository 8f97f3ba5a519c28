// RelayMembers: what the engines of a relay share about the members that it carries streams for (PROTOCOL.md
// section 6): who has which connection on offer and in which engine, who waits for one, and each member's limits. One
// per process. Takes a mutex and may allocate: for OFFER and FORWARD, never for a byte; the byte rate is lock-free.
//
// It knows connections and streams by engine and handle only (StreamTable::handle), so a name may have outlived what it
// names: who is given one looks, and asks again.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "common/base/secret.h"
#include "common/crypto/sha256.h"
#include "common/ring/bootstrap.h"
#include "dataplane/tunnel/byte_rate.h"
#include "dataplane/tunnel/pool_share.h"

namespace qanat::dataplane {

using MemberId = std::array<uint8_t, 32>;  // static key

struct EngineStream {
    uint32_t engine = 0;
    uint64_t handle = 0;
    friend bool operator==(const EngineStream&, const EngineStream&) = default;
};

// One member. A pointer to it is valid from begin_stream() or begin_offer() to the end that belongs to it.
struct RelayMember {
    explicit RelayMember(const MemberId& of) : id(of) {}

    const MemberId id;
    ByteRate rate;
    // By engine, and of no concern to any other one.
    std::array<PoolShare, ring::kEnginesMax> held{};

private:
    friend class RelayMembers;
    uint32_t streams_ = 0;
    uint32_t offers_ = 0;
    uint64_t offered_ns_ = 0;  // when it was last seen to have a connection on offer, 0 = never
    std::vector<EngineStream> ready_;
    std::deque<EngineStream> waiting_;
};

class RelayMembers {
public:
    // A member that had a connection on offer so short a time ago is expected to bring the next one.
    static constexpr uint64_t kExpectedNs = 30'000'000'000;

    RelayMembers();

    // All engines together; 0 = none.
    struct Limits {
        uint32_t streams_max = 0;   // of each member
        uint32_t offers_max = 0;    // of each member
        uint32_t offerers_max = 0;  // members that have connections on offer
    };
    void set_limits(const Limits& limits);
    // The byte rate of each member is another one from now on.
    void forget_rates();

    // A FORWARD of this member. Null: it has as many streams as it may.
    [[nodiscard]] RelayMember* begin_stream(const MemberId& id, uint64_t now_ns);
    void end_stream(RelayMember& member);

    // An OFFER of this member. Null: it has as many connections on offer as it may, or too many others have some.
    [[nodiscard]] RelayMember* begin_offer(const MemberId& id, uint64_t now_ns);
    // The connection was taken, or has ended.
    void end_offer(RelayMember& member, EngineStream connection, uint64_t now_ns);

    // The connection waits to be used. If a stream waits for it, that one has it now: the answer is the stream's
    // engine, which must look at next_assignment(). Also for giving back what was assigned to a stream that is gone.
    [[nodiscard]] std::optional<uint32_t> offer(const MemberId& id, EngineStream connection);

    struct Choice {
        enum class Kind : uint8_t {
            take,  // `connection` is the asker's now, preferably one of its own engine
            wait,  // the asker stands in the queue, until it is assigned one or calls stop_waiting()
            ask,   // nothing is known here
        };
        Kind kind;
        EngineStream connection{};
    };
    // Finds the asker a connection that `id` offers. `reserved`: the control plane says that one will come.
    [[nodiscard]] Choice find(const MemberId& id, EngineStream asker, bool reserved, uint64_t now_ns);
    // No effect when it does not wait.
    void stop_waiting(const MemberId& id, EngineStream asker);

    struct Assignment {
        uint64_t asker;  // in the engine that asks for its assignments
        EngineStream connection;
        MemberId id;  // who offers it
    };
    [[nodiscard]] std::optional<Assignment> next_assignment(uint32_t engine);

    // Streams that wait for a connection of this member.
    [[nodiscard]] uint16_t waiting_for(const RelayMember& member) const;

    // `source` of TAKEN: the same for the same member, and nothing else to be learned from.
    [[nodiscard]] crypto::Mac16 source_of(const MemberId& id) const;

    [[nodiscard]] size_t size() const;

private:
    struct Hash {
        size_t operator()(const MemberId& id) const;
    };
    RelayMember& member(const MemberId& id, uint64_t now_ns);
    void forget_idle(uint64_t now_ns);

    const Secret<32> secret_;
    mutable std::mutex mutex_;
    Limits limits_;
    uint32_t offerers_ = 0;
    uint64_t forget_at_ns_ = 0;
    std::unordered_map<MemberId, std::unique_ptr<RelayMember>, Hash> members_;
    std::vector<std::deque<Assignment>> assignments_;  // by engine
};

}  // namespace qanat::dataplane
