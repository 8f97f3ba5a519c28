// Durations as people write them: `500ms`, `10s`, `2m`, `1h`. One whole number, one unit, nothing else.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace qanat {

// The unit of every configured time. Signed, so that differences of durations need no care.
using Duration = std::chrono::milliseconds;

// What can be written at most: one year. Keeps every sum of a few durations and a clock far away from overflow.
inline constexpr Duration kDurationMax = std::chrono::hours(24 * 365);

// Parses one duration; zero ("0s") is a duration, whether it makes sense is the caller's question. A number without a
// unit, a sign, a fraction, blanks, several parts ("1m30s") and anything beyond kDurationMax are errors. The error
// says what is wrong and what to write; the caller puts the file and the field in front of it.
[[nodiscard]] Result<Duration> parse_duration(std::string_view text);

// The shortest spelling that parse_duration() reads back as the same value: 90s → "90s", 120s → "2m", 0 → "0s".
// Negative durations get a leading '-', which does not parse.
[[nodiscard]] std::string format_duration(Duration duration);

}  // namespace qanat
