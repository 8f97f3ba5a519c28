// LiveConfig: the configuration of a running program, and how it is read again. Nothing is half-applied: a new one is
// read and checked as a whole first, and what is wrong with it leaves everything as it was.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "controlplane/config/config.h"
#include "controlplane/config/paths.h"

namespace qanat::controlplane {

// Names of fields as in the file.
struct ReloadOutcome {
    std::vector<std::string> applied;
    std::vector<std::string> needs_restart;
};

class LiveConfig {
public:
    // The same sources as at the start: file and flags.
    using Read = std::function<Result<Config>()>;

    // `started`: what the process runs with; `key_fingerprint`: of the network key that it uses.
    LiveConfig(Role role, Config started, std::string key_fingerprint, Environment environment, Read read);

    [[nodiscard]] const Config& current() const { return current_; }

    struct Candidate {
        Config config;
        bool key_changed = false;
    };
    // Reads everything, the network key as well, and changes nothing.
    [[nodiscard]] Result<Candidate> read() const;

    // From now on `candidate` is the current one. `part_needs_restart`: what the role cannot take over, by name.
    [[nodiscard]] ReloadOutcome adopt(Candidate candidate, const std::vector<std::string>& part_needs_restart);

private:
    Role role_;
    Config started_;
    Config current_;
    std::string key_fingerprint_;
    Environment environment_;
    Read read_;
};

}  // namespace qanat::controlplane
