// The answers to `peers` and `explain` for people. Pure. Fields that are missing are left out; nothing but printable
// ASCII comes out, whatever a peer put into them.
#pragma once

#include <json/value.h>

#include <string>

namespace qanat::controlplane {

// {"peers": [{"id", "role", "source", "path", "address", "state", "since_seconds", "latency_ms", "probes_lost",
// "probes_sent", "streams", "parked", "opened", "failed", "bytes_up", "bytes_down", "load", "last_error"}]}
[[nodiscard]] std::string render_peers(const Json::Value& answer);

// {"target", "strategy", "rule", "candidates": [{"id", "path", "address", "state", "eligible", "reason", "latency_ms",
// "streams", "weight", "share", "exit_policy": {"verdict", "rule"}}], "decision"}
[[nodiscard]] std::string render_explanation(const Json::Value& answer);

}  // namespace qanat::controlplane
