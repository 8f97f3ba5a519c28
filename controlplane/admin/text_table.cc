#include "controlplane/admin/text_table.h"

#include <algorithm>

namespace qanat::controlplane {
namespace {

bool is_something(const std::string& cell) {
    return !cell.empty() && cell != "-";
}

}  // namespace

std::string TextTable::text() const {
    std::vector<size_t> widths(columns_.size(), 0);  // 0: left out
    for (size_t i = 0; i < columns_.size(); ++i) {
        if (std::none_of(rows_.begin(), rows_.end(), [i](const auto& row) { return is_something(row[i]); })) continue;
        widths[i] = columns_[i].title.size();
        for (const auto& row : rows_) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string out;
    const auto add_line = [&](const auto& cell_of) {
        std::string line;
        for (size_t i = 0; i < columns_.size(); ++i) {
            if (widths[i] == 0) continue;
            const std::string& cell = cell_of(i);
            const std::string padding(widths[i] - cell.size(), ' ');
            if (!line.empty()) line += "  ";
            line += columns_[i].align == Align::right ? padding + cell : cell + padding;
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + "\n";
    };
    add_line([&](size_t i) -> const std::string& { return columns_[i].title; });
    for (const auto& row : rows_) add_line([&](size_t i) -> const std::string& { return row[i]; });
    return out;
}

}  // namespace qanat::controlplane
