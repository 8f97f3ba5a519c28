#include "controlplane/metrics/metrics_page.h"

#include <array>
#include <charconv>

#include "common/base/log.h"

namespace qanat::controlplane {
namespace {

constexpr std::string_view kPrefix = "qanat_";

std::string_view name_of(MetricsPage::Kind kind) {
    switch (kind) {
        case MetricsPage::Kind::counter:
            return "counter";
        case MetricsPage::Kind::gauge:
            return "gauge";
        case MetricsPage::Kind::histogram:
            return "histogram";
    }
    return "untyped";
}

std::string number(double value) {
    std::array<char, 32> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::general);
    return {text.data(), end.ptr};
}

// What is no printable ASCII comes as \\xNN: one byte that is no UTF-8 would spoil the whole page.
std::string escaped(std::string_view value) {
    std::string text;
    for (const char c : value) {
        if (c == '\n')
            text += "\\n";
        else if (c == '\\' || c == '"')
            text += std::string("\\") + c;
        else if (c < 0x20 || c == 0x7f)
            text += "\\" + printable({&c, 1});
        else
            text += c;
    }
    return text;
}

}  // namespace

void MetricsPage::family(std::string_view name, Kind kind, std::string_view help) {
    name_ = std::string(kPrefix) + std::string(name);
    text_ += "# HELP " + name_ + " " + std::string(help) + "\n";
    text_ += "# TYPE " + name_ + " " + std::string(name_of(kind)) + "\n";
}

void MetricsPage::sample(double value, Labels labels) {
    line("", labels, "", number(value));
}

void MetricsPage::sample(uint64_t value, Labels labels) {
    line("", labels, "", std::to_string(value));
}

void MetricsPage::histogram(std::span<const double> bounds, std::span<const uint64_t> counts, double sum,
                            Labels labels) {
    uint64_t total = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
        total += counts[i];
        const std::string bound = i < bounds.size() ? number(bounds[i]) : "+Inf";
        line("_bucket", labels, "le=\"" + bound + "\"", std::to_string(total));
    }
    line("_sum", labels, "", number(sum));
    line("_count", labels, "", std::to_string(total));
}

void MetricsPage::line(std::string_view suffix, Labels labels, std::string_view extra_label, const std::string& value) {
    std::string list;
    for (const auto& [name, text] : labels)
        list += (list.empty() ? "" : ",") + std::string(name) + "=\"" + escaped(text) + "\"";
    if (!extra_label.empty()) list += (list.empty() ? "" : ",") + std::string(extra_label);
    text_ += name_ + std::string(suffix) + (list.empty() ? "" : "{" + list + "}") + " " + value + "\n";
}

}  // namespace qanat::controlplane
