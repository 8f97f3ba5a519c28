// MetricsPage: the text that Prometheus reads (exposition format 0.0.4), put together family by family. Pure.
//
// A family is begun once, with all its samples behind it, as the format wants. Names are snake_case with unit and, for
// counters, "_total"; label values are escaped here.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace qanat::controlplane {

class MetricsPage {
public:
    enum class Kind : uint8_t { counter, gauge, histogram };
    using Labels = std::initializer_list<std::pair<std::string_view, std::string>>;

    // The samples that follow are of this family. `name` without prefix: "streams_opened_total".
    void family(std::string_view name, Kind kind, std::string_view help);
    void sample(double value, Labels labels = {});
    void sample(uint64_t value, Labels labels = {});
    // Of a histogram family: `bounds` are upper bounds in ascending order, `counts` one more (the last is +Inf), not
    // cumulated.
    void histogram(std::span<const double> bounds, std::span<const uint64_t> counts, double sum, Labels labels = {});

    [[nodiscard]] const std::string& text() const { return text_; }

private:
    void line(std::string_view suffix, Labels labels, std::string_view extra_label, const std::string& value);

    std::string text_;
    std::string name_;
};

}  // namespace qanat::controlplane
