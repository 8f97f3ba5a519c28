// The status for people: from the JSON that the admin socket answers to a few aligned lines. Pure.
#pragma once

#include <json/value.h>

#include <string>

namespace qanat::controlplane {

// Fields that are missing are left out. Ends with a newline; nothing but printable ASCII in it.
[[nodiscard]] std::string render_status(const Json::Value& status);

// "0 B", "1.5 KiB", "2.0 GiB"; "59s", "1h 02m", "3d 04h".
[[nodiscard]] std::string format_bytes(uint64_t bytes);
[[nodiscard]] std::string format_seconds(uint64_t seconds);

}  // namespace qanat::controlplane
