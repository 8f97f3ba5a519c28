// What the data plane gives up before it touches the network.
#pragma once

#include <string_view>

#include "common/base/result.h"

namespace qanat::dataplane {

// Started as root: becomes `user` for good, keeping only the right to listen on ports below 1024. In every case: no new
// privileges through exec, no core dumps, no reading by other processes of the same user (session keys live here).
// Must be called before any other thread exists.
[[nodiscard]] Result<void> drop_privileges(std::string_view user);

}  // namespace qanat::dataplane
