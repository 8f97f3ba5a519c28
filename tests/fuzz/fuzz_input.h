// What the fuzz targets share: a way to say what must hold, and to take small decisions out of the input.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/assert.h"
#include "common/base/bytes.h"

// A property that every input must have; a broken one is a finding, like a crash.
#define FUZZ_CHECK(condition) QANAT_ASSERT(condition)

namespace qanat::fuzz {

// The first byte of `input`, which is cut off; 0 if there is none.
inline uint8_t take_byte(Bytes& input) {
    if (input.empty()) return 0;
    const uint8_t byte = input[0];
    input = input.subspan(1);
    return byte;
}

}  // namespace qanat::fuzz
