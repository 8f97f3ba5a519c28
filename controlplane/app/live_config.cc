#include "controlplane/app/live_config.h"

#include <algorithm>
#include <utility>

#include "controlplane/config/difference.h"
#include "controlplane/config/network_key.h"

namespace qanat::controlplane {

LiveConfig::LiveConfig(Role role, Config started, std::string key_fingerprint, Environment environment, Read read)
    : role_(role),
      started_(std::move(started)),
      current_(started_),
      key_fingerprint_(std::move(key_fingerprint)),
      environment_(std::move(environment)),
      read_(std::move(read)) {}

Result<LiveConfig::Candidate> LiveConfig::read() const {
    auto config = read_();
    if (!config) return tl::unexpected(config.error());
    const auto path = find_network_key(config->key, environment_);
    if (!path) return tl::unexpected(path.error());
    const auto key = load_network_key(*path);
    if (!key) return tl::unexpected(key.error());
    return Candidate{std::move(*config), network_key_fingerprint(*key) != key_fingerprint_};
}

ReloadOutcome LiveConfig::adopt(Candidate candidate, const std::vector<std::string>& part_needs_restart) {
    ReloadOutcome outcome;
    // Against the start, so that they are named until there is a restart.
    if (candidate.key_changed) outcome.needs_restart.emplace_back("key");
    for (std::string& name : changed_fixed_fields(started_, candidate.config, role_))
        outcome.needs_restart.push_back(std::move(name));
    for (const std::string& name : part_needs_restart)
        if (!is_covered(name, outcome.needs_restart)) outcome.needs_restart.push_back(name);
    for (std::string& name : changed_fields(current_, candidate.config, role_)) {
        // A field of which a part has to wait is not said to be applied.
        const bool waits = is_covered(name, outcome.needs_restart) ||
                           std::any_of(outcome.needs_restart.begin(), outcome.needs_restart.end(),
                                       [&](const std::string& later) { return is_covered(later, {name}); });
        // Back to what it was at the start: it never was anything else.
        const bool fixed = is_covered(name, changed_fixed_fields(current_, candidate.config, role_));
        if (!waits && !fixed) outcome.applied.push_back(std::move(name));
    }
    current_ = std::move(candidate.config);
    return outcome;
}

}  // namespace qanat::controlplane
