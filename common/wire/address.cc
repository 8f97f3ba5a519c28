#include "common/wire/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "common/base/assert.h"

namespace qanat::wire {

namespace {

constexpr uint8_t kTypeV4 = 1;
constexpr uint8_t kTypeName = 3;
constexpr uint8_t kTypeV6 = 4;

constexpr std::array<uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool is_mapped(std::span<const uint8_t, 16> bytes) {
    return std::ranges::equal(bytes.first<kMappedPrefix.size()>(), kMappedPrefix);
}

// The bytes as they are written, an IPv4-mapped address still as IPv6: a prefix length counts in what was written.
std::optional<IpAddress> parse_as_written(std::string_view text) {
    std::array<char, INET6_ADDRSTRLEN> terminated{};
    if (text.size() >= terminated.size() || text.find('\0') != std::string_view::npos) return std::nullopt;
    std::ranges::copy(text, terminated.begin());
    IpAddress ip;
    if (::inet_pton(AF_INET, terminated.data(), ip.bytes.data()) == 1) return ip;
    ip.family = IpAddress::Family::v6;
    if (::inet_pton(AF_INET6, terminated.data(), ip.bytes.data()) == 1) return ip;
    return std::nullopt;
}

template <class Number>
std::optional<Number> parse_decimal(std::string_view text) {
    Number value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

bool is_name_byte(uint8_t byte) {
    return byte > 0x20 && byte != 0x7f;
}

void append_decimal(std::string& text, unsigned value) {
    text.append(std::to_string(value));
}

void append_port(std::string& text, uint16_t port) {
    text.push_back(':');
    append_decimal(text, port);
}

std::string format_v4(const IpAddress& ip) {
    std::string text;
    for (size_t i = 0; i < 4; ++i) {
        if (i > 0) text.push_back('.');
        append_decimal(text, ip.bytes[i]);
    }
    return text;
}

// RFC 5952, section 4: lower case, no leading zeros, the longest run of at least two zero groups (the first of equals)
// as "::". inet_ntop differs: it writes ::/96 addresses with a dotted end.
std::string format_v6(const IpAddress& ip) {
    const auto group = [&](size_t i) { return static_cast<unsigned>(ip.bytes[2 * i] << 8 | ip.bytes[2 * i + 1]); };
    size_t run_start = 8;
    size_t run_size = 1;
    for (size_t i = 0; i < 8;) {
        size_t end = i;
        while (end < 8 && group(end) == 0) ++end;
        if (end - i > run_size) {
            run_start = i;
            run_size = end - i;
        }
        i = end + 1;
    }
    std::string text;
    for (size_t i = 0; i < 8;) {
        if (i == run_start) {
            text.append("::");
            i += run_size;
            continue;
        }
        if (!text.empty() && text.back() != ':') text.push_back(':');
        std::array<char, 4> digits;
        const auto written = std::to_chars(digits.data(), digits.data() + digits.size(), group(i), 16);
        text.append(digits.data(), written.ptr);
        ++i;
    }
    return text;
}

// Splits "host:port" and "[v6]:port" at the last colon. A host with a colon in it must be in brackets.
struct HostPort {
    std::string_view host;
    uint16_t port;
    bool bracketed;
};
std::optional<HostPort> split_host_port(std::string_view text) {
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const auto port = parse_decimal<uint16_t>(text.substr(colon + 1));
    std::string_view host = text.substr(0, colon);
    if (!port || host.empty()) return std::nullopt;
    const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string_view::npos) {
        return std::nullopt;
    }
    return HostPort{host, *port, bracketed};
}

std::optional<Endpoint> endpoint_from(const HostPort& parts) {
    const auto written = parse_as_written(parts.host);
    if (!written || parts.bracketed == written->is_v4()) return std::nullopt;
    return Endpoint{written->is_v4() ? *written : IpAddress::from_v6(written->bytes), parts.port};
}

}  // namespace

IpAddress IpAddress::from_v4(std::span<const uint8_t, 4> bytes) {
    return v4(bytes[0], bytes[1], bytes[2], bytes[3]);
}

IpAddress IpAddress::from_v6(std::span<const uint8_t, 16> bytes) {
    if (is_mapped(bytes)) return from_v4(bytes.subspan<12, 4>());
    IpAddress ip;
    ip.family = Family::v6;
    std::ranges::copy(bytes, ip.bytes.begin());
    return ip;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
    const auto written = parse_as_written(text);
    if (!written || written->is_v4()) return written;
    return from_v6(written->bytes);
}

std::string IpAddress::format() const {
    return is_v4() ? format_v4(*this) : format_v6(*this);
}

bool IpAddress::is_loopback() const {
    if (is_v4()) return bytes[0] == 127;
    decltype(bytes) loopback{};
    loopback.back() = 1;
    return bytes == loopback;
}

bool IpAddress::is_wildcard() const {
    return bytes == decltype(bytes){};
}

std::array<uint8_t, 16> IpAddress::mapped() const {
    if (!is_v4()) return bytes;
    std::array<uint8_t, 16> out;
    std::ranges::copy(kMappedPrefix, out.begin());
    std::copy_n(bytes.begin(), 4, out.begin() + 12);
    return out;
}

std::optional<Endpoint> Endpoint::from_sockaddr(const sockaddr_storage& address) {
    // Copies, because the storage was not necessarily made as the type it holds.
    if (address.ss_family == AF_INET) {
        sockaddr_in in;
        std::memcpy(&in, &address, sizeof(in));
        Endpoint endpoint{{}, ntohs(in.sin_port)};
        std::memcpy(endpoint.ip.bytes.data(), &in.sin_addr, 4);
        return endpoint;
    }
    if (address.ss_family == AF_INET6) {
        sockaddr_in6 in6;
        std::memcpy(&in6, &address, sizeof(in6));
        return Endpoint{IpAddress::from_v6(in6.sin6_addr.s6_addr), ntohs(in6.sin6_port)};
    }
    return std::nullopt;
}

socklen_t Endpoint::to_sockaddr(sockaddr_storage& out) const {
    std::memset(&out, 0, sizeof(out));
    if (ip.is_v4()) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = htons(port);
        std::memcpy(&in.sin_addr, ip.bytes.data(), 4);
        std::memcpy(&out, &in, sizeof(in));
        return sizeof(in);
    }
    sockaddr_in6 in6{};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    std::memcpy(&in6.sin6_addr, ip.bytes.data(), 16);
    std::memcpy(&out, &in6, sizeof(in6));
    return sizeof(in6);
}

std::optional<Endpoint> Endpoint::parse(std::string_view text) {
    const auto parts = split_host_port(text);
    return parts ? endpoint_from(*parts) : std::nullopt;
}

std::string Endpoint::format() const {
    std::string text;
    if (!ip.is_v4()) text.push_back('[');
    text.append(ip.format());
    if (!ip.is_v4()) text.push_back(']');
    append_port(text, port);
    return text;
}

Target::Target(const Endpoint& endpoint)
    : port_(endpoint.port),
      kind_(endpoint.ip.is_v4() ? Kind::v4 : Kind::v6),
      size_(static_cast<uint8_t>(endpoint.ip.size())) {
    std::ranges::copy(endpoint.ip.significant(), bytes_.begin());
}

std::optional<Target> Target::from_name(std::string_view name, uint16_t port) {
    if (name.empty() || name.size() > kNameSizeMax) return std::nullopt;
    if (!std::ranges::all_of(as_bytes(name), is_name_byte)) return std::nullopt;
    if (const auto ip = IpAddress::parse(name)) return Target(Endpoint{*ip, port});
    Target target;
    target.port_ = port;
    target.kind_ = Kind::name;
    target.size_ = static_cast<uint8_t>(name.size());
    std::ranges::copy(as_bytes(name), target.bytes_.begin());
    return target;
}

std::optional<Target> Target::parse(std::string_view text) {
    const auto parts = split_host_port(text);
    if (!parts) return std::nullopt;
    if (const auto endpoint = endpoint_from(*parts)) return Target(*endpoint);
    return parts->bracketed ? std::nullopt : from_name(parts->host, parts->port);
}

std::string_view Target::name() const {
    QANAT_ASSERT(is_name());
    return as_text(Bytes(bytes_).first(size_));
}

Endpoint Target::endpoint() const {
    QANAT_ASSERT(!is_name());
    const std::span<const uint8_t, kNameSizeMax> bytes(bytes_);
    return {kind_ == Kind::v4 ? IpAddress::from_v4(bytes.first<4>()) : IpAddress::from_v6(bytes.first<16>()), port_};
}

size_t Target::encoded_size() const {
    return 1 + (is_name() ? 1u : 0u) + size_ + 2u;
}

void Target::encode(ByteWriter& out) const {
    switch (kind_) {
        case Kind::v4:
            out.u8(kTypeV4);
            break;
        case Kind::v6:
            out.u8(kTypeV6);
            break;
        case Kind::name:
            out.u8(kTypeName);
            out.u8(size_);
            break;
    }
    out.bytes(Bytes(bytes_).first(size_));
    out.u16(port_);
}

Result<Target, AddressError> Target::decode(ByteReader& in) {
    const uint8_t type = in.u8();
    if (!in.ok()) return fail_with(AddressError::incomplete);
    if (type != kTypeV4 && type != kTypeName && type != kTypeV6) return fail_with(AddressError::unknown_type);

    size_t size = type == kTypeV4 ? 4 : 16;
    if (type == kTypeName) {
        size = in.u8();
        if (!in.ok()) return fail_with(AddressError::incomplete);
        if (size == 0) return fail_with(AddressError::invalid);
    }
    const Bytes bytes = in.bytes(size);
    const uint16_t port = in.u16();
    if (!in.ok()) return fail_with(AddressError::incomplete);

    if (type == kTypeV4) return Target(Endpoint{IpAddress::from_v4(bytes.first<4>()), port});
    if (type == kTypeV6) return Target(Endpoint{IpAddress::from_v6(bytes.first<16>()), port});
    const auto target = from_name(as_text(bytes), port);
    if (!target) return fail_with(AddressError::invalid);
    return *target;
}

std::string Target::format() const {
    if (!is_name()) return endpoint().format();
    constexpr std::string_view kHexDigits = "0123456789abcdef";
    std::string text;
    for (const uint8_t byte : as_bytes(name())) {
        if (byte < 0x7f && byte != '\\') {
            text.push_back(static_cast<char>(byte));
        } else {
            text.append("\\x");
            text.push_back(kHexDigits[byte >> 4]);
            text.push_back(kHexDigits[byte & 0x0f]);
        }
    }
    append_port(text, port_);
    return text;
}

bool operator==(const Target& a, const Target& b) {
    return a.kind_ == b.kind_ && a.port_ == b.port_ &&
           std::ranges::equal(Bytes(a.bytes_).first(a.size_), Bytes(b.bytes_).first(b.size_));
}

void encode_endpoint(ByteWriter& out, const Endpoint& endpoint) {
    Target(endpoint).encode(out);
}

bool Cidr::contains(const IpAddress& ip) const {
    if (ip.family != base.family) return false;
    const size_t whole = bits / 8;
    if (!std::equal(base.bytes.begin(), base.bytes.begin() + static_cast<ptrdiff_t>(whole), ip.bytes.begin())) {
        return false;
    }
    const unsigned rest = bits % 8;
    return rest == 0 || (base.bytes[whole] ^ ip.bytes[whole]) >> (8 - rest) == 0;
}

std::optional<Cidr> Cidr::parse(std::string_view text) {
    const size_t slash = text.find('/');
    const auto written = parse_as_written(text.substr(0, slash));
    if (!written) return std::nullopt;
    IpAddress base = *written;
    auto bits = static_cast<uint8_t>(base.size() * 8);
    if (slash != std::string_view::npos) {
        const auto given = parse_decimal<uint8_t>(text.substr(slash + 1));
        if (!given || *given > bits) return std::nullopt;
        bits = *given;
    }
    for (size_t i = 0; i < base.bytes.size(); ++i) {
        if (8 * i >= bits) {
            base.bytes[i] = 0;
        } else if (8 * (i + 1) > bits) {
            base.bytes[i] &= static_cast<uint8_t>(0xff << (8 * (i + 1) - bits));
        }
    }
    if (!base.is_v4() && bits >= 96 && is_mapped(base.bytes)) {
        return Cidr{IpAddress::from_v6(base.bytes), static_cast<uint8_t>(bits - 96)};
    }
    return Cidr{base, bits};
}

std::string Cidr::format() const {
    std::string text = base.format();
    text.push_back('/');
    append_decimal(text, bits);
    return text;
}

}  // namespace qanat::wire
