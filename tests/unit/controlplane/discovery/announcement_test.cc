#include "controlplane/discovery/announcement.h"

#include <gtest/gtest.h>

#include "common/crypto/hkdf.h"
#include "common/crypto/sha256.h"
#include "tests/unit/controlplane/discovery/announcements.h"

namespace qanat::controlplane {
namespace {

AnnouncementKeys keys(uint8_t network = 1, std::string_view topic = "t") {
    return AnnouncementKeys(discovery_key(network), topic);
}

constexpr AnnouncementKeys::Nonce kNonce{1, 2, 3};

AnnouncementError error_of(const Result<Announcement, AnnouncementError>& opened) {
    EXPECT_FALSE(opened);
    return opened ? AnnouncementError{} : opened.error();
}

TEST(Announcement, ComesBackAsItWas) {
    Announcement full = announcement_of(1);
    full.relay = true;
    full.leaving = true;
    full.load = kLoadFull;
    full.valid_for_s = kValiditySecondsMax;
    full.version = std::string(kAnnouncedTextSizeMax, '~');
    full.region = std::string(kRegionSizeMax, 'z');
    full.addresses.clear();
    const std::string name(255, 'n');
    for (uint16_t i = 1; i <= kAnnouncedAddressesMax; ++i)
        full.addresses.push_back({*wire::Target::from_name(name, i), NameFamily::v6});
    for (uint32_t i = 0; i < kAnnouncedRelaysMax; ++i)
        full.relays.push_back({node_key(i), {*wire::Target::from_name(name, 1), NameFamily::v4}});
    Announcement least;
    least.valid_for_s = 1;
    for (const Announcement& a : {announcement_of(1), full, least}) {
        const std::string sealed = keys().seal(a, kNonce);
        EXPECT_LE(sealed.size(), AnnouncementKeys::kSealedSizeMax);
        const auto opened = keys().open(sealed, keys().key_of(a.id));
        ASSERT_TRUE(opened);
        EXPECT_EQ(*opened, a);
        EXPECT_EQ(keys().open(sealed).value(), a);
    }
}

// The names and the box of docs/PROTOCOL.md, section 9, made from its words by another implementation, in Python.
TEST(Announcement, NamesAreThoseOfTheProtocol) {
    const AnnouncementKeys k = keys();
    EXPECT_EQ(k.channel(), "qanat:74c2b81c2ab75eb96deb6bf7bc3ea20e");
    EXPECT_EQ(k.key_of(node_key(1)), "qanat:74c2b81c2ab75eb96deb6bf7bc3ea20e:bed8c652ed889b53ad38c72ecedd40d4");
    EXPECT_EQ(k.key_pattern(), k.channel() + ":" + std::string(32, '?'));
    const std::string sealed = k.seal(announcement_of(1), kNonce);
    crypto::Sha256Digest digest = crypto::sha256({as_bytes(sealed)});
    std::string hex;
    for (const uint8_t byte : digest) {
        hex += "0123456789abcdef"[byte >> 4];
        hex += "0123456789abcdef"[byte & 15];
    }
    EXPECT_EQ(hex, "f17c91c667c57c4a010e8d088d1e622d43964ceae92b1ac07d75f45a91ff5bf2");
}

TEST(Announcement, SizesSayLittle) {
    Announcement one = announcement_of(1);
    Announcement other = announcement_of(2);
    other.addresses.push_back(address_of("exit.example:4000"));
    other.region.clear();
    EXPECT_EQ(keys().seal(one, kNonce).size(), keys().seal(other, kNonce).size());
    EXPECT_EQ(keys().seal(one, kNonce).size(),
              AnnouncementKeys::kHeaderSize + AnnouncementKeys::kPaddedTo + crypto::kXChaChaTagSize);
}

TEST(Announcement, EveryBitCounts) {
    const AnnouncementKeys k = keys();
    const std::string sealed = k.seal(announcement_of(1), kNonce);
    const std::string key = k.key_of(node_key(1));
    for (size_t i = 0; i < sealed.size() * 8; ++i) {
        std::string damaged = sealed;
        damaged[i / 8] = static_cast<char>(static_cast<uint8_t>(damaged[i / 8]) ^ 1U << i % 8);
        ASSERT_FALSE(k.open(damaged, key)) << i;
        ASSERT_FALSE(k.open(damaged)) << i;
    }
}

TEST(Announcement, EverySizeButTheRightOneIsRefused) {
    const AnnouncementKeys k = keys();
    const std::string sealed = k.seal(announcement_of(1), kNonce);
    for (size_t size = 0; size < sealed.size(); ++size)
        ASSERT_EQ(error_of(k.open(sealed.substr(0, size))), AnnouncementError::malformed) << size;
    EXPECT_EQ(error_of(k.open(sealed + "x")), AnnouncementError::malformed);
    EXPECT_EQ(error_of(k.open(sealed + std::string(AnnouncementKeys::kPaddedTo, 'x'))), AnnouncementError::forged);
    std::string largest(AnnouncementKeys::kSealedSizeMax, '\1');
    EXPECT_EQ(error_of(k.open(largest)), AnnouncementError::forged);
    largest += std::string(AnnouncementKeys::kPaddedTo, '\1');
    EXPECT_EQ(error_of(k.open(largest)), AnnouncementError::malformed);
}

TEST(Announcement, OthersCannotOpenIt) {
    const std::string sealed = keys().seal(announcement_of(1), kNonce);
    EXPECT_EQ(error_of(keys(2).open(sealed)), AnnouncementError::forged);
    EXPECT_EQ(error_of(keys(1, "u").open(sealed)), AnnouncementError::forged);
    EXPECT_NE(keys(2).channel(), keys().channel());
    EXPECT_NE(keys(1, "u").channel(), keys().channel());
    EXPECT_NE(keys(1, "u").key_of(node_key(1)).substr(38), keys().key_of(node_key(1)).substr(38));
}

TEST(Announcement, CannotBeMoved) {
    const AnnouncementKeys k = keys();
    std::string sealed = k.seal(announcement_of(1), kNonce);
    const std::string other_key = k.key_of(node_key(2));
    EXPECT_EQ(error_of(k.open(sealed, other_key)), AnnouncementError::moved);
    EXPECT_EQ(error_of(k.open(sealed, "")), AnnouncementError::moved);
    // With the name inside changed as well, the seal breaks.
    const std::string other = k.seal(announcement_of(2), kNonce);
    sealed.replace(1, 16, other, 1, 16);
    EXPECT_EQ(error_of(k.open(sealed, other_key)), AnnouncementError::forged);
}

TEST(Announcement, KeysAreRecognised) {
    const AnnouncementKeys k = keys();
    const std::string key = k.key_of(node_key(1));
    EXPECT_TRUE(k.is_key(key));
    EXPECT_FALSE(k.is_key(""));
    EXPECT_FALSE(k.is_key(key.substr(0, key.size() - 1)));
    EXPECT_FALSE(k.is_key(key + "0"));
    EXPECT_FALSE(k.is_key(k.channel()));
    EXPECT_FALSE(k.is_key(keys(2).key_of(node_key(1))));
    for (const char wrong : {'g', 'A', '/', ':', '\0'}) EXPECT_FALSE(k.is_key(key.substr(0, key.size() - 1) + wrong));
}

// What a member of the network may seal, but no node of ours does.
class HostileMember : public ::testing::Test {
protected:
    // Seals any content, as seal() would.
    static std::string sealed(std::string content, size_t stated_size, size_t padded) {
        const AnnouncementKeys k = keys();
        std::string value = k.seal(announcement_of(1), kNonce).substr(0, AnnouncementKeys::kHeaderSize);
        std::vector<uint8_t> plain(padded);
        plain[0] = static_cast<uint8_t>(stated_size >> 8);
        plain[1] = static_cast<uint8_t>(stated_size);
        std::copy(content.begin(), content.end(), plain.begin() + 2);
        Secret<32> seal_key;
        crypto::expand_label(discovery_key().bytes(), "seal", as_bytes("t"), seal_key.writable());
        std::vector<uint8_t> box(padded + crypto::kXChaChaTagSize);
        crypto::xchacha20_seal(seal_key.bytes(), kNonce, as_bytes(k.key_of(node_key(1))), plain, box);
        return value + std::string(as_text(box));
    }
    static std::string sealed(const std::string& content) { return sealed(content, content.size(), 512); }

    // The content of announcement_of(1), by opening what seal() made.
    static std::string content() {
        const std::string value = keys().seal(announcement_of(1), kNonce);
        Secret<32> seal_key;
        crypto::expand_label(discovery_key().bytes(), "seal", as_bytes("t"), seal_key.writable());
        std::vector<uint8_t> plain(512);
        EXPECT_TRUE(crypto::xchacha20_open(seal_key.bytes(), kNonce, as_bytes(keys().key_of(node_key(1))),
                                           as_bytes(value).subspan(AnnouncementKeys::kHeaderSize), plain));
        const size_t size = static_cast<size_t>(plain[0] << 8 | plain[1]);
        return std::string(as_text(Bytes(plain).subspan(2, size)));
    }
};

TEST_F(HostileMember, AnyContentIsRefusedOrUnderstood) {
    const std::string good = content();
    ASSERT_EQ(keys().open(sealed(good)).value(), announcement_of(1));
    for (size_t size = 0; size < good.size(); ++size)
        ASSERT_EQ(error_of(keys().open(sealed(good.substr(0, size)))), AnnouncementError::malformed) << size;
    for (size_t i = 0; i < good.size(); ++i)
        for (const int value : {0, 1, 3, 32, 33, 127, 128, 255}) {
            std::string changed = good;
            changed[i] = static_cast<char>(value);
            const auto opened = keys().open(sealed(changed));
            if (!opened) continue;
            EXPECT_LE(opened->load, kLoadFull);
            EXPECT_LE(opened->addresses.size(), kAnnouncedAddressesMax);
            EXPECT_EQ(opened->id, node_key(1));
        }
}

TEST_F(HostileMember, BoundsOfTheFields) {
    const std::string good = content();
    const auto with = [&](size_t at, std::string_view bytes) {
        std::string changed = good;
        changed.replace(at, bytes.size(), bytes);
        return keys().open(sealed(changed));
    };
    constexpr size_t kValidity = 40;
    constexpr size_t kLoad = 45;
    EXPECT_FALSE(with(kValidity, std::string_view("\0\0\0\0", 4)));
    EXPECT_EQ(with(kValidity, std::string_view("\0\0\0\1", 4))->valid_for_s, 1U);
    EXPECT_EQ(with(kValidity, std::string_view("\0\0\x0e\x10", 4))->valid_for_s, 3600U);
    EXPECT_FALSE(with(kValidity, std::string_view("\0\0\x0e\x11", 4)));
    EXPECT_EQ(with(kLoad, "\x27\x10")->load, 10000U);
    EXPECT_FALSE(with(kLoad, "\x27\x11"));
    EXPECT_EQ(error_of(with(0, "another")), AnnouncementError::moved);  // another id under this name
}

TEST_F(HostileMember, Extensions) {
    const std::string good = content();
    EXPECT_TRUE(keys().open(sealed(good + std::string("\x00\x07\x00\x02hi", 6))));
    EXPECT_FALSE(keys().open(sealed(good + std::string("\x80\x07\x00\x02hi", 6))));
    EXPECT_FALSE(keys().open(sealed(good + std::string("\x00\x07\x00\x03hi", 6))));
    EXPECT_FALSE(keys().open(sealed(good + "x")));
}

TEST_F(HostileMember, Padding) {
    const std::string good = content();
    EXPECT_FALSE(keys().open(sealed(good + std::string(100, '\0') + "x", good.size(), 512)));
    EXPECT_TRUE(keys().open(sealed(good, good.size(), 16 * 512)));
    EXPECT_FALSE(keys().open(sealed(good, 511, 512)));
    EXPECT_FALSE(keys().open(sealed(good, 65535, 16 * 512)));
    EXPECT_FALSE(keys().open(sealed("", 0, 512)));
}

TEST(WithinBounds, CutsWhatDoesNotFit) {
    EXPECT_EQ(within_bounds(announcement_of(1)), announcement_of(1));
    Announcement wild = announcement_of(1);
    wild.load = 65535;
    wild.version = "a b";
    wild.region = "EU";
    wild.addresses = {address_of("0.0.0.0:1"), address_of("1.2.3.4:0"), address_of("[::]:1")};
    for (uint16_t i = 1; i < 30; ++i) wild.addresses.push_back({*wire::Target::from_name("a", i), NameFamily::any});
    wild.relays.resize(20, {node_key(2), address_of("a:1")});
    const Announcement tame = within_bounds(wild);
    EXPECT_EQ(tame.load, kLoadFull);
    EXPECT_EQ(tame.version + tame.region, "");
    ASSERT_EQ(tame.addresses.size(), kAnnouncedAddressesMax);
    EXPECT_EQ(tame.addresses[0], address_of("a:1"));
    EXPECT_EQ(tame.relays.size(), kAnnouncedRelaysMax);
    EXPECT_TRUE(keys().open(keys().seal(tame, kNonce)));
}

TEST(AddressesToAnnounce, ConfiguredOnesOrThoseOfTheListeners) {
    const auto endpoint = [](const char* text) { return *wire::Endpoint::parse(text); };
    const std::vector<wire::IpAddress> own{*wire::IpAddress::parse("203.0.113.5"),
                                           *wire::IpAddress::parse("2001:db8::5")};
    using Addresses = std::vector<NodeAddress>;
    EXPECT_EQ(addresses_to_announce({address_of("exit.example:1")}, {endpoint("0.0.0.0:4000")}, own),
              Addresses{address_of("exit.example:1")});
    EXPECT_EQ(addresses_to_announce({}, {endpoint("127.0.0.1:4000"), endpoint("[2001:db8::1]:5")}, own),
              (Addresses{address_of("127.0.0.1:4000"), address_of("[2001:db8::1]:5")}));
    EXPECT_EQ(addresses_to_announce({}, {endpoint("0.0.0.0:4000")}, own), Addresses{address_of("203.0.113.5:4000")});
    EXPECT_EQ(addresses_to_announce({}, {endpoint("[::]:4000"), endpoint("203.0.113.5:4000")}, own),
              (Addresses{address_of("203.0.113.5:4000"), address_of("[2001:db8::5]:4000")}));
    EXPECT_EQ(addresses_to_announce({}, {endpoint("0.0.0.0:4000")}, {}), Addresses{});
}

}  // namespace
}  // namespace qanat::controlplane
