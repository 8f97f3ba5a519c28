#include "common/base/text_distance.h"

#include <algorithm>
#include <array>

namespace qanat {
namespace {

constexpr size_t kLengthMax = 64;

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

// Optimal string alignment: the Levenshtein table by rows, of which the last two are needed for swaps.
size_t text_distance(std::string_view a, std::string_view b) {
    if (a.size() > kLengthMax || b.size() > kLengthMax) return std::max(a.size(), b.size());
    using Row = std::array<size_t, kLengthMax + 1>;
    Row before{}, previous{}, current{};
    for (size_t j = 0; j <= b.size(); ++j) previous[j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
        current[0] = i;
        for (size_t j = 1; j <= b.size(); ++j) {
            const bool same = lower(a[i - 1]) == lower(b[j - 1]);
            size_t best = std::min({previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (same ? 0U : 1U)});
            const bool swapped =
                i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]);
            if (swapped) best = std::min(best, before[j - 2] + 1);
            current[j] = best;
        }
        before = previous;
        previous = current;
    }
    return previous[b.size()];
}

std::optional<std::string_view> closest_word(std::string_view word, std::span<const std::string_view> candidates) {
    std::optional<std::string_view> best;
    size_t best_distance = 0;
    for (const std::string_view candidate : candidates) {
        const size_t allowed = std::clamp<size_t>(std::max(word.size(), candidate.size()) / 3, 1, 3);
        const size_t distance = text_distance(word, candidate);
        // A distance as long as the word itself replaces everything: two different words, not a typo.
        if (distance > allowed || distance >= std::max(word.size(), candidate.size())) continue;
        if (!best || distance < best_distance) {
            best = candidate;
            best_distance = distance;
        }
    }
    return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
    const auto best = closest_word(word, candidates);
    return best ? ", did you mean \"" + std::string(*best) + "\"?" : std::string();
}

}  // namespace qanat
