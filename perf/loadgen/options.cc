#include "perf/loadgen/options.h"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>

namespace qanat::loadgen {
namespace {

constexpr const char* kUsage =
    R"(usage: qanat-loadgen server --listen HOST:PORT [--core N]
       qanat-loadgen delay  --listen HOST:PORT --to HOST:PORT --delay-ms MS [--core N]
       qanat-loadgen client --target HOST:PORT --workload W [--via direct | tcp=HOST:PORT | socks5=HOST:PORT]

  --workload   bulk-down bulk-up   --streams N
               crr                 connect, request, response, close; --streams N at a time
               exchange            --streams N, closed loop or --rate messages/s over all of them
               mixed-down mixed-up --streams N bulk beside --pings N small ones; --rate, --bulk-rate MB/s
               idle                --streams N opened, used once, held, used again
               ttfb                --count N connections, one after the other
  --seconds S --warmup S --timeout S --max-gb G     bounds of a run
  --size BYTES                                      of a request and of a response
  --account LABEL=PID                               CPU and memory of this process and its descendants (repeatable)
  --serve HOST:PORT                                 client: be the server as well, in the same thread
  --core N --spin --spread                          pin; never sleep; many loopback source addresses

The client prints one JSON object and ends with 0 when every stream ended well and every byte was right.
)";

[[noreturn]] void usage(const std::string& why) {
    std::fprintf(stderr, "qanat-loadgen: %s\n%s", why.c_str(), kUsage);
    std::exit(2);
}

}  // namespace

Options parse_options(int argc, char** argv) {
    Options options;
    std::map<std::string, std::function<void(const std::string&)>> values;
    const auto text = [&](const char* name, std::string& field) {
        values[name] = [&field](const std::string& value) { field = value; };
    };
    const auto real = [&](const char* name, double& field) {
        values[name] = [&field](const std::string& value) { field = std::atof(value.c_str()); };
    };
    const auto number = [&](const char* name, uint64_t& field) {
        values[name] = [&field](const std::string& value) { field = std::strtoull(value.c_str(), nullptr, 10); };
    };
    text("--listen", options.listen);
    text("--to", options.to);
    text("--via", options.via);
    text("--target", options.target);
    text("--serve", options.serve);
    text("--workload", options.workload);
    real("--delay-ms", options.delay_ms);
    real("--rate", options.rate);
    real("--bulk-rate", options.bulk_rate);
    real("--warmup", options.warmup);
    real("--seconds", options.seconds);
    real("--max-gb", options.max_gb);
    real("--timeout", options.timeout);
    number("--streams", options.streams);
    number("--pings", options.pings);
    number("--size", options.size);
    number("--count", options.count);
    values["--account"] = [&](const std::string& value) { options.account.push_back(value); };
    values["--core"] = [&](const std::string& value) { options.core = std::atoi(value.c_str()); };

    if (argc < 2) usage("a mode is missing");
    if (std::string(argv[1]) == "--help") {
        std::fputs(kUsage, stdout);
        std::exit(0);
    }
    options.mode = argv[1];
    if (options.mode.starts_with("--")) options.mode = options.mode.substr(2);
    for (int n = 2; n < argc; ++n) {
        const std::string name = argv[n];
        if (name == "--spin") {
            options.spin = true;
        } else if (name == "--spread") {
            options.spread = true;
        } else if (const auto found = values.find(name); found == values.end()) {
            usage("unknown option " + name);
        } else if (++n == argc) {
            usage(name + " takes a value");
        } else {
            found->second(argv[n]);
        }
    }
    if (options.mode == "server" && options.listen.empty()) usage("server takes --listen");
    if (options.mode == "delay" && (options.listen.empty() || options.to.empty()))
        usage("delay takes --listen and --to");
    if (options.mode == "client" && (options.target.empty() || options.workload.empty()))
        usage("client takes --target and --workload");
    if (options.mode != "server" && options.mode != "delay" && options.mode != "client") usage("unknown mode");
    if (options.streams == 0 || options.size == 0 || options.size > 16384) usage("--streams and --size are at least 1");
    return options;
}

}  // namespace qanat::loadgen
