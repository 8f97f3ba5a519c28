// qanat-loadgen: an independent load generator for TCP proxies. It shares no code with what it measures but the
// descriptor wrapper; perf/README.md says how it is used.
#include <sched.h>

#include <csignal>
#include <cstdio>

#include "perf/loadgen/delay_hop.h"
#include "perf/loadgen/fatal.h"
#include "perf/loadgen/options.h"
#include "perf/loadgen/service.h"
#include "perf/loadgen/sockets.h"
#include "perf/loadgen/workloads.h"

namespace {

volatile std::sig_atomic_t stop_requested = 0;

void pin_to(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(core), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) qanat::loadgen::fatal("this core does not exist");
}

// Until SIGTERM or SIGINT.
void run_until_signal(qanat::loadgen::EventLoop& loop) {
    std::signal(SIGTERM, [](int) { stop_requested = 1; });
    std::signal(SIGINT, [](int) { stop_requested = 1; });
    std::printf("ready\n");
    std::fflush(stdout);
    loop.run_until([] { return stop_requested != 0; }, UINT64_MAX);
}

}  // namespace

int main(int argc, char** argv) {
    using namespace qanat::loadgen;
    const Options options = parse_options(argc, argv);
    raise_fd_limit();
    if (options.core >= 0) pin_to(options.core);
    if (options.mode == "client") return run_client(options);

    EventLoop loop(options.spin);
    if (options.mode == "server") {
        Service service(loop, Endpoint::parse(options.listen));
        run_until_signal(loop);
        return service.content_errors() == 0 ? 0 : 1;
    }
    DelayHop hop(loop, Endpoint::parse(options.listen), Endpoint::parse(options.to),
                 static_cast<uint64_t>(options.delay_ms * 1e6));
    run_until_signal(loop);
    return 0;
}
