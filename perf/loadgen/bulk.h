// BulkSender and BulkReceiver: one direction of checked bulk data on a non-blocking socket. See stream_header.h.
#pragma once

#include <cstdint>

namespace qanat::loadgen {

enum class Step : uint8_t { again, blocked, done, failed };

class BulkSender {
public:
    explicit BulkSender(uint64_t seed) : seed_(seed) {}

    // Sends at most `budget` bytes.
    Step send_some(int fd, uint64_t budget);
    void stop() { stopping_ = true; }  // ends at the next unit
    [[nodiscard]] uint64_t bytes() const { return position_; }

private:
    uint64_t seed_;
    uint64_t position_ = 0;
    bool stopping_ = false;
    uint64_t trailer_sent_ = 0;
};

class BulkReceiver {
public:
    explicit BulkReceiver(uint64_t seed) : seed_(seed) {}

    Step receive_some(int fd);
    // Bytes that were read together with something else.
    Step take(const uint8_t* data, uint64_t size);
    [[nodiscard]] uint64_t bytes() const { return position_; }
    [[nodiscard]] const char* failure() const { return failure_; }  // nullptr: none

private:
    uint64_t seed_;
    uint64_t position_ = 0;
    uint8_t trailer_[8] = {};
    uint64_t trailer_size_ = 0;
    bool ended_ = false;
    const char* failure_ = nullptr;
};

}  // namespace qanat::loadgen
