// Secret<N>: N bytes of key material. Moves but does not copy by accident, is wiped when it ends, cannot be printed,
// and compares in constant time.
#pragma once

#include <sodium.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace qanat {

template <size_t N>
class Secret {
public:
    static constexpr size_t kSize = N;

    Secret() = default;
    explicit Secret(std::span<const uint8_t, N> bytes) { std::memcpy(bytes_.data(), bytes.data(), N); }
    ~Secret() { wipe(); }

    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    Secret(Secret&& other) noexcept : bytes_(other.bytes_) { other.wipe(); }
    Secret& operator=(Secret&& other) noexcept {
        if (this != &other) {
            bytes_ = other.bytes_;
            other.wipe();
        }
        return *this;
    }

    // Copies are possible where they are meant, and visible where they happen.
    [[nodiscard]] Secret clone() const { return Secret(std::span<const uint8_t, N>(bytes_)); }

    [[nodiscard]] std::span<const uint8_t, N> bytes() const { return bytes_; }
    [[nodiscard]] std::span<uint8_t, N> writable() { return bytes_; }
    void wipe() { sodium_memzero(bytes_.data(), N); }

    // Constant time in the contents.
    [[nodiscard]] friend bool operator==(const Secret& a, const Secret& b) {
        return sodium_memcmp(a.bytes_.data(), b.bytes_.data(), N) == 0;
    }

private:
    std::array<uint8_t, N> bytes_{};
};

}  // namespace qanat
