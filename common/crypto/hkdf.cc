#include "common/crypto/hkdf.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/base/assert.h"
#include "common/crypto/sha256.h"

namespace qanat::crypto {

Secret<32> extract(Bytes salt, Bytes ikm) {
    Secret<32> prk;
    hmac_sha256(prk.writable(), salt, {ikm});
    return prk;
}

void expand(Bytes secret, Bytes info, MutableBytes out) {
    QANAT_ASSERT(out.size() <= kHkdfOutputSizeMax);
    const HmacSha256 hmac(secret);
    Secret<kSha256Size> block;
    Bytes previous;  // T(0) is empty
    uint8_t counter = 0;
    while (!out.empty()) {
        ++counter;
        hmac.mac(block.writable(), {previous, info, Bytes(&counter, 1)});
        previous = block.bytes();
        const size_t taken = std::min(out.size(), kSha256Size);
        std::memcpy(out.data(), block.bytes().data(), taken);
        out = out.subspan(taken);
    }
}

void expand_label(Bytes secret, std::string_view label, Bytes context, MutableBytes out, std::string_view prefix) {
    const size_t label_size = prefix.size() + label.size();
    QANAT_ASSERT(label_size <= 255);
    QANAT_ASSERT(context.size() <= 255);
    QANAT_ASSERT(out.size() <= kHkdfOutputSizeMax);
    std::array<uint8_t, 2 + 1 + 255 + 1 + 255> info;
    ByteWriter writer(info);
    writer.u16(static_cast<uint16_t>(out.size()));
    writer.u8(static_cast<uint8_t>(label_size));
    writer.bytes(as_bytes(prefix));
    writer.bytes(as_bytes(label));
    writer.u8(static_cast<uint8_t>(context.size()));
    writer.bytes(context);
    expand(secret, writer.written(), out);
}

Secret<32> expand_label_secret(Bytes secret, std::string_view label, Bytes context) {
    Secret<32> out;
    expand_label(secret, label, context, out.writable());
    return out;
}

}  // namespace qanat::crypto
