#include "common/wire/address.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <vector>

#include "tests/vectors/vector_file.h"

namespace qanat::wire {
namespace {

using test::from_hex;

IpAddress ip(std::string_view text) {
    const auto parsed = IpAddress::parse(text);
    EXPECT_TRUE(parsed) << text;
    return parsed.value_or(IpAddress{});
}

std::vector<uint8_t> encoded(const Target& target) {
    std::vector<uint8_t> out(kAddressSizeMax);
    ByteWriter writer(out);
    target.encode(writer);
    EXPECT_TRUE(writer.ok());
    EXPECT_EQ(writer.size(), target.encoded_size());
    out.resize(writer.size());
    return out;
}

Result<Target, AddressError> decoded(Bytes bytes) {
    ByteReader reader(bytes);
    return Target::decode(reader);
}

// Written one way, formatted the one right way (RFC 5952).
TEST(IpAddress, ParseAndFormat) {
    const std::pair<const char*, const char*> cases[] = {
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"10.1.2.3", "10.1.2.3"},
        {"::", "::"},
        {"::1", "::1"},
        {"1::", "1::"},
        {"2001:DB8::1", "2001:db8::1"},
        {"2001:0db8:0000:0000:0000:0000:0002:0001", "2001:db8::2:1"},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
        {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"0:0:1:0:0:0:0:0", "0:0:1::"},
        {"0:1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7"},
        {"1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"},
        {"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"},
        {"0:0:3:4:5:6:7:8", "::3:4:5:6:7:8"},
        {"fe80::1:2:3:4", "fe80::1:2:3:4"},
        {"::1.2.3.4", "::102:304"},
        {"64:ff9b::1.2.3.4", "64:ff9b::102:304"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"::ffff:1.2.3.4", "1.2.3.4"},
        {"::ffff:7f00:1", "127.0.0.1"},
        {"0:0:0:0:0:FFFF:7F00:0001", "127.0.0.1"},
        {"::fffe:1.2.3.4", "::fffe:102:304"},
    };
    for (const auto& [text, expected] : cases) {
        EXPECT_EQ(ip(text).format(), expected) << text;
        EXPECT_EQ(ip(expected), ip(text));
    }
}

TEST(IpAddress, Rejects) {
    for (const std::string_view text : {"",
                                        "1",
                                        "1.2.3",
                                        "1.2.3.4.5",
                                        "256.1.1.1",
                                        "01.2.3.4",
                                        "1.2.3.4 ",
                                        " 1.2.3.4",
                                        "0x7f.0.0.1",
                                        "1.2.3.-4",
                                        ":",
                                        ":::",
                                        "1::2::3",
                                        "12345::",
                                        "[::1]",
                                        "fe80::1%eth0",
                                        "::g",
                                        "1:2:3:4:5:6:7",
                                        "1:2:3:4:5:6:7:8:9",
                                        "localhost"}) {
        EXPECT_FALSE(IpAddress::parse(text)) << text;
    }
    EXPECT_FALSE(IpAddress::parse(std::string_view("1.2.3.4\0", 8)));
    EXPECT_FALSE(IpAddress::parse(std::string(1000, '1')));
}

TEST(IpAddress, Loopback) {
    for (const char* text : {"127.0.0.0", "127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"})
        EXPECT_TRUE(IpAddress::parse(text)->is_loopback()) << text;
    for (const char* text :
         {"126.255.255.255", "128.0.0.0", "0.0.0.0", "::", "::2", "1::1", "::7f00:1", "::ffff:10.0.0.1"})
        EXPECT_FALSE(IpAddress::parse(text)->is_loopback()) << text;
}

TEST(IpAddress, Wildcard) {
    for (const char* text : {"0.0.0.0", "::", "::ffff:0.0.0.0"})
        EXPECT_TRUE(IpAddress::parse(text)->is_wildcard()) << text;
    for (const char* text : {"0.0.0.1", "1.0.0.0", "::1", "8000::"})
        EXPECT_FALSE(IpAddress::parse(text)->is_wildcard()) << text;
}

TEST(IpAddress, MappedForm) {
    EXPECT_TRUE(std::ranges::equal(ip("1.2.3.4").mapped(), from_hex("00000000000000000000ffff01020304")));
    EXPECT_TRUE(std::ranges::equal(ip("2001:db8::1").mapped(), from_hex("20010db8000000000000000000000001")));
    EXPECT_EQ(IpAddress::from_v6(ip("1.2.3.4").mapped()), ip("1.2.3.4"));
    EXPECT_EQ(IpAddress::v4(1, 2, 3, 4), ip("1.2.3.4"));
}

TEST(Endpoint, ParseAndFormat) {
    EXPECT_EQ(Endpoint::parse("1.2.3.4:80")->format(), "1.2.3.4:80");
    EXPECT_EQ(Endpoint::parse("[::1]:65535")->format(), "[::1]:65535");
    EXPECT_EQ(Endpoint::parse("[::ffff:1.2.3.4]:0")->format(), "1.2.3.4:0");
    for (const std::string_view text :
         {"", ":", ":80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:+1", "1.2.3.4:80 ", "::1:80",
          "[::1]", "[::1]80", "[1.2.3.4]:80", "[]:80", "[::1:80", "localhost:80", "[::1]]:80", "1.2.3.4:0x50"}) {
        EXPECT_FALSE(Endpoint::parse(text)) << text;
    }
}

TEST(Endpoint, Sockaddr) {
    for (const std::string_view text : {"1.2.3.4:80", "[2001:db8::1]:443", "0.0.0.0:0", "[::]:65535"}) {
        const Endpoint endpoint = *Endpoint::parse(text);
        sockaddr_storage storage;
        const socklen_t size = endpoint.to_sockaddr(storage);
        EXPECT_EQ(size, endpoint.ip.is_v4() ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
        EXPECT_EQ(Endpoint::from_sockaddr(storage), endpoint);
    }
    // What a dual-stack listener reports for an IPv4 client.
    sockaddr_storage storage;
    (void)Endpoint::parse("[::1]:7")->to_sockaddr(storage);
    const auto mapped = ip("10.0.0.1").mapped();
    std::memcpy(&reinterpret_cast<sockaddr_in6*>(&storage)->sin6_addr, mapped.data(), 16);
    EXPECT_EQ(Endpoint::from_sockaddr(storage)->format(), "10.0.0.1:7");
    storage.ss_family = AF_UNIX;
    EXPECT_FALSE(Endpoint::from_sockaddr(storage));
}

TEST(Target, Encoding) {
    EXPECT_EQ(encoded(Target()), from_hex("01 00000000 0000"));
    EXPECT_EQ(encoded(Target(*Endpoint::parse("1.2.3.4:80"))), from_hex("01 01020304 0050"));
    EXPECT_EQ(encoded(Target(*Endpoint::parse("[2001:db8::1]:443"))),
              from_hex("04 20010db8000000000000000000000001 01bb"));
    EXPECT_EQ(encoded(*Target::from_name("a.bc", 0x1234)), from_hex("03 04 612e6263 1234"));
    EXPECT_EQ(encoded(*Target::from_name(std::string(255, 'x'), 1)).size(), kAddressSizeMax);
}

TEST(Target, DecodesWhatItEncodedAndNeedsEveryByte) {
    for (const Target& target : {Target(*Endpoint::parse("1.2.3.4:80")), Target(*Endpoint::parse("[2001:db8::1]:443")),
                                 *Target::from_name("example.org", 443), *Target::from_name("x", 0),
                                 *Target::from_name(std::string(255, 'x'), 65535)}) {
        auto bytes = encoded(target);
        for (size_t size = 0; size < bytes.size(); ++size) {
            ASSERT_EQ(decoded(Bytes(bytes).first(size)).error(), AddressError::incomplete) << size;
        }
        bytes.push_back(0xee);  // what follows is not touched
        ByteReader reader(bytes);
        const auto result = Target::decode(reader);
        ASSERT_TRUE(result);
        EXPECT_EQ(*result, target);
        EXPECT_EQ(reader.remaining(), 1u);
    }
}

TEST(Target, UnknownTypesAreToldAtOnce) {
    for (unsigned type = 0; type < 256; ++type) {
        const uint8_t byte = static_cast<uint8_t>(type);
        const bool known = type == 1 || type == 3 || type == 4;
        EXPECT_EQ(decoded(Bytes(&byte, 1)).error(), known ? AddressError::incomplete : AddressError::unknown_type);
    }
}

TEST(Target, InvalidNames) {
    EXPECT_EQ(decoded(from_hex("03 00")).error(), AddressError::invalid);
    for (unsigned byte = 0; byte < 256; ++byte) {
        std::vector<uint8_t> bytes = from_hex("03 03 61 00 61 0050");
        bytes[3] = static_cast<uint8_t>(byte);
        const bool valid = byte > 0x20 && byte != 0x7f;
        const auto result = decoded(bytes);
        ASSERT_EQ(result.has_value(), valid) << byte;
        if (!result) {
            EXPECT_EQ(result.error(), AddressError::invalid);
        }
    }
    EXPECT_FALSE(Target::from_name("", 1));
    EXPECT_FALSE(Target::from_name(std::string(256, 'x'), 1));
    EXPECT_FALSE(Target::from_name("a b", 1));
}

// A policy about addresses must see an address, however it was sent.
TEST(Target, NamesThatAreAddressesBecomeAddresses) {
    const std::pair<const char*, const char*> cases[] = {{"127.0.0.1", "127.0.0.1:80"},
                                                         {"::1", "[::1]:80"},
                                                         {"::ffff:127.0.0.1", "127.0.0.1:80"},
                                                         {"0:0:0:0:0:0:0:1", "[::1]:80"}};
    for (const auto& [name, expected] : cases) {
        std::vector<uint8_t> bytes{3, static_cast<uint8_t>(std::strlen(name))};
        bytes.insert(bytes.end(), name, name + std::strlen(name));
        bytes.insert(bytes.end(), {0, 80});
        const auto target = decoded(bytes);
        ASSERT_TRUE(target);
        ASSERT_FALSE(target->is_name()) << name;
        EXPECT_EQ(target->endpoint().format(), expected);
        EXPECT_EQ(target->format(), expected);
    }
    EXPECT_EQ(decoded(from_hex("04 00000000000000000000ffff7f000001 0050"))->endpoint(),
              *Endpoint::parse("127.0.0.1:80"));
    EXPECT_TRUE(Target::from_name("1.2.3.4.example", 80)->is_name());
}

TEST(Target, ParseAndFormat) {
    EXPECT_EQ(Target::parse("example.org:443")->format(), "example.org:443");
    EXPECT_EQ(Target::parse("example.org:443")->name(), "example.org");
    EXPECT_EQ(Target::parse("1.2.3.4:1")->endpoint().port, 1);
    EXPECT_EQ(Target::parse("[::1]:1")->format(), "[::1]:1");
    for (const std::string_view text :
         {"", "a", "a:", ":1", "a:b", "::1:1", "[a]:1", "[1.2.3.4]:1", "a b:1", "a:65536"}) {
        EXPECT_FALSE(Target::parse(text)) << text;
    }
    // Nothing in a log line that a terminal or a log parser would act on.
    EXPECT_EQ(Target::from_name("b\xc3\xbc\\x", 1)->format(), "b\\xc3\\xbc\\x5cx:1");
}

TEST(Target, Equality) {
    EXPECT_EQ(*Target::from_name("a", 1), *Target::from_name("a", 1));
    EXPECT_FALSE(*Target::from_name("a", 1) == *Target::from_name("b", 1));
    EXPECT_FALSE(*Target::from_name("a", 1) == *Target::from_name("a", 2));
    EXPECT_FALSE(*Target::from_name("a", 1) == *Target::from_name("aa", 1));
    EXPECT_FALSE(Target() == Target(*Endpoint::parse("[::]:0")));
}

TEST(Cidr, ParseAndFormat) {
    const std::pair<const char*, const char*> cases[] = {
        {"10.0.0.0/8", "10.0.0.0/8"},
        {"10.1.2.3/8", "10.0.0.0/8"},
        {"1.2.3.4", "1.2.3.4/32"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"1.2.3.255/25", "1.2.3.128/25"},
        {"::/0", "::/0"},
        {"::1", "::1/128"},
        {"fc00::/7", "fc00::/7"},
        {"2001:db8:ffff::/33", "2001:db8:8000::/33"},
        {"::ffff:0:0/96", "0.0.0.0/0"},
        {"::ffff:10.0.0.0/104", "10.0.0.0/8"},
        {"::ffff:1.2.3.4", "1.2.3.4/32"},
        {"::ffff:0:0/95", "::fffe:0:0/95"},
    };
    for (const auto& [text, expected] : cases) {
        const auto cidr = Cidr::parse(text);
        ASSERT_TRUE(cidr) << text;
        EXPECT_EQ(cidr->format(), expected);
        EXPECT_EQ(Cidr::parse(expected), cidr);
    }
    for (const std::string_view text :
         {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/ 8", "10/8",
          "10.0.0.0/256", "name/8", "10.0.0.0/+8"}) {
        EXPECT_FALSE(Cidr::parse(text)) << text;
    }
}

TEST(Cidr, Contains) {
    // Every prefix length: the first and last address are in, their neighbours outside are not.
    for (unsigned bits = 0; bits <= 32; ++bits) {
        const auto cidr = Cidr::parse("172.16.85.170/" + std::to_string(bits));
        ASSERT_TRUE(cidr);
        const uint64_t size = uint64_t{1} << (32 - bits);
        const uint64_t first = 0xac1055aa & ~(size - 1);
        const auto at = [](uint64_t value) {
            return IpAddress::v4(static_cast<uint8_t>(value >> 24), static_cast<uint8_t>(value >> 16),
                                 static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value));
        };
        EXPECT_TRUE(cidr->contains(at(first))) << bits;
        EXPECT_TRUE(cidr->contains(at(first + size - 1))) << bits;
        if (bits == 0) continue;
        EXPECT_FALSE(cidr->contains(at(first - 1))) << bits;
        EXPECT_FALSE(cidr->contains(at(first + size))) << bits;
    }
    EXPECT_TRUE(Cidr::parse("fe80::/10")->contains(ip("febf::1")));
    EXPECT_FALSE(Cidr::parse("fe80::/10")->contains(ip("fec0::1")));
    EXPECT_TRUE(Cidr::parse("::1")->contains(ip("::1")));
    EXPECT_FALSE(Cidr::parse("::1")->contains(ip("::")));
    // The families are apart, also at length 0.
    EXPECT_FALSE(Cidr::parse("0.0.0.0/0")->contains(ip("::")));
    EXPECT_FALSE(Cidr::parse("::/0")->contains(ip("0.0.0.0")));
    EXPECT_TRUE(Cidr::parse("127.0.0.0/8")->contains(ip("::ffff:127.0.0.1")));
}

}  // namespace
}  // namespace qanat::wire
