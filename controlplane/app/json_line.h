// A JSON value as the one line that the admin socket speaks.
#pragma once

#include <json/value.h>

#include <string>

namespace qanat::controlplane {

// Without a newline; three digits behind the point at most.
[[nodiscard]] std::string to_line(const Json::Value& value);
// {"error": message}
[[nodiscard]] std::string error_line_of(const std::string& message);

}  // namespace qanat::controlplane
