// Chain: the relays' part of a path (PROTOCOL.md section 6.1): the FORWARD requests that go in front of the first
// flight, and the answers of the relays that come in front of the node's. Pure: randomness is an argument.
//
// A path without relays is a chain of length 0: it adds nothing and is open at once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "common/base/bytes.h"
#include "common/ring/messages.h"
#include "common/wire/preamble.h"
#include "common/wire/stream_keys.h"
#include "common/wire/stream_messages.h"
#include "dataplane/tunnel/session_table.h"

namespace qanat::dataplane {

class Chain {
public:
    // What the relays of a path are asked takes at most this many bytes.
    static constexpr size_t kFlightMax = ring::kViaMax * wire::kRequestFlightMultiple;
    // The answer of one relay may have this many: `received` of feed() needs room for it, and for no more.
    static constexpr size_t kAnswerMax = 4 * wire::kResponseFlightMultiple;

    Chain() = default;
    ~Chain() { wipe(); }
    Chain(const Chain&) = delete;
    Chain& operator=(const Chain&) = delete;

    // Prepares the path: for each relay its current session and whom it forwards to, in the end `last`. False if there
    // is no session with one of them; `at()` is that relay.
    [[nodiscard]] bool begin(const SessionTable& sessions, std::span<const ring::Via> via,
                             const std::array<uint8_t, 32>& last);

    // True if begin() would succeed.
    [[nodiscard]] static bool usable(const SessionTable& sessions, std::span<const ring::Via> via);

    // Writes the requests, in order. Takes a stream number of each session; each relay has its own 32 bytes of
    // `random`. Returns the size, a multiple of 512; nullopt, and nothing is taken, if one of the sessions was removed
    // after begin(): `at()` is that relay.
    [[nodiscard]] std::optional<size_t> compose(const SessionTable& sessions, MutableBytes out,
                                                std::span<const wire::Random, ring::kViaMax> random);

    // Takes answers of relays from the front of `received`, all that came so far and were not yet consumed. Not to be
    // called again after refused and malformed.
    struct Step {
        enum class Kind : uint8_t { need_more, open, refused, malformed };
        Kind kind;
        size_t consumed;              // bytes at the front that are done with
        wire::StreamStatus status{};  // of refused
    };
    [[nodiscard]] Step feed(MutableBytes received);

    [[nodiscard]] bool open() const { return answered_ == count_; }
    [[nodiscard]] size_t size() const { return count_; }
    // The relay that is asked now, was asked last or has failed, and the session with it. kNoNode and 0 without relays.
    [[nodiscard]] uint32_t at() const { return hops_[at_index()].node; }
    [[nodiscard]] uint64_t session_id() const { return hops_[at_index()].session_id; }
    // True if this path goes under that session.
    [[nodiscard]] bool uses(uint64_t session_id) const;

    void wipe();

private:
    struct Hop {
        uint32_t node = ring::kNoNode;
        uint64_t session_id = 0;
        wire::NextNode next;
        std::optional<wire::StreamKeySchedule> schedule;  // from compose() until the answer
    };
    [[nodiscard]] size_t at_index() const { return answered_ < count_ || count_ == 0 ? answered_ : count_ - 1; }
    [[nodiscard]] Step answer_of(const wire::StreamKeySchedule& schedule, MutableBytes received) const;

    std::array<Hop, ring::kViaMax> hops_;
    size_t count_ = 0;
    size_t answered_ = 0;
};

}  // namespace qanat::dataplane
