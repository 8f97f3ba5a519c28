#include "common/crypto/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace qanat::crypto {

namespace {

// Asked once: under a hypervisor every CPUID instruction traps, some ten microseconds each.
struct Features {
    bool aes = false;
    bool sha = false;
};

Features detect() {
    Features features;
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) return features;
    features.aes = (c & bit_AES) != 0 && (c & bit_PCLMUL) != 0;
    const bool shuffles = (c & bit_SSE4_1) != 0 && (c & bit_SSSE3) != 0;
    features.sha = shuffles && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
#elif defined(__aarch64__)
    const unsigned long capabilities = getauxval(AT_HWCAP);
    features.aes = (capabilities & HWCAP_AES) != 0 && (capabilities & HWCAP_PMULL) != 0;
#endif
    return features;
}

const Features& features() {
    static const Features detected = detect();
    return detected;
}

}  // namespace

bool has_aes_hardware() {
    return features().aes;
}

bool has_sha_hardware() {
    return features().sha;
}

}  // namespace qanat::crypto
