// Addresses as values: IpAddress, Endpoint, Target (an endpoint or a name and a port) and Cidr. Fixed sizes, no heap,
// free to copy into rings. One codec serves SOCKS5 and the tunnel, which encode addresses alike (docs/PROTOCOL.md,
// section 4.1).
//
// IPv4-mapped IPv6 addresses (::ffff:a.b.c.d) never appear: everything that makes an IpAddress turns them into IPv4, so
// that a policy about 127.0.0.0/8 cannot be got round by writing the address in another way.
#pragma once

#include <sys/socket.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/result.h"

namespace qanat::wire {

struct IpAddress {
    enum class Family : uint8_t { v4 = 4, v6 = 6 };

    Family family = Family::v4;
    std::array<uint8_t, 16> bytes{};  // IPv4: the first four, the rest zero

    [[nodiscard]] static constexpr IpAddress v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
        return {Family::v4, {a, b, c, d}};
    }
    [[nodiscard]] static IpAddress from_v4(std::span<const uint8_t, 4> bytes);
    [[nodiscard]] static IpAddress from_v6(std::span<const uint8_t, 16> bytes);  // IPv4 if the bytes are IPv4-mapped

    // Strict text: four decimal parts, or IPv6 as in RFC 4291; no brackets, no zone, no leading zeros in IPv4.
    [[nodiscard]] static std::optional<IpAddress> parse(std::string_view text);
    [[nodiscard]] std::string format() const;  // IPv6 as in RFC 5952

    [[nodiscard]] bool is_v4() const { return family == Family::v4; }
    [[nodiscard]] size_t size() const { return is_v4() ? 4 : 16; }
    [[nodiscard]] Bytes significant() const { return Bytes(bytes).first(size()); }
    [[nodiscard]] bool is_loopback() const;                // 127.0.0.0/8, ::1: never leaves this host
    [[nodiscard]] bool is_wildcard() const;                // 0.0.0.0, ::
    [[nodiscard]] std::array<uint8_t, 16> mapped() const;  // 16 bytes whatever the family: IPv4 as ::ffff:a.b.c.d

    friend bool operator==(const IpAddress&, const IpAddress&) = default;
    friend auto operator<=>(const IpAddress&, const IpAddress&) = default;
};

struct Endpoint {
    IpAddress ip;
    uint16_t port = 0;  // host byte order

    // nullopt for a family other than AF_INET and AF_INET6. Scope ids and flow labels are dropped.
    [[nodiscard]] static std::optional<Endpoint> from_sockaddr(const sockaddr_storage& address);
    // Fills `out` and returns the size of the address in it.
    socklen_t to_sockaddr(sockaddr_storage& out) const;

    // "1.2.3.4:80", "[::1]:80". The port is decimal, 0 … 65535, and must be there.
    [[nodiscard]] static std::optional<Endpoint> parse(std::string_view text);
    [[nodiscard]] std::string format() const;

    friend bool operator==(const Endpoint&, const Endpoint&) = default;
    friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

enum class AddressError : uint8_t {
    incomplete,    // the input ended too soon: try again with more bytes
    unknown_type,  // neither 1, 3 nor 4
    invalid,       // an empty name, or one with spaces or control bytes
};

inline constexpr size_t kNameSizeMax = 255;
inline constexpr size_t kAddressSizeMax = 1 + 1 + kNameSizeMax + 2;  // encoded

class Target {
public:
    Target() = default;  // 0.0.0.0:0
    explicit Target(const Endpoint& endpoint);

    // nullopt unless the name is 1 … 255 bytes without spaces and control bytes. The text of an IP address becomes that
    // address, so that what a policy sees is what would be dialled.
    [[nodiscard]] static std::optional<Target> from_name(std::string_view name, uint16_t port);

    // "host:port" with any host; IPv6 in brackets.
    [[nodiscard]] static std::optional<Target> parse(std::string_view text);

    [[nodiscard]] bool is_name() const { return kind_ == Kind::name; }
    [[nodiscard]] uint16_t port() const { return port_; }
    [[nodiscard]] std::string_view name() const;  // only if is_name(); valid as long as this object
    [[nodiscard]] Endpoint endpoint() const;      // only if !is_name()

    // type ‖ bytes ‖ u16 port; at most kAddressSizeMax bytes.
    [[nodiscard]] size_t encoded_size() const;
    void encode(ByteWriter& out) const;

    // Reads one address. After `incomplete` the reader is not ok(); start again from the first byte.
    [[nodiscard]] static Result<Target, AddressError> decode(ByteReader& in);

    // "name:443", "1.2.3.4:80", "[::1]:80"; bytes that are not printable ASCII come as \xNN. For logs.
    [[nodiscard]] std::string format() const;

    friend bool operator==(const Target& a, const Target& b);

private:
    enum class Kind : uint8_t { v4, v6, name };

    uint16_t port_ = 0;
    Kind kind_ = Kind::v4;
    uint8_t size_ = 4;                           // of the bytes that count
    std::array<uint8_t, kNameSizeMax> bytes_{};  // the address or the name
};
static_assert(sizeof(Target) <= 272);

// Writes an endpoint in the same encoding.
void encode_endpoint(ByteWriter& out, const Endpoint& endpoint);

// A block of addresses. An IPv4 block contains IPv4 addresses only, and an IPv6 block IPv6 ones.
struct Cidr {
    IpAddress base;    // the bits behind the first `bits` are zero
    uint8_t bits = 0;  // 0 … 32 or 0 … 128

    [[nodiscard]] bool contains(const IpAddress& ip) const;

    // "10.0.0.0/8", "fc00::/7"; a bare address is a block of one. Bits behind the prefix are dropped.
    [[nodiscard]] static std::optional<Cidr> parse(std::string_view text);
    [[nodiscard]] std::string format() const;

    friend bool operator==(const Cidr&, const Cidr&) = default;
};

}  // namespace qanat::wire
