#include "controlplane/discovery/announcement.h"

#include <algorithm>

#include "common/base/assert.h"
#include "common/crypto/hkdf.h"
#include "common/crypto/sha256.h"

namespace qanat::controlplane {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint8_t kFlagExit = 1;
constexpr uint8_t kFlagRelay = 2;
constexpr uint8_t kFlagLeaving = 4;
constexpr uint16_t kCriticalType = 0x8000;
constexpr std::string_view kKeyPrefix = "qanat:";

std::string to_hex(Bytes bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (const uint8_t byte : bytes) {
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

bool is_hex_digit(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool is_version(std::string_view text) {
    return text.size() <= kAnnouncedTextSizeMax &&
           std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_region(std::string_view text) {
    return text.size() <= kRegionSizeMax && std::all_of(text.begin(), text.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
           });
}

bool can_be_dialled(const NodeAddress& address) {
    return address.target.port() != 0 && (address.target.is_name() || !address.target.endpoint().ip.is_wildcard());
}

// What the format cannot say by itself.
bool is_valid(const Announcement& a) {
    const auto peer_can_be_dialled = [](const PeerAddress& peer) { return can_be_dialled(peer.address); };
    return a.valid_for_s >= 1 && a.valid_for_s <= kValiditySecondsMax && a.load <= kLoadFull && is_version(a.version) &&
           is_region(a.region) && a.addresses.size() <= kAnnouncedAddressesMax &&
           a.relays.size() <= kAnnouncedRelaysMax &&
           std::all_of(a.addresses.begin(), a.addresses.end(), can_be_dialled) &&
           std::all_of(a.relays.begin(), a.relays.end(), peer_can_be_dialled);
}

void write_text(ByteWriter& out, std::string_view text) {
    out.u8(static_cast<uint8_t>(text.size()));
    out.bytes(as_bytes(text));
}

void write_address(ByteWriter& out, const NodeAddress& address) {
    out.u8(static_cast<uint8_t>(address.family));
    address.target.encode(out);
}

void write_content(ByteWriter& out, const Announcement& a) {
    out.bytes(a.id);
    out.u64(a.sequence);
    out.u32(a.valid_for_s);
    out.u8(
        static_cast<uint8_t>((a.exit ? kFlagExit : 0) | (a.relay ? kFlagRelay : 0) | (a.leaving ? kFlagLeaving : 0)));
    out.u16(a.load);
    out.u32(a.streams);
    write_text(out, a.version);
    write_text(out, a.region);
    out.u8(static_cast<uint8_t>(a.addresses.size()));
    for (const NodeAddress& address : a.addresses) write_address(out, address);
    out.u8(static_cast<uint8_t>(a.relays.size()));
    for (const PeerAddress& relay : a.relays) {
        out.bytes(relay.id);
        write_address(out, relay.address);
    }
}

std::string read_text(ByteReader& in) {
    return std::string(as_text(in.bytes(in.u8())));
}

// nullopt: not an address.
std::optional<NodeAddress> read_address(ByteReader& in) {
    const uint8_t family = in.u8();
    const auto target = wire::Target::decode(in);
    if (!target || family > static_cast<uint8_t>(NameFamily::v6)) return std::nullopt;
    if (family != 0 && !target->is_name()) return std::nullopt;
    return NodeAddress{*target, static_cast<NameFamily>(family)};
}

// What later versions add: unknown types are skipped, unless their top bit says that they must be understood.
bool skip_extensions(ByteReader& in) {
    while (in.ok() && in.remaining() > 0) {
        const uint16_t type = in.u16();
        (void)in.bytes(in.u16());
        if ((type & kCriticalType) != 0) return false;
    }
    return in.ok();
}

std::optional<Announcement> read_content(Bytes content) {
    ByteReader in(content);
    Announcement a;
    in.copy_to(a.id);
    a.sequence = in.u64();
    a.valid_for_s = in.u32();
    const uint8_t flags = in.u8();
    a.exit = (flags & kFlagExit) != 0;
    a.relay = (flags & kFlagRelay) != 0;
    a.leaving = (flags & kFlagLeaving) != 0;
    a.load = in.u16();
    a.streams = in.u32();
    a.version = read_text(in);
    a.region = read_text(in);
    const uint8_t addresses = in.u8();
    if (!in.ok() || addresses > kAnnouncedAddressesMax) return std::nullopt;
    for (uint8_t i = 0; i < addresses; ++i) {
        const auto address = read_address(in);
        if (!address) return std::nullopt;
        a.addresses.push_back(*address);
    }
    const uint8_t relays = in.u8();
    if (!in.ok() || relays > kAnnouncedRelaysMax) return std::nullopt;
    for (uint8_t i = 0; i < relays; ++i) {
        PeerAddress relay;
        in.copy_to(relay.id);
        const auto address = read_address(in);
        if (!address) return std::nullopt;
        relay.address = *address;
        a.relays.push_back(relay);
    }
    if (!skip_extensions(in) || !is_valid(a)) return std::nullopt;
    return a;
}

}  // namespace

std::vector<NodeAddress> addresses_to_announce(const std::vector<NodeAddress>& configured,
                                               const std::vector<wire::Endpoint>& listening,
                                               const std::vector<wire::IpAddress>& own) {
    std::vector<NodeAddress> addresses;
    const auto add = [&](const NodeAddress& address) {
        const bool known = std::find(addresses.begin(), addresses.end(), address) != addresses.end();
        if (!known && can_be_dialled(address) && addresses.size() < kAnnouncedAddressesMax)
            addresses.push_back(address);
    };
    for (const NodeAddress& address : configured) add(address);
    if (!configured.empty()) return addresses;
    for (const wire::Endpoint& listener : listening) {
        if (!listener.ip.is_wildcard()) add({wire::Target(listener), NameFamily::any});
        for (const wire::IpAddress& ip : own)
            // [::] listens on all addresses of both families.
            if (listener.ip.is_wildcard() && (ip.is_v4() || !listener.ip.is_v4()))
                add({wire::Target(wire::Endpoint{ip, listener.port}), NameFamily::any});
    }
    return addresses;
}

Announcement within_bounds(Announcement announcement) {
    std::erase_if(announcement.addresses, [](const NodeAddress& address) { return !can_be_dialled(address); });
    std::erase_if(announcement.relays, [](const PeerAddress& relay) { return !can_be_dialled(relay.address); });
    announcement.addresses.resize(std::min(announcement.addresses.size(), kAnnouncedAddressesMax));
    announcement.relays.resize(std::min(announcement.relays.size(), kAnnouncedRelaysMax));
    announcement.load = std::min<uint16_t>(announcement.load, kLoadFull);
    if (!is_version(announcement.version)) announcement.version.clear();
    if (!is_region(announcement.region)) announcement.region.clear();
    return announcement;
}

AnnouncementKeys::AnnouncementKeys(const Secret<32>& discovery, std::string_view topic)
    : name_key_(crypto::expand_label_secret(discovery.bytes(), "name", as_bytes(topic))),
      seal_key_(crypto::expand_label_secret(discovery.bytes(), "seal", as_bytes(topic))) {
    std::array<uint8_t, 16> tag;
    crypto::expand_label(discovery.bytes(), "topic", as_bytes(topic), tag);
    channel_ = std::string(kKeyPrefix) + to_hex(tag);
}

std::string AnnouncementKeys::key_pattern() const {
    return channel_ + ":" + std::string(2 * std::tuple_size_v<Name>, '?');
}

std::string AnnouncementKeys::key_of(const PublicKey& id) const {
    return key_of(name_of(id));
}

std::string AnnouncementKeys::key_of(const Name& name) const {
    return channel_ + ":" + to_hex(name);
}

bool AnnouncementKeys::is_key(std::string_view key) const {
    if (key.size() != channel_.size() + 1 + 2 * std::tuple_size_v<Name>) return false;
    return key.starts_with(channel_) && key[channel_.size()] == ':' &&
           std::all_of(key.begin() + static_cast<ptrdiff_t>(channel_.size()) + 1, key.end(), is_hex_digit);
}

AnnouncementKeys::Name AnnouncementKeys::name_of(const PublicKey& id) const {
    return crypto::mac16(name_key_.bytes(), {id});
}

std::string AnnouncementKeys::seal(const Announcement& announcement, const Nonce& nonce) const {
    QANAT_ASSERT(is_valid(announcement));
    std::array<uint8_t, kPlainSizeMax> plain{};
    ByteWriter writer(MutableBytes(plain).subspan(2));
    write_content(writer, announcement);
    QANAT_ASSERT(writer.ok());
    ByteWriter(plain).u16(static_cast<uint16_t>(writer.size()));
    const size_t padded = (2 + writer.size() + kPaddedTo - 1) / kPaddedTo * kPaddedTo;

    const Name name = name_of(announcement.id);
    std::vector<uint8_t> sealed(kHeaderSize + padded + crypto::kXChaChaTagSize);
    ByteWriter header(sealed);
    header.u8(kVersion);
    header.bytes(name);
    header.bytes(nonce);
    crypto::xchacha20_seal(seal_key_.bytes(), nonce, as_bytes(key_of(name)), Bytes(plain).first(padded),
                           MutableBytes(sealed).subspan(kHeaderSize));
    return std::string(as_text(sealed));
}

Result<Announcement, AnnouncementError> AnnouncementKeys::open(std::string_view value,
                                                               std::optional<std::string_view> key) const {
    using enum AnnouncementError;
    constexpr size_t kAround = kHeaderSize + crypto::kXChaChaTagSize;
    if (value.size() > kSealedSizeMax || value.size() <= kAround) return fail_with(malformed);
    const size_t padded = value.size() - kAround;
    ByteReader header(as_bytes(value));
    if (header.u8() != kVersion || padded % kPaddedTo != 0) return fail_with(malformed);
    Name name;
    Nonce nonce;
    header.copy_to(name);
    header.copy_to(nonce);

    std::array<uint8_t, kPlainSizeMax> storage;
    const MutableBytes plain = MutableBytes(storage).first(padded);
    const std::string own_key = key_of(name);
    if (!crypto::xchacha20_open(seal_key_.bytes(), nonce, as_bytes(own_key), as_bytes(value).subspan(kHeaderSize),
                                plain))
        return fail_with(forged);
    // Authentic, but somewhere else: who may write to Redis could swap the entries of two nodes.
    if (key && *key != own_key) return fail_with(moved);

    ByteReader in(plain);
    const Bytes content = in.bytes(in.u16());
    const Bytes padding = in.bytes(in.remaining());
    const bool zero = std::all_of(padding.begin(), padding.end(), [](uint8_t byte) { return byte == 0; });
    if (!in.ok() || !zero) return fail_with(malformed);
    auto announcement = read_content(content);
    if (!announcement) return fail_with(malformed);
    // A member that seals another node's id under its own name.
    if (name_of(announcement->id) != name) return fail_with(moved);
    return std::move(*announcement);
}

}  // namespace qanat::controlplane
