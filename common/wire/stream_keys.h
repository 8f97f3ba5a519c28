// StreamKeySchedule: the keys of one stream (docs/PROTOCOL.md, section 4).
#pragma once

#include <cstdint>
#include <span>

#include "common/base/secret.h"
#include "common/crypto/suite.h"
#include "common/wire/record.h"

namespace qanat::wire {

// `key` and `iv` of a direction from its traffic secret: XL(secret, "key", …), XL(secret, "iv", …).
[[nodiscard]] DirectionKey derive_direction_key(std::span<const uint8_t, 32> traffic_secret, crypto::Suite suite);

// Both sides make one from the session's S_data and what the client's preamble says. Holds E and T0, wiped at the end;
// keep it until the server_random is known.
class StreamKeySchedule {
public:
    StreamKeySchedule(crypto::Suite suite, std::span<const uint8_t, 32> s_data, uint64_t session_id, uint64_t stream_no,
                      std::span<const uint8_t, 32> client_random);

    // The key under which the client seals and the node opens; known with the first flight.
    [[nodiscard]] DirectionKey client_to_node() const;

    // The other direction's, bound to the node's own randomness as well.
    [[nodiscard]] DirectionKey node_to_client(std::span<const uint8_t, 32> server_random) const;

private:
    crypto::Suite suite_;
    Secret<32> e_;
    Secret<32> t0_;
};

}  // namespace qanat::wire
