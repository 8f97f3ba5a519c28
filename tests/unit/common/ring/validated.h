// What the codec says about samples, as they are or changed.
#pragma once

#include "common/ring/codec.h"
#include "samples.h"

namespace qanat::ring::test {

template <Message M>
CodecError validate_of(const M& message) {
    return validate(M::kType, bytes_of(message));
}

// Validates the sample after `change` was applied to it.
template <Message M, class Change>
CodecError changed(Change change) {
    M message = sample<M>();
    change(message);
    return validate_of(message);
}

}  // namespace qanat::ring::test
