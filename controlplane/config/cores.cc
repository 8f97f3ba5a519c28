#include "controlplane/config/cores.h"

#include <algorithm>
#include <charconv>

#include "common/base/log.h"

namespace qanat::controlplane {
namespace {

constexpr std::string_view kForm = ": write \"auto\" or a list like \"0,2-3\"";

bool parse_number(std::string_view text, uint32_t& out) {
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), out);
    return status == std::errc{} && end == text.data() + text.size();
}

}  // namespace

Result<Cores> make_cores(std::vector<uint32_t> list) {
    if (list.empty()) return fail("no core is given" + std::string(kForm));
    std::sort(list.begin(), list.end());
    if (list.back() > kCoreMax)
        return fail("core " + std::to_string(list.back()) + " is out of range: cores are numbered from 0 to " +
                    std::to_string(kCoreMax));
    const auto twice = std::adjacent_find(list.begin(), list.end());
    if (twice != list.end()) return fail("core " + std::to_string(*twice) + " is given twice: name each core once");
    return Cores{std::move(list)};
}

Result<Cores> parse_cores(std::string_view text) {
    if (text == "auto") return Cores{};
    std::vector<uint32_t> list;
    for (size_t start = 0; start <= text.size();) {
        const size_t end = std::min(text.find(',', start), text.size());
        const std::string_view part = text.substr(start, end - start);
        const size_t dash = part.find('-');
        uint32_t first = 0;
        uint32_t last = 0;
        const bool good = dash == std::string_view::npos
                              ? parse_number(part, first) && parse_number(part, last)
                              : parse_number(part.substr(0, dash), first) && parse_number(part.substr(dash + 1), last);
        if (!good) return fail("\"" + printable(text) + "\" is not a list of cores" + std::string(kForm));
        if (first > last) return fail("the range \"" + printable(part) + "\" runs backwards" + std::string(kForm));
        if (last > kCoreMax) return make_cores({last});  // its error, before a range of billions is written out
        for (uint32_t core = first; core <= last; ++core) list.push_back(core);
        if (list.size() > kCoreMax + 1) break;  // more than there are: one is given twice
        start = end + 1;
    }
    return make_cores(std::move(list));
}

std::string format_cores(const Cores& cores) {
    if (cores.list.empty()) return "auto";
    std::string text;
    for (size_t i = 0; i < cores.list.size();) {
        size_t last = i;
        while (last + 1 < cores.list.size() && cores.list[last + 1] == cores.list[last] + 1) ++last;
        if (!text.empty()) text += ',';
        text += std::to_string(cores.list[i]);
        if (last > i) text += '-' + std::to_string(cores.list[last]);
        i = last + 1;
    }
    return text;
}

}  // namespace qanat::controlplane
