#include "controlplane/discovery/report.h"

#include <json/value.h>

#include "controlplane/config/addresses.h"

namespace qanat::controlplane {

void report_connection(const RedisConnection& redis, const RedisAddress& address, Json::Value& out) {
    const auto since = std::chrono::duration_cast<std::chrono::seconds>(EventLoop::now() - redis.since());
    out["address"] = format_redis_address(address);
    out["connected"] = redis.ready();
    out["since_seconds"] = Json::Int64{since.count()};
    out["connects"] = Json::UInt64{redis.connects()};
    out["failures"] = Json::UInt64{redis.failures()};
    out["last_error"] = redis.ready() ? "" : redis.last_error();
}

}  // namespace qanat::controlplane
