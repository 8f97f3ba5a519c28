#include "common/crypto/random.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>

#include "common/base/assert.h"

namespace qanat::crypto {

namespace {
// getrandom(2) neither gives less nor is interrupted up to this size.
constexpr size_t kChunkSize = 256;
}  // namespace

void random_bytes(MutableBytes out) {
    while (!out.empty()) {
        const ssize_t got = ::getrandom(out.data(), std::min(out.size(), kChunkSize), 0);
        if (got < 0 && errno == EINTR) continue;  // only while waiting for the first seed
        QANAT_ASSERT(got > 0);
        out = out.subspan(static_cast<size_t>(got));
    }
}

}  // namespace qanat::crypto
