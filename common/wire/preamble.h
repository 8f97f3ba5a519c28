// Preambles: the bytes before record 0 of each direction of a stream (docs/PROTOCOL.md, section 4). They look like
// records and authenticate nothing; record 0 does.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace qanat::wire {

inline constexpr size_t kRandomSize = 32;
inline constexpr size_t kClientPreambleSize = 53;
inline constexpr size_t kNodePreambleSize = 37;

using Random = std::array<uint8_t, kRandomSize>;

struct ClientPreamble {
    Random client_random{};
    uint64_t session_id = 0;
    uint64_t stream_no = 0;
};

struct NodePreamble {
    Random server_random{};
};

// `k_hdr` is the node's header key (K_hdr), which the client got in MSG2. `client_random` is fresh for every stream.
void encode_client_preamble(std::span<uint8_t, kClientPreambleSize> out, std::span<const uint8_t, 32> k_hdr,
                            std::span<const uint8_t, kRandomSize> client_random, uint64_t session_id,
                            uint64_t stream_no);

// nullopt only if the five header bytes are wrong; random bytes unmask to random numbers.
[[nodiscard]] std::optional<ClientPreamble> decode_client_preamble(std::span<const uint8_t, kClientPreambleSize> in,
                                                                   std::span<const uint8_t, 32> k_hdr);

void encode_node_preamble(std::span<uint8_t, kNodePreambleSize> out,
                          std::span<const uint8_t, kRandomSize> server_random);

[[nodiscard]] std::optional<NodePreamble> decode_node_preamble(std::span<const uint8_t, kNodePreambleSize> in);

}  // namespace qanat::wire
