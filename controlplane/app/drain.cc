#include "controlplane/app/drain.h"

#include "controlplane/app/json_line.h"

namespace qanat::controlplane {

void DrainWatchers::tell(uint64_t streams, std::optional<uint64_t> seconds_left) {
    Json::Value line;
    line["draining"] = true;
    line["streams"] = Json::UInt64{streams};
    if (seconds_left) line["seconds_left"] = Json::UInt64{*seconds_left};
    std::erase_if(watchers_, [](const AdminServer::Reply& reply) { return reply.gone(); });
    for (const AdminServer::Reply& reply : watchers_) reply.progress(to_line(line));
}

void DrainWatchers::finish(uint64_t cut) {
    Json::Value line;
    line["draining"] = false;
    line["streams"] = Json::UInt64{0};
    line["cut"] = Json::UInt64{cut};
    for (const AdminServer::Reply& reply : watchers_) reply.finish(to_line(line));
    watchers_.clear();
}

}  // namespace qanat::controlplane
