#include "perf/loadgen/fatal.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace qanat::loadgen {

void fatal(std::string_view what, int error) {
    std::fprintf(stderr, "qanat-loadgen: %.*s%s%s\n", static_cast<int>(what.size()), what.data(), error ? ": " : "",
                 error ? std::strerror(error) : "");
    std::exit(1);
}

}  // namespace qanat::loadgen
