// RestingPaths: which paths of one node failed lately; those are tried after its others. Pure: time is an argument.
#pragma once

#include <vector>

#include "controlplane/loop/event_loop.h"
#include "controlplane/routing/node_spec.h"

namespace qanat::controlplane {

class RestingPaths {
public:
    static constexpr Duration kRest = std::chrono::seconds(30);

    // The path rests from now on, again if it did already.
    void failed(const NodePath& path, Instant now);
    void worked(const NodePath& path);
    // The node has these paths now: what is known about any other one is forgotten.
    void keep_only(const std::vector<NodePath>& paths);
    void forget_rested(Instant now);

    // In the order to try them: as they come, but those that rest last.
    [[nodiscard]] std::vector<NodePath> in_order(std::vector<NodePath> paths, Instant now) const;

private:
    struct Resting {
        NodePath path;
        Instant failed_at{};
    };

    std::vector<Resting> resting_;  // at most one of each
};

}  // namespace qanat::controlplane
