// Addresses: whatever decodes or parses must survive the way back. Byte 0: which reader.
#include <string>

#include "common/wire/address.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using namespace qanat;

void check_ip(const wire::IpAddress& ip) {
    FUZZ_CHECK(wire::IpAddress::parse(ip.format()) == ip);
    FUZZ_CHECK(wire::IpAddress::from_v6(ip.mapped()) == ip);
}

void check_target(const wire::Target& target) {
    std::array<uint8_t, wire::kAddressSizeMax> bytes;
    ByteWriter writer(bytes);
    target.encode(writer);
    FUZZ_CHECK(writer.ok() && writer.size() == target.encoded_size());
    ByteReader reader(writer.written());
    const auto again = wire::Target::decode(reader);
    FUZZ_CHECK(again.has_value() && *again == target && reader.remaining() == 0);
    for (size_t shorter = 0; shorter < writer.size(); ++shorter) {
        ByteReader cut(writer.written().first(shorter));
        const auto incomplete = wire::Target::decode(cut);
        FUZZ_CHECK(!incomplete && incomplete.error() == wire::AddressError::incomplete);
    }
    if (target.is_name())
        FUZZ_CHECK(!wire::IpAddress::parse(target.name()));
    else
        check_ip(target.endpoint().ip);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Bytes input(data, size);
    const uint8_t choice = fuzz::take_byte(input);
    const std::string_view text = as_text(input);
    switch (choice % 5) {
        case 0: {
            ByteReader reader(input);
            if (const auto target = wire::Target::decode(reader)) check_target(*target);
            break;
        }
        case 1:
            if (const auto target = wire::Target::parse(text)) check_target(*target);
            break;
        case 2:
            if (const auto ip = wire::IpAddress::parse(text)) check_ip(*ip);
            break;
        case 3:
            if (const auto endpoint = wire::Endpoint::parse(text)) {
                FUZZ_CHECK(wire::Endpoint::parse(endpoint->format()) == endpoint);
                sockaddr_storage address{};
                FUZZ_CHECK(endpoint->to_sockaddr(address) <= sizeof(address));
                FUZZ_CHECK(wire::Endpoint::from_sockaddr(address) == endpoint);
            }
            break;
        default:
            if (const auto cidr = wire::Cidr::parse(text)) {
                FUZZ_CHECK(wire::Cidr::parse(cidr->format()) == cidr);
                FUZZ_CHECK(cidr->contains(cidr->base));
            }
            break;
    }
    return 0;
}
