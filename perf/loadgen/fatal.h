// fatal: the load generator cannot go on. One line to stderr, exit status 1.
#pragma once

#include <string_view>

namespace qanat::loadgen {

// `error` is an errno value or 0.
[[noreturn]] void fatal(std::string_view what, int error = 0);

}  // namespace qanat::loadgen
