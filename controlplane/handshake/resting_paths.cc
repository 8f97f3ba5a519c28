#include "controlplane/handshake/resting_paths.h"

#include <algorithm>

namespace qanat::controlplane {

void RestingPaths::failed(const NodePath& path, Instant now) {
    const auto known =
        std::find_if(resting_.begin(), resting_.end(), [&](const Resting& resting) { return resting.path == path; });
    if (known != resting_.end())
        known->failed_at = now;
    else
        resting_.push_back({path, now});
}

void RestingPaths::worked(const NodePath& path) {
    std::erase_if(resting_, [&](const Resting& resting) { return resting.path == path; });
}

void RestingPaths::keep_only(const std::vector<NodePath>& paths) {
    std::erase_if(resting_, [&](const Resting& resting) {
        return std::find(paths.begin(), paths.end(), resting.path) == paths.end();
    });
}

void RestingPaths::forget_rested(Instant now) {
    std::erase_if(resting_, [&](const Resting& resting) { return now - resting.failed_at >= kRest; });
}

std::vector<NodePath> RestingPaths::in_order(std::vector<NodePath> paths, Instant now) const {
    std::stable_partition(paths.begin(), paths.end(), [&](const NodePath& path) {
        return std::none_of(resting_.begin(), resting_.end(), [&](const Resting& resting) {
            return resting.path == path && now - resting.failed_at < kRest;
        });
    });
    return paths;
}

}  // namespace qanat::controlplane
