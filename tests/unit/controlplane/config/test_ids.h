// Node ids for tests: valid, all different, the same in every run.
#pragma once

#include <string>

#include "common/handshake/node_id.h"

namespace qanat::controlplane {

inline PublicKey test_key(uint8_t number) {
    PublicKey key{};
    key.fill(number);
    return key;
}

inline std::string test_id(uint8_t number) {
    return encode_node_id(test_key(number));
}

}  // namespace qanat::controlplane
