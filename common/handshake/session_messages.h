// The messages of the session handshake, PROTOCOL section 3: their sizes, constants and payloads.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "common/base/bytes.h"
#include "common/base/secret.h"
#include "common/crypto/suite.h"

namespace qanat::handshake {

// type | version | u16 length of what follows
using Header = std::array<uint8_t, 4>;
inline constexpr Header kMsg1Header{0x01, 0x01, 0x01, 0xfc};
inline constexpr Header kMsg2Header{0x02, 0x01, 0x00, 0xfc};
inline constexpr Header kChallengeHeader{0x03, 0x01, 0x00, 0x20};

inline constexpr size_t kMsg1Size = 512;
inline constexpr size_t kMsg1TagOffset = 496;
inline constexpr size_t kMsg2Size = 256;
inline constexpr size_t kChallengeSize = 36;
inline constexpr size_t kMsg1PayloadSize = 396;
inline constexpr size_t kMsg2PayloadSize = 204;

static_assert(kMsg1TagOffset == 4 + 32 + (32 + 16) + (kMsg1PayloadSize + 16));
static_assert(kMsg1Size == kMsg1TagOffset + 16);
static_assert(kMsg2Size == 4 + 32 + (kMsg2PayloadSize + 16));
static_assert(kChallengeSize == 4 + 16 + 16);

using Msg1 = std::array<uint8_t, kMsg1Size>;
using Msg2 = std::array<uint8_t, kMsg2Size>;
using Challenge = std::array<uint8_t, kChallengeSize>;

// Capability bits.
inline constexpr uint32_t kCapabilityAes = 1;
inline constexpr uint32_t kCapabilityPunch = 2;  // of a node: it answers PUNCH

using BootId = std::array<uint8_t, 16>;

// 1 to 7 suite ids, the client's favourite first. Ids are kept as they came: one that this version does not know is a
// later version's, and is skipped when a suite is chosen.
class SuiteList {
public:
    static constexpr size_t kSizeMax = 7;

    SuiteList() = default;
    // At most kSizeMax.
    explicit SuiteList(std::span<const crypto::Suite> suites);

    void push_back(uint8_t id);
    [[nodiscard]] size_t size() const { return size_; }
    [[nodiscard]] std::span<const uint8_t> ids() const { return std::span(ids_).first(size_); }
    [[nodiscard]] bool contains(crypto::Suite suite) const;

private:
    std::array<uint8_t, kSizeMax> ids_{};
    size_t size_ = 0;
};

[[nodiscard]] constexpr bool both_have_aes(uint32_t capabilities, uint32_t other_capabilities) {
    return (capabilities & other_capabilities & kCapabilityAes) != 0;
}

// The node's choice, PROTOCOL section 5: the first offered suite that is allowed, AES only if both sides have it in
// hardware. Nothing if there is none.
[[nodiscard]] std::optional<crypto::Suite> choose_suite(const SuiteList& offered,
                                                        std::span<const crypto::Suite> allowed, bool both_have_aes);

struct Msg1Payload {
    uint32_t capabilities = 0;
    SuiteList suites;
    BootId boot_id{};
    uint32_t wished_window = 0;  // in stream numbers, 0 = the node's default
};

enum class SessionStatus : uint8_t {
    ok = 0,
    no_common_suite = 1,
    not_a_member = 2,
    too_many_sessions = 3,
    draining = 4,
};

struct Msg2Payload {
    // A status of a later version comes through unchanged; it is a refusal like the others.
    SessionStatus status = SessionStatus::ok;
    // The rest is meaningful with status ok only.
    crypto::Suite suite = crypto::Suite::chacha20_poly1305;
    uint32_t capabilities = 0;
    uint64_t session_id = 0;  // not 0
    uint32_t lifetime_s = 0;  // not 0
    uint32_t window = 0;      // in stream numbers, a multiple of 64, not 0
    Secret<32> header_key;    // K_hdr
};

// What an encoder is given must satisfy the remarks above (asserted).
void encode_msg1_payload(const Msg1Payload& payload, std::span<uint8_t, kMsg1PayloadSize> out);
void encode_msg2_payload(const Msg2Payload& payload, std::span<uint8_t, kMsg2PayloadSize> out);

// Nothing if the payload breaks the format: a field out of range, an unknown TLV with the top bit set, a TLV that
// overruns, or a byte that must be zero and is not.
[[nodiscard]] std::optional<Msg1Payload> decode_msg1_payload(std::span<const uint8_t, kMsg1PayloadSize> bytes);
[[nodiscard]] std::optional<Msg2Payload> decode_msg2_payload(std::span<const uint8_t, kMsg2PayloadSize> bytes);

}  // namespace qanat::handshake
