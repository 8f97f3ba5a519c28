#include "common/wire/preamble.h"

#include <algorithm>

#include "common/base/bytes.h"
#include "common/crypto/chacha20.h"

namespace qanat::wire {

namespace {

constexpr std::array<uint8_t, 5> kClientHeader{0x17, 0x03, 0x03, 0x00, 0x30};
constexpr std::array<uint8_t, 5> kNodeHeader{0x17, 0x03, 0x03, 0x00, 0x20};
constexpr size_t kMaskedOffset = 5 + kRandomSize;

// Masks and unmasks. The client's random serves as counter and nonce: the mask repeats only if it does.
void mask(std::span<uint8_t, 16> numbers, std::span<const uint8_t, 32> k_hdr,
          std::span<const uint8_t, kRandomSize> client_random) {
    const uint32_t counter = uint32_t{client_random[0]} | uint32_t{client_random[1]} << 8 |
                             uint32_t{client_random[2]} << 16 | uint32_t{client_random[3]} << 24;
    crypto::chacha20_xor16(numbers, k_hdr, counter, client_random.subspan<4, 12>());
}

}  // namespace

void encode_client_preamble(std::span<uint8_t, kClientPreambleSize> out, std::span<const uint8_t, 32> k_hdr,
                            std::span<const uint8_t, kRandomSize> client_random, uint64_t session_id,
                            uint64_t stream_no) {
    ByteWriter writer(out);
    writer.bytes(kClientHeader);
    writer.bytes(client_random);
    writer.u64(session_id);
    writer.u64(stream_no);
    mask(out.subspan<kMaskedOffset, 16>(), k_hdr, client_random);
}

std::optional<ClientPreamble> decode_client_preamble(std::span<const uint8_t, kClientPreambleSize> in,
                                                     std::span<const uint8_t, 32> k_hdr) {
    ByteReader reader(in);
    if (!std::ranges::equal(reader.bytes(kClientHeader.size()), kClientHeader)) return std::nullopt;
    ClientPreamble preamble;
    reader.copy_to(preamble.client_random);
    std::array<uint8_t, 16> numbers;
    reader.copy_to(numbers);
    mask(numbers, k_hdr, preamble.client_random);
    ByteReader unmasked(numbers);
    preamble.session_id = unmasked.u64();
    preamble.stream_no = unmasked.u64();
    return preamble;
}

void encode_node_preamble(std::span<uint8_t, kNodePreambleSize> out,
                          std::span<const uint8_t, kRandomSize> server_random) {
    ByteWriter writer(out);
    writer.bytes(kNodeHeader);
    writer.bytes(server_random);
}

std::optional<NodePreamble> decode_node_preamble(std::span<const uint8_t, kNodePreambleSize> in) {
    ByteReader reader(in);
    if (!std::ranges::equal(reader.bytes(kNodeHeader.size()), kNodeHeader)) return std::nullopt;
    NodePreamble preamble;
    reader.copy_to(preamble.server_random);
    return preamble;
}

}  // namespace qanat::wire
