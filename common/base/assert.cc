#include "common/base/assert.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace qanat {

void assertion_failed(const char* file, int line, const char* what) noexcept {
    char text[512];
    const int length = std::snprintf(text, sizeof text, "%s:%d: broken invariant: %s\n", file, line, what);
    if (length > 0) {
        const auto count = static_cast<size_t>(length) < sizeof text ? static_cast<size_t>(length) : sizeof text - 1;
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, count);
    }
    std::abort();
}

}  // namespace qanat
