// Where an id goes in a table of open addressing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qanat::dataplane {

// The finalizer of MurmurHash3: every bit of the id moves every bit of the result, so that neither counted nor chosen
// low bits pile up in one place.
[[nodiscard]] constexpr size_t hash_of_id(uint64_t id) {
    id = (id ^ id >> 33) * 0xff51afd7ed558ccd;
    id = (id ^ id >> 33) * 0xc4ceb9fe1a85ec53;
    return id ^ id >> 33;
}

}  // namespace qanat::dataplane
