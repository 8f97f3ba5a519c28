// TextTable: columns that line up, for a terminal. Numbers to the right, text to the left, the last column as wide as
// it wants to be. Columns in which no row has anything are left out. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace qanat::controlplane {

class TextTable {
public:
    enum class Align : uint8_t { left, right };

    struct Column {
        std::string title;
        Align align = Align::left;
    };
    explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

    // One cell for each column; "" and "-" count as nothing.
    void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

    // Titles first, each line with its newline and no blanks at its end.
    [[nodiscard]] std::string text() const;

private:
    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace qanat::controlplane
