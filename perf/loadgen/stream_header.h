// StreamHeader: the 32 bytes with which a client stream tells the server what it is, and the framing of bulk data.
//
// Little-endian as both ends are built from this file. Bulk data is cut into units: the first byte of each unit says
// whether data follows or the end, so that a sender can stop at any time without a half-close (some proxies have none)
// and the receiver knows that nothing is missing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qanat::loadgen {

enum class Role : uint8_t {
    source = 1,    // the server sends bulk data until the client sends one byte; the client then closes
    sink = 2,      // the client sends bulk data; behind its end the server answers with a Verdict
    exchange = 3,  // request_size bytes there, response_size bytes back, as often as the client likes
};

struct StreamHeader {
    static constexpr uint32_t kMagic = 0x31474c51;  // "QLG1"

    uint32_t magic = kMagic;
    Role role = Role::exchange;
    uint8_t zero[3] = {};
    uint32_t request_size = 0;
    uint32_t response_size = 0;
    uint64_t seed = 0;
    uint64_t pace = 0;  // source: bytes per second, 0 = as fast as it goes
};
static_assert(sizeof(StreamHeader) == 32);

inline constexpr size_t kUnit = size_t{256} << 10;
inline constexpr uint8_t kUnitData = 'D';
inline constexpr uint8_t kUnitEnd = 'E';  // followed by the number of bytes before it, u64
inline constexpr uint8_t kStop = 'S';

// Directions of one stream carry different bytes.
inline constexpr uint64_t kBackwardSeed = 65537;

}  // namespace qanat::loadgen
