// Pattern: what every stream of the load generator carries, so that each byte can be checked where it arrives.
//
// Random bytes with a period that is prime: data that is shifted, repeated or swapped by any block size a proxy is
// likely to use does not match. Senders send straight out of the table, receivers compare with it, so that making and
// checking the content costs no more than reading it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace qanat::loadgen {

class Pattern {
public:
    static constexpr size_t kPeriod = 131071;
    static constexpr size_t kRunMax = size_t{256} << 10;  // longest run that can be asked for at once

    // The bytes at `position` of a stream. Streams differ by where they start: add the stream's seed to the position.
    // The view is valid for the life of the program.
    static std::span<const uint8_t> at(uint64_t position, size_t size);

    static bool matches(uint64_t position, std::span<const uint8_t> bytes);
};

}  // namespace qanat::loadgen
