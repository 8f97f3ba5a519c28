// Announcement: what a node tells the members of its network about itself, and the sealed form of it that lies in
// Redis (docs/PROTOCOL.md, section 9). Whoever runs Redis, or breaks into it, sees names made of hashes and sealed
// boxes of one size; only holders of the network key can read or make them. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/secret.h"
#include "common/crypto/xchacha20.h"
#include "common/handshake/key_pair.h"
#include "controlplane/config/config.h"

namespace qanat::controlplane {

inline constexpr size_t kAnnouncedAddressesMax = kAnnounceMax;
inline constexpr size_t kAnnouncedRelaysMax = 8;
inline constexpr size_t kAnnouncedTextSizeMax = 32;  // of version and region
inline constexpr uint16_t kLoadFull = 10000;
inline constexpr uint32_t kValiditySecondsMax = 3600;

struct Announcement {
    PublicKey id{};
    uint64_t sequence = 0;     // Unix time in ms when it was made; strictly increasing per node
    uint32_t valid_for_s = 0;  // 1 … kValiditySecondsMax: unless it is renewed, the node is gone after that
    bool exit = false;
    bool relay = false;
    bool leaving = false;                // the node shuts down: forget it now
    uint16_t load = 0;                   // of its stream capacity, in 1/kLoadFull
    uint32_t streams = 0;                // open now
    std::string version;                 // of the program: printable ASCII without spaces
    std::string region;                  // [a-z0-9-], may be empty
    std::vector<NodeAddress> addresses;  // where the node listens, in the order to try
    std::vector<PeerAddress> relays;     // that hold a reservation for it

    friend bool operator==(const Announcement&, const Announcement&) = default;
};

// Where a node listens, as other machines reach it: `configured` if there is any (node.announce), else `listening`,
// with each wildcard address replaced by those of `own` that it stands for. At most kAnnouncedAddressesMax.
[[nodiscard]] std::vector<NodeAddress> addresses_to_announce(const std::vector<NodeAddress>& configured,
                                                             const std::vector<wire::Endpoint>& listening,
                                                             const std::vector<wire::IpAddress>& own);

// The announcement, cut to what the format can carry: lists beyond their maximum, addresses that nobody can dial, a
// load above full, a version or region that is none.
[[nodiscard]] Announcement within_bounds(Announcement announcement);

enum class AnnouncementError : uint8_t {
    malformed,  // not of the form of section 9
    forged,     // not sealed by a holder of the network key, for this topic and under this name
    moved,      // a valid value that lies under the name of another node
};

// The names and keys of one topic of one network.
class AnnouncementKeys {
public:
    using Name = std::array<uint8_t, 16>;  // of a node, instead of its id
    using Nonce = std::array<uint8_t, crypto::kXChaChaNonceSize>;

    // `discovery` is K_disc of the network key; the topic is at most kTopicSizeMax bytes.
    AnnouncementKeys(const Secret<32>& discovery, std::string_view topic);

    // "qanat:" and the topic's tag in hex: the channel, and what all keys of the topic begin with.
    [[nodiscard]] const std::string& channel() const { return channel_; }
    // A glob pattern of Redis that fits the keys of the topic, and no longer ones.
    [[nodiscard]] std::string key_pattern() const;
    [[nodiscard]] std::string key_of(const PublicKey& id) const;
    [[nodiscard]] bool is_key(std::string_view key) const;  // one of the form that key_of() gives

    // `nonce` is random. The announcement is within the bounds above, sequence and validity are set.
    [[nodiscard]] std::string seal(const Announcement& announcement, const Nonce& nonce) const;

    // A value as it came on the channel; with `key`, as it lay under that key.
    [[nodiscard]] Result<Announcement, AnnouncementError> open(std::string_view value,
                                                               std::optional<std::string_view> key = {}) const;

    // Longer values are malformed.
    static constexpr size_t kPaddedTo = 512;
    static constexpr size_t kPlainSizeMax = 16 * kPaddedTo;
    static constexpr size_t kHeaderSize = 1 + std::tuple_size_v<Name> + crypto::kXChaChaNonceSize;
    static constexpr size_t kSealedSizeMax = kHeaderSize + kPlainSizeMax + crypto::kXChaChaTagSize;

private:
    [[nodiscard]] Name name_of(const PublicKey& id) const;
    [[nodiscard]] std::string key_of(const Name& name) const;

    Secret<32> name_key_;
    Secret<32> seal_key_;
    std::string channel_;
};

}  // namespace qanat::controlplane
