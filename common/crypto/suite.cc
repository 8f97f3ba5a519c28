#include "common/crypto/suite.h"

#include "common/base/assert.h"

namespace qanat::crypto {

std::string_view suite_name(Suite suite) {
    switch (suite) {
        case Suite::aes_128_gcm:
            return "aes-128-gcm";
        case Suite::aes_256_gcm:
            return "aes-256-gcm";
        case Suite::chacha20_poly1305:
            return "chacha20-poly1305";
    }
    QANAT_ASSERT(false);
}

std::optional<Suite> suite_from_name(std::string_view name) {
    for (const Suite suite : {Suite::aes_128_gcm, Suite::aes_256_gcm, Suite::chacha20_poly1305}) {
        if (suite_name(suite) == name) return suite;
    }
    return std::nullopt;
}

std::optional<Suite> suite_from_id(uint8_t id) {
    if (id < 1 || id > 3) return std::nullopt;
    return static_cast<Suite>(id);
}

}  // namespace qanat::crypto
