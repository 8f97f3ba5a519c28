// MetricsServer: the page that Prometheus reads, http://ADDRESS/metrics.
#pragma once

#include <functional>
#include <memory>

#include "common/base/result.h"
#include "common/wire/address.h"
#include "controlplane/loop/http_server.h"
#include "controlplane/metrics/metrics_page.h"

namespace qanat::controlplane {

class MetricsServer {
public:
    // Fills the page, on each request.
    using Collect = std::function<void(MetricsPage&)>;

    // Listens on `address`; port 0 picks a free one. The error names metrics.listen.
    [[nodiscard]] static Result<std::unique_ptr<MetricsServer>> open(EventLoop& loop, const wire::Endpoint& address,
                                                                     Collect collect);

    [[nodiscard]] const wire::Endpoint& address() const { return address_; }  // with the real port

private:
    MetricsServer(EventLoop& loop, UniqueFd listener, const wire::Endpoint& address, Collect collect);

    wire::Endpoint address_;
    HttpServer http_;
};

}  // namespace qanat::controlplane
