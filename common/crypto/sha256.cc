#include "common/crypto/sha256.h"

#include <algorithm>
#include <cstring>

#include "common/crypto/cpu.h"
#include "common/crypto/sha256_x86.h"

namespace qanat::crypto {

namespace {

constexpr size_t kBlockSize = 64;
constexpr size_t kLengthSize = 8;

}  // namespace

// libsodium's state serves both ways: state words, count in bits, and the bytes of the block that is not full yet.
Sha256::Sha256() {
    crypto_hash_sha256_init(&state_);
}

Sha256& Sha256::update(Bytes data) {
    if (data.empty()) return *this;
    if (!has_sha_hardware()) {
        crypto_hash_sha256_update(&state_, data.data(), data.size());
        return *this;
    }
    const size_t buffered = (state_.count / 8) % kBlockSize;
    state_.count += uint64_t{data.size()} * 8;
    if (buffered > 0) {
        const size_t taken = std::min(kBlockSize - buffered, data.size());
        std::memcpy(state_.buf + buffered, data.data(), taken);
        if (buffered + taken < kBlockSize) return *this;
        sha256_blocks_x86(state_.state, state_.buf, 1);
        data = data.subspan(taken);
    }
    const size_t whole_blocks = data.size() / kBlockSize;
    if (whole_blocks > 0) sha256_blocks_x86(state_.state, data.data(), whole_blocks);
    const Bytes rest = data.subspan(whole_blocks * kBlockSize);
    if (!rest.empty()) std::memcpy(state_.buf, rest.data(), rest.size());
    return *this;
}

void Sha256::finish(std::span<uint8_t, kSha256Size> out) {
    if (!has_sha_hardware()) {
        crypto_hash_sha256_final(&state_, out.data());
        return;
    }
    size_t buffered = (state_.count / 8) % kBlockSize;
    state_.buf[buffered++] = 0x80;
    if (buffered > kBlockSize - kLengthSize) {
        std::memset(state_.buf + buffered, 0, kBlockSize - buffered);
        sha256_blocks_x86(state_.state, state_.buf, 1);
        buffered = 0;
    }
    std::memset(state_.buf + buffered, 0, kBlockSize - kLengthSize - buffered);
    ByteWriter(MutableBytes(state_.buf).last(kLengthSize)).u64(state_.count);
    sha256_blocks_x86(state_.state, state_.buf, 1);
    ByteWriter writer(out);
    for (const uint32_t word : state_.state) writer.u32(word);
}

Sha256Digest sha256(std::initializer_list<Bytes> parts) {
    Sha256 hash;
    for (const Bytes part : parts) hash.update(part);
    Sha256Digest digest;
    hash.finish(digest);
    return digest;
}

HmacSha256::HmacSha256(Bytes key) {
    std::array<uint8_t, kBlockSize> block{};
    if (key.size() > kBlockSize) {
        Sha256().update(key).finish(std::span(block).first<kSha256Size>());
    } else if (!key.empty()) {
        std::memcpy(block.data(), key.data(), key.size());
    }
    for (uint8_t& byte : block) byte ^= 0x36;
    inner_.update(block);
    for (uint8_t& byte : block) byte ^= 0x36 ^ 0x5c;
    outer_.update(block);
    sodium_memzero(block.data(), block.size());
}

void HmacSha256::mac(std::span<uint8_t, kSha256Size> out, std::initializer_list<Bytes> parts) const {
    Sha256 inner = inner_;
    for (const Bytes part : parts) inner.update(part);
    inner.finish(out);
    Sha256 outer = outer_;
    outer.update(out).finish(out);
}

void hmac_sha256(std::span<uint8_t, kSha256Size> out, Bytes key, std::initializer_list<Bytes> parts) {
    HmacSha256(key).mac(out, parts);
}

Sha256Digest hmac_sha256(Bytes key, std::initializer_list<Bytes> parts) {
    Sha256Digest digest;
    hmac_sha256(digest, key, parts);
    return digest;
}

Mac16 mac16(Bytes key, std::initializer_list<Bytes> parts) {
    Sha256Digest digest;
    hmac_sha256(digest, key, parts);
    Mac16 mac;
    std::copy_n(digest.begin(), mac.size(), mac.begin());
    return mac;
}

bool equal_constant_time(Bytes a, Bytes b) {
    return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace qanat::crypto
