// HKDF with SHA-256 (RFC 5869) and HKDF-Expand-Label (RFC 8446, section 7.1): Extract, Expand and XL of
// docs/PROTOCOL.md, section 1.
#pragma once

#include <string_view>

#include "common/base/bytes.h"
#include "common/base/secret.h"

namespace qanat::crypto {

inline constexpr std::string_view kLabelPrefix = "qanat1 ";
inline constexpr size_t kHkdfOutputSizeMax = 255 * 32;

[[nodiscard]] Secret<32> extract(Bytes salt, Bytes ikm);

// Fills `out`, at most kHkdfOutputSizeMax bytes. `out` must not overlap the inputs.
void expand(Bytes secret, Bytes info, MutableBytes out);

// XL(secret, label, context, out.size()). prefix + label and context are at most 255 bytes each. The prefix is an
// argument so that the published TLS 1.3 traces (RFC 8448, "tls13 ") test the very same function.
void expand_label(Bytes secret, std::string_view label, Bytes context, MutableBytes out,
                  std::string_view prefix = kLabelPrefix);

// The same for one 32-byte secret, the usual case.
[[nodiscard]] Secret<32> expand_label_secret(Bytes secret, std::string_view label, Bytes context);

}  // namespace qanat::crypto
