// Lists of CPUs: "auto", "0", "0,2-3".
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "controlplane/config/config.h"

namespace qanat::controlplane {

// CPU numbers go up to what cpu_set_t holds (sched_setaffinity(2)).
inline constexpr uint32_t kCoreMax = 1023;

// Whether these CPUs exist and may be used is a question for the data plane.
[[nodiscard]] Result<Cores> parse_cores(std::string_view text);

// Sorts; an empty list, doubles and numbers above kCoreMax are errors.
[[nodiscard]] Result<Cores> make_cores(std::vector<uint32_t> list);

// "auto" or the shortest list, which parse_cores() reads back: "0,2-3".
[[nodiscard]] std::string format_cores(const Cores& cores);

}  // namespace qanat::controlplane
