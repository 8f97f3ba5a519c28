// Options: the command line of the load generator.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace qanat::loadgen {

struct Options {
    std::string mode;                  // server, client, delay
    std::string listen;                // server, delay: HOST:PORT
    std::string to;                    // delay
    double delay_ms = 0;               // delay: one way
    std::string via = "direct";        // client: direct, tcp=HOST:PORT, socks5=HOST:PORT
    std::string target;                // client: where the server is
    std::string serve;                 // client: be the server as well, here
    std::string workload;              // client: bulk-down, bulk-up, crr, exchange, mixed-down, mixed-up, idle, ttfb
    std::vector<std::string> account;  // LABEL=PID
    uint64_t streams = 1;
    uint64_t pings = 1;    // mixed: small streams beside the bulk ones
    uint64_t size = 64;    // request and response, bytes
    double rate = 0;       // exchange, mixed: messages per second over all streams, 0 = closed loop
    double bulk_rate = 0;  // mixed: MB/s over all bulk streams, 0 = unlimited
    double warmup = 0.5;   // seconds
    double seconds = 2;
    double max_gb = 64;   // a run never moves more
    uint64_t count = 20;  // ttfb: connections
    double timeout = 60;  // seconds to set up and to wind down
    int core = -1;        // to pin to
    bool spin = false;
    bool spread = false;  // many loopback source addresses
};

// Ends the program with status 2 and a usage message when the command line makes no sense.
[[nodiscard]] Options parse_options(int argc, char** argv);

}  // namespace qanat::loadgen
