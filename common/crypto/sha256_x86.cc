#include "common/crypto/sha256_x86.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <array>
#endif

namespace qanat::crypto {

#if defined(__x86_64__)

namespace {

// FIPS 180-4, section 4.2.2.
alignas(16) constexpr std::array<uint32_t, 64> kRoundConstants{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

}  // namespace

// The instructions want the state as the vectors ABEF and CDGH instead of ABCD and EFGH. Each group of four rounds
// takes four message words; `message` is a ring of the last sixteen.
__attribute__((target("sha,sse4.1,ssse3"))) void sha256_blocks_x86(uint32_t* state, const uint8_t* blocks,
                                                                   size_t count) {
    const __m128i byte_swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);

    __m128i abcd = _mm_loadu_si128(reinterpret_cast<const __m128i*>(state));
    __m128i efgh = _mm_loadu_si128(reinterpret_cast<const __m128i*>(state + 4));
    const __m128i badc = _mm_shuffle_epi32(abcd, 0xb1);
    const __m128i hgfe = _mm_shuffle_epi32(efgh, 0x1b);
    __m128i abef = _mm_alignr_epi8(badc, hgfe, 8);
    __m128i cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);

    for (; count > 0; --count, blocks += 64) {
        const __m128i abef_before = abef;
        const __m128i cdgh_before = cdgh;
        __m128i message[4];
#pragma GCC unroll 16
        for (unsigned group = 0; group < 16; ++group) {
            __m128i& words = message[group % 4];
            if (group < 4) {
                words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks + 16 * group));
                words = _mm_shuffle_epi8(words, byte_swap);
            } else {
                const __m128i previous = message[(group + 3) % 4];
                words = _mm_sha256msg1_epu32(words, message[(group + 1) % 4]);
                words = _mm_add_epi32(words, _mm_alignr_epi8(previous, message[(group + 2) % 4], 4));
                words = _mm_sha256msg2_epu32(words, previous);
            }
            const __m128i* constants = reinterpret_cast<const __m128i*>(kRoundConstants.data()) + group;
            const __m128i keyed = _mm_add_epi32(words, _mm_load_si128(constants));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, keyed);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(keyed, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }

    const __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    abcd = _mm_blend_epi16(feba, dchg, 0xf0);
    efgh = _mm_alignr_epi8(dchg, feba, 8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(state), abcd);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(state + 4), efgh);
}

#else

void sha256_blocks_x86(uint32_t*, const uint8_t*, size_t) {}

#endif

}  // namespace qanat::crypto
