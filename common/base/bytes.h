// ByteReader and ByteWriter: the only way the project parses or builds wire bytes. Both are bounded, big-endian, and
// sticky: after the first overrun every later call does nothing, so a parser reads like the format and checks ok()
// once.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace qanat {

using Bytes = std::span<const uint8_t>;
using MutableBytes = std::span<uint8_t>;

[[nodiscard]] inline Bytes as_bytes(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

[[nodiscard]] inline std::string_view as_text(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ByteReader {
public:
    explicit ByteReader(Bytes input) : input_(input) {}

    [[nodiscard]] bool ok() const { return ok_; }
    [[nodiscard]] size_t remaining() const { return ok_ ? input_.size() - position_ : 0; }
    [[nodiscard]] size_t position() const { return position_; }

    uint8_t u8() { return static_cast<uint8_t>(integer(1)); }
    uint16_t u16() { return static_cast<uint16_t>(integer(2)); }
    uint32_t u24() { return static_cast<uint32_t>(integer(3)); }
    uint32_t u32() { return static_cast<uint32_t>(integer(4)); }
    uint64_t u64() { return integer(8); }

    // A view into the input, valid as long as the input is; empty after an overrun.
    Bytes bytes(size_t count) {
        if (!take(count)) return {};
        return input_.subspan(position_ - count, count);
    }

    // Copies exactly out.size() bytes, or zeroes `out` after an overrun.
    void copy_to(MutableBytes out) {
        if (take(out.size()))
            std::memcpy(out.data(), input_.data() + position_ - out.size(), out.size());
        else if (!out.empty())
            std::memset(out.data(), 0, out.size());
    }

private:
    bool take(size_t count) {
        if (!ok_ || count > input_.size() - position_) {
            ok_ = false;
            return false;
        }
        position_ += count;
        return true;
    }
    uint64_t integer(size_t width) {
        if (!take(width)) return 0;
        uint64_t value = 0;
        for (size_t i = position_ - width; i < position_; ++i) value = value << 8 | input_[i];
        return value;
    }

    Bytes input_;
    size_t position_ = 0;
    bool ok_ = true;
};

class ByteWriter {
public:
    explicit ByteWriter(MutableBytes output) : output_(output) {}

    [[nodiscard]] bool ok() const { return ok_; }
    [[nodiscard]] size_t size() const { return position_; }
    [[nodiscard]] Bytes written() const { return output_.first(position_); }

    void u8(uint8_t value) { integer(value, 1); }
    void u16(uint16_t value) { integer(value, 2); }
    void u24(uint32_t value) { integer(value, 3); }
    void u32(uint32_t value) { integer(value, 4); }
    void u64(uint64_t value) { integer(value, 8); }
    void bytes(Bytes value) {
        if (uint8_t* to = take(value.size()); to != nullptr && !value.empty())
            std::memcpy(to, value.data(), value.size());
    }
    void zeros(size_t count) {
        if (uint8_t* to = take(count); to != nullptr && count > 0) std::memset(to, 0, count);
    }

private:
    uint8_t* take(size_t count) {
        if (!ok_ || count > output_.size() - position_) {
            ok_ = false;
            return nullptr;
        }
        position_ += count;
        return output_.data() + position_ - count;
    }
    void integer(uint64_t value, size_t width) {
        uint8_t* to = take(width);
        if (to == nullptr) return;
        for (size_t i = 0; i < width; ++i) to[i] = static_cast<uint8_t>(value >> (8 * (width - 1 - i)));
    }

    MutableBytes output_;
    size_t position_ = 0;
    bool ok_ = true;
};

}  // namespace qanat
