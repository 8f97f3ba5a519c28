// The status for people: from the JSON that the admin socket answers to a few aligned lines. Pure.
#pragma once

#include <json/value.h>

#include <string>

namespace qanat::controlplane {

// Fields that are missing are left out. Ends with a newline; nothing but printable ASCII in it.
[[nodiscard]] std::string render_status(const Json::Value& status);

}  // namespace qanat::controlplane
