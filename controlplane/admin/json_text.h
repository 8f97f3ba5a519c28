// Fields of an answer as text for people: whatever a peer or an older program put into them comes out as printable
// ASCII, and what is missing as "-". Pure.
#pragma once

#include <json/value.h>

#include <cstdint>
#include <string>

namespace qanat::controlplane {

// The member, or null; also if `value` is no object, where jsoncpp would throw.
[[nodiscard]] const Json::Value& member(const Json::Value& value, const char* name);

// A string with its control characters escaped, "yes" or "no", a number (with one digit behind the point if it is not
// whole), otherwise "-".
[[nodiscard]] std::string text_of(const Json::Value& value);

// 0 if it is no whole number.
[[nodiscard]] uint64_t number_of(const Json::Value& value);

// "2 policy_denied, 1 no_exit" from an object of counts, without those that are 0; "-" if there are none.
[[nodiscard]] std::string counts_of(const Json::Value& object);

// "a, b" from a list.
[[nodiscard]] std::string list_of(const Json::Value& list);

// "0 B", "1.5 KiB", "2.0 GiB"; "59s", "1h 02m", "3d 04h".
[[nodiscard]] std::string format_bytes(uint64_t bytes);
[[nodiscard]] std::string format_seconds(uint64_t seconds);

// "250 us", "12.3 ms", "1.20 s".
[[nodiscard]] std::string format_milliseconds(double milliseconds);

// The first characters of a node id: enough to tell nodes of one network apart.
[[nodiscard]] std::string short_id(const Json::Value& id);

}  // namespace qanat::controlplane
