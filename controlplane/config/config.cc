#include "controlplane/config/config.h"

#include <array>

namespace qanat::controlplane {
namespace {

constexpr std::array<std::string_view, 4> kStrategyNames{"random", "round-robin", "fastest", "least-loaded"};

}  // namespace

std::string_view name_of(Role role) {
    return role == Role::node ? "node" : "client";
}

std::string_view name_of(Strategy strategy) {
    return kStrategyNames[static_cast<size_t>(strategy)];
}

std::optional<Strategy> parse_strategy(std::string_view name) {
    for (size_t i = 0; i < kStrategyNames.size(); ++i)
        if (kStrategyNames[i] == name) return static_cast<Strategy>(i);
    return std::nullopt;
}

}  // namespace qanat::controlplane
