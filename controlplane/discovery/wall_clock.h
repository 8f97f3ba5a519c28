// The wall clock as announcements carry it.
#pragma once

#include <chrono>
#include <cstdint>

namespace qanat::controlplane {

[[nodiscard]] inline uint64_t unix_ms_now() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

}  // namespace qanat::controlplane
