// Configuration files: JSON with comments → Config, or one line that says what is wrong where and what to do.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "controlplane/config/config.h"

namespace qanat::controlplane {

inline constexpr size_t kConfigSizeMax = 1 << 20;

// `text` is the content of `file`, whose name goes into errors; relative paths in it are relative to the directory of
// `file`. Keys that are not there keep their defaults. Strict: unknown and repeated keys, wrong types, trailing commas
// and values out of range are errors; comments (// and /* */) are allowed. Pure.
//
//     node.json: nodes[1].addrs[0]: the port "70000" of "203.0.113.50:70000" is out of range: write a number from 1 to
//     … node.json:12:5: Missing ',' or '}' in object declaration
[[nodiscard]] Result<Config> parse_config(std::string_view text, const std::string& file);

// Reads and parses a file of at most kConfigSizeMax bytes.
[[nodiscard]] Result<Config> load_config(const std::string& file);

}  // namespace qanat::controlplane
