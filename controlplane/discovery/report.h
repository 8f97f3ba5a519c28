// The part of `qanat status` that is about a connection to Redis.
#pragma once

#include <json/forwards.h>

#include "controlplane/discovery/redis_connection.h"

namespace qanat::controlplane {

// Sets address (without user and password), connected, since_seconds, connects, failures and last_error, which is empty
// while connected.
void report_connection(const RedisConnection& redis, const RedisAddress& address, Json::Value& out);

}  // namespace qanat::controlplane
