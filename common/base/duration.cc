#include "common/base/duration.h"

#include <array>
#include <charconv>
#include <cstdint>

#include "common/base/log.h"

namespace qanat {
namespace {

struct Unit {
    std::string_view name;
    int64_t milliseconds;
};

// From large to small: format_duration() takes the first that divides.
constexpr std::array<Unit, 4> kUnits{{{"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}}};

tl::unexpected<Error> not_a_duration(std::string_view text, std::string_view why) {
    return fail("\"" + printable(text) + "\" is not a duration (" + std::string(why) +
                "): write it like 500ms, 10s, 2m or 1h");
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
    const size_t digits = text.find_first_not_of("0123456789");
    if (text.empty()) return not_a_duration(text, "it is empty");
    if (digits == std::string_view::npos) return not_a_duration(text, "the unit is missing");
    if (digits == 0) return not_a_duration(text, "it does not begin with a whole number");

    const std::string_view name = text.substr(digits);
    int64_t factor = 0;
    for (const Unit& unit : kUnits)
        if (unit.name == name) factor = unit.milliseconds;
    if (factor == 0) return not_a_duration(text, "the units are ms, s, m and h, after one whole number");

    int64_t count = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + digits, count);
    if (status != std::errc{} || count > kDurationMax.count() / factor) return not_a_duration(text, "at most 8760h");
    return Duration(count * factor);
}

std::string format_duration(Duration duration) {
    const int64_t count = duration.count();
    if (count == 0) return "0s";
    for (const Unit& unit : kUnits)
        if (count % unit.milliseconds == 0) return std::to_string(count / unit.milliseconds) + std::string(unit.name);
    return {};
}

}  // namespace qanat
