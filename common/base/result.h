// Result<T, E>: a value, or the reason why there is none.
//
// Everything the outside can cause (a peer, the kernel, a file, the other plane) comes back as a Result. Our own
// mistakes are assertions (assert.h). The data plane throws nothing.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace qanat {

// An error for a person: one line that names the file, the field and the remedy. Modules whose errors are decided on
// by code use an enum of their own as E instead.
struct Error {
    std::string message;
};

template <class T, class E = Error>
using Result = tl::expected<T, E>;

// fail("…") makes the error side of any Result<T>.
[[nodiscard]] inline tl::unexpected<Error> fail(std::string message) {
    return tl::unexpected<Error>(Error{std::move(message)});
}

template <class E>
[[nodiscard]] tl::unexpected<E> fail_with(E reason) {
    return tl::unexpected<E>(reason);
}

}  // namespace qanat
