// "Did you mean …": which known word somebody probably meant.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace qanat {

// Edits (insert, remove, replace, swap of neighbours; ASCII case does not count) that turn `a` into `b`. Words longer
// than 64 bytes are never close: the answer is then the length of the longer one.
[[nodiscard]] size_t text_distance(std::string_view a, std::string_view b);

// The candidate nearest to `word`, if it is near enough to be a likely typo: within a third of the longer word's
// length, at least one and at most three edits. Ties go to the first. The view is the candidate's own.
[[nodiscard]] std::optional<std::string_view> closest_word(std::string_view word,
                                                           std::span<const std::string_view> candidates);

// ", did you mean \"identity\"?" or an empty text: made to be appended to an error.
[[nodiscard]] std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace qanat
