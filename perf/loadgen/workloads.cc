#include "perf/loadgen/workloads.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>

#include "perf/loadgen/accounting.h"
#include "perf/loadgen/client_stream.h"
#include "perf/loadgen/fatal.h"
#include "perf/loadgen/latencies.h"
#include "perf/loadgen/service.h"

namespace qanat::loadgen {
namespace {

constexpr double kGiga = 1e9;
constexpr size_t kOpeningAtOnce = 64;  // streams that are being opened at the same time
constexpr uint64_t kSpreadOver = 64;   // source addresses
constexpr size_t kFailuresMax = 100;   // then the run ends

uint64_t ns(double seconds) {
    return static_cast<uint64_t>(seconds * 1e9);
}

class Run {
public:
    explicit Run(const Options& options) : options_(options), loop_(options.spin) {
        if (!options_.serve.empty()) service_.emplace(loop_, Endpoint::parse(options_.serve));
        route_.target = Endpoint::parse(options_.target);
        const size_t equals = options_.via.find('=');
        const std::string kind = options_.via.substr(0, equals);
        if (kind == "direct") {
            route_.first = route_.target;
        } else if ((kind == "tcp" || kind == "socks5") && equals != std::string::npos) {
            route_.first = Endpoint::parse(options_.via.substr(equals + 1));
            route_.socks5 = kind == "socks5";
        } else {
            fatal("--via is direct, tcp=HOST:PORT or socks5=HOST:PORT");
        }
        for (const std::string& root : options_.account) accounting_.add_root(root);
    }

    int run() {
        const std::string& w = options_.workload;
        if (w == "bulk-down" || w == "bulk-up")
            bulk(w == "bulk-down" ? Role::source : Role::sink);
        else if (w == "crr")
            crr();
        else if (w == "exchange")
            exchange();
        else if (w == "mixed-down" || w == "mixed-up")
            mixed(w == "mixed-down" ? Role::source : Role::sink);
        else if (w == "idle")
            idle();
        else if (w == "ttfb")
            ttfb();
        else
            fatal("unknown workload " + w);
        return finish();
    }

private:
    // ---------------------------------------------------------------- streams

    uint64_t next_seed() { return seed_ += 7919; }

    template <class S>
    void watch(S& stream) {
        stream.on_failure = [this](const std::string& why) {
            if (failures_++ == 0) first_failure_ = why;
            ++gone_;
        };
    }

    [[nodiscard]] bool hopeless() const { return failures_ > kFailuresMax || gone_ >= options_.streams; }
    [[nodiscard]] uint32_t source(size_t n) const {
        return options_.spread ? static_cast<uint32_t>(1 + n % kSpreadOver) : 0;
    }

    // Opens them all, a bounded number at a time.
    template <class S>
    bool open_all(std::vector<std::unique_ptr<S>>& streams) {
        size_t started = 0;
        size_t opened = 0;
        std::function<void()> next = [&] {
            if (started < streams.size()) {
                const size_t n = started++;
                streams[n]->open(source(n));
            }
        };
        for (auto& stream : streams) stream->on_open = [&] { ++opened, next(); };
        const uint64_t failures_before = failures_;
        for (size_t n = 0; n < kOpeningAtOnce; ++n) next();
        const bool done = loop_.run_until([&] { return opened == streams.size() || failures_ > failures_before; },
                                          now_ns() + ns(options_.timeout));
        for (auto& stream : streams) stream->on_open = nullptr;
        if (!done)
            give_up("opening " + std::to_string(streams.size()) +
                    " streams took too long, open: " + std::to_string(opened));
        return opened == streams.size();
    }

    void give_up(const std::string& why) {
        if (failures_++ == 0) first_failure_ = why;
    }

    // ---------------------------------------------------------------- measuring

    // Warm-up, then the window. `counter` is read at both ends.
    template <class Counter>
    uint64_t window(const Counter& counter, uint64_t most) {
        loop_.run_until([&] { return hopeless(); }, now_ns() + ns(options_.warmup));
        before_ = accounting_.take(false);
        const uint64_t first = counter();
        measuring_ = true;
        loop_.run_until([&] { return hopeless() || counter() - first >= most; }, now_ns() + ns(options_.seconds));
        measuring_ = false;
        after_ = accounting_.take(false);
        return counter() - first;
    }

    [[nodiscard]] double wall() const { return static_cast<double>(after_.when_ns - before_.when_ns) * 1e-9; }
    [[nodiscard]] double cpu() const { return after_.cpu_seconds() - before_.cpu_seconds(); }

    // ---------------------------------------------------------------- bulk

    template <class F>
    void with_bulk_streams(Role role, double pace, const F& body) {
        std::vector<std::unique_ptr<BulkStream>> streams;
        size_t done = 0;
        for (uint64_t n = 0; n < options_.streams; ++n) {
            streams.push_back(std::make_unique<BulkStream>(
                loop_, route_, role, next_seed(), static_cast<uint64_t>(pace / static_cast<double>(options_.streams))));
            watch(*streams.back());
            streams.back()->on_done = [&] { ++done; };
        }
        if (!open_all(streams)) return;
        body([&] {
            uint64_t sum = 0;
            for (const auto& stream : streams) sum += stream->bytes();
            return sum;
        });
        for (auto& stream : streams) stream->stop();
        if (!loop_.run_until([&] { return done + gone_ >= streams.size(); }, now_ns() + ns(options_.timeout)))
            give_up("bulk streams did not end");
    }

    void bulk(Role role) {
        with_bulk_streams(role, 0, [&](const auto& bytes) {
            const uint64_t moved = window(bytes, static_cast<uint64_t>(options_.max_gb * kGiga));
            const double gb = static_cast<double>(moved) / kGiga;
            result_.set("bytes", moved).set("gbit_per_second", gb * 8 / wall()).set("cpu_s_per_gb", cpu() / gb);
        });
    }

    // ---------------------------------------------------------------- small messages

    std::vector<std::unique_ptr<ExchangeStream>> exchange_streams(uint64_t count) {
        std::vector<std::unique_ptr<ExchangeStream>> streams;
        const auto size = static_cast<uint32_t>(options_.size);
        for (uint64_t n = 0; n < count; ++n) {
            streams.push_back(std::make_unique<ExchangeStream>(loop_, route_, size, size, next_seed()));
            watch(*streams.back());
        }
        return streams;
    }

    // Open loop: message k is due at start + k/rate on stream k mod n, and its latency counts from then, also when the
    // stream was still busy (no coordinated omission).
    struct Schedule {
        uint64_t start = 0;
        uint64_t next = 0;
        std::vector<std::vector<uint64_t>> due;  // per stream: messages that wait for it
    };

    void start_traffic(std::vector<std::unique_ptr<ExchangeStream>>& streams) {
        if (options_.rate <= 0) {
            for (auto& stream : streams) {
                ExchangeStream* one = stream.get();
                one->on_response = [this, one] {
                    count(now_ns() - one->requested_at());
                    if (!ending_) one->request();
                };
                one->request();
            }
            return;
        }
        schedule_ = std::make_unique<Schedule>();
        schedule_->start = now_ns();
        schedule_->due.resize(streams.size());
        for (size_t n = 0; n < streams.size(); ++n) {
            ExchangeStream* one = streams[n].get();
            one->on_response = [this, one, n] {
                auto& waiting = schedule_->due[n];
                count(now_ns() - waiting.front());
                waiting.erase(waiting.begin());
                if (!waiting.empty() && !ending_) one->request();
            };
        }
        tick(streams);
    }

    void tick(std::vector<std::unique_ptr<ExchangeStream>>& streams) {
        if (ending_) return;
        const double gap = 1e9 / options_.rate;
        while (true) {
            const uint64_t when = schedule_->start + static_cast<uint64_t>(static_cast<double>(schedule_->next) * gap);
            if (when > now_ns()) {
                loop_.call_at(when, [this, &streams] { tick(streams); });
                return;
            }
            const size_t n = schedule_->next++ % streams.size();
            if (!streams[n]->is_open()) continue;
            schedule_->due[n].push_back(when);
            if (schedule_->due[n].size() == 1) streams[n]->request();
        }
    }

    void count(uint64_t latency) {
        ++operations_;
        if (measuring_) latencies_.add(latency);
    }

    void end_traffic(const std::vector<std::unique_ptr<ExchangeStream>>& streams) {
        ending_ = true;
        const auto quiet = [&] {
            for (const auto& stream : streams)
                if (stream->is_open() && stream->waiting()) return false;
            return true;
        };
        if (!loop_.run_until(quiet, now_ns() + ns(options_.timeout))) give_up("responses are missing");
    }

    void exchange() {
        auto streams = exchange_streams(options_.streams);
        if (!open_all(streams)) return;
        start_traffic(streams);
        const uint64_t done = window([&] { return operations_; }, UINT64_MAX);
        set_operations(done);
        end_traffic(streams);
        result_.set("latency_us", latencies_.summary());
    }

    void set_operations(uint64_t done) {
        const auto operations = static_cast<double>(done);
        result_.set("operations", done).set("per_second", operations / wall());
        result_.set("cpu_us_per_operation", done == 0 ? 0 : cpu() * 1e6 / operations);
    }

    void mixed(Role role) {
        with_bulk_streams(role, options_.bulk_rate * 1e6, [&](const auto& bytes) {
            auto streams = exchange_streams(options_.pings);
            if (!open_all(streams)) return;
            start_traffic(streams);
            const uint64_t moved = window(bytes, static_cast<uint64_t>(options_.max_gb * kGiga));
            end_traffic(streams);
            const double gb = static_cast<double>(moved) / kGiga;
            result_.set("bytes", moved).set("gbit_per_second", gb * 8 / wall()).set("cpu_s_per_gb", cpu() / gb);
            result_.set("latency_us", latencies_.summary());
        });
    }

    void crr() {
        auto streams = exchange_streams(options_.streams);
        uint64_t at_work = 0;
        size_t opened = 0;
        std::function<void(ExchangeStream&)> again = [&](ExchangeStream& stream) {
            stream.restart();
            begun_[&stream] = now_ns();
            ++at_work;
            stream.open(source(opened++));
        };
        for (auto& stream : streams) {
            ExchangeStream* one = stream.get();
            one->on_open = [one] { one->request(); };
            one->on_response = [&, one] {
                count(now_ns() - begun_[one]);
                one->close();
                --at_work;
                if (!ending_) again(*one);
            };
            one->on_failure = [&](const std::string& why) {
                if (failures_++ == 0) first_failure_ = why;
                --at_work;
            };
            again(*one);
        }
        const uint64_t done = window([&] { return operations_; }, UINT64_MAX);
        set_operations(done);
        ending_ = true;
        if (!loop_.run_until([&] { return at_work == 0; }, now_ns() + ns(options_.timeout)))
            give_up("connections did not end");
        result_.set("latency_us", latencies_.summary());
    }

    // From the first SYN to the first byte of the answer, one connection after the other.
    void ttfb() {
        options_.streams = 1;
        for (uint64_t n = 0; n < options_.count + 1 && failures_ == 0; ++n) {
            auto streams = exchange_streams(1);
            ExchangeStream& stream = *streams.front();
            bool answered = false;
            const uint64_t start = now_ns();
            stream.on_open = [&] { stream.request(); };
            stream.on_response = [&] { answered = true; };
            stream.open(source(n));
            if (!loop_.run_until([&] { return answered || failures_ > 0; }, now_ns() + ns(options_.timeout)))
                return give_up("no answer");
            if (answered && n > 0) latencies_.add(now_ns() - start);  // the first one warms up
            stream.close();
            loop_.run_until([] { return false; }, now_ns() + ns(options_.warmup));  // pause between connections
        }
        result_.set("latency_us", latencies_.summary());
    }

    void idle() {
        const Snapshot empty = accounting_.take(true);
        auto streams = exchange_streams(options_.streams);
        if (!open_all(streams) || !one_round(streams)) return;
        window([] { return uint64_t{0}; }, UINT64_MAX);
        const Snapshot full = accounting_.take(true);
        const auto count = static_cast<double>(options_.streams);
        const auto growth = [&](uint64_t after, uint64_t before) {
            return (static_cast<double>(after) - static_cast<double>(before)) / count;
        };
        result_.set("memory_kib_empty", empty.memory_kib()).set("memory_kib", full.memory_kib());
        result_.set("memory_kib_per_stream", growth(full.memory_kib(), empty.memory_kib()));
        result_.set("kernel_slab_kib_per_stream", growth(full.kernel_slab_kib, empty.kernel_slab_kib));
        result_.set("open_cpu_us_per_stream", (before_.cpu_seconds() - empty.cpu_seconds()) * 1e6 / count);
        result_.set("idle_cpu_percent", cpu() / wall() * 100);
        if (!one_round(streams)) return;
        for (auto& stream : streams) stream->close();
        loop_.run_until([] { return false; }, now_ns() + ns(0.5));
        const Snapshot closed = accounting_.take(true);
        result_.set("memory_kib_closed", closed.memory_kib());
    }

    // One message on each stream.
    bool one_round(std::vector<std::unique_ptr<ExchangeStream>>& streams) {
        size_t answered = 0;
        size_t asked = 0;
        const auto next = [&] {
            if (asked < streams.size()) streams[asked++]->request();
        };
        for (auto& stream : streams) stream->on_response = [&] { ++answered, next(); };
        for (size_t n = 0; n < kOpeningAtOnce; ++n) next();
        if (loop_.run_until([&] { return answered == streams.size() || failures_ > 0; },
                            now_ns() + ns(options_.timeout)) &&
            failures_ == 0)
            return true;
        give_up("an idle stream did not answer");
        return false;
    }

    // ---------------------------------------------------------------- result

    int finish() {
        if (service_ && service_->content_errors() > 0) give_up("the server saw wrong content");
        result_.set("workload", options_.workload).set("streams", options_.streams);
        result_.set("wall_seconds", wall()).set("cpu_seconds", cpu());
        Json parts;
        for (const auto group : {&Snapshot::parts, &Snapshot::programs})
            for (const auto& [label, usage] : after_.*group) {
                const auto found = (before_.*group).find(label);
                const double start = found == (before_.*group).end() ? 0 : found->second.cpu_seconds;
                parts.set(label, usage.cpu_seconds - start);
            }
        result_.set("cpu_seconds_by_part", parts);
        Json cores;
        for (size_t n = 0; n < after_.core_busy_seconds.size() && n < before_.core_busy_seconds.size(); ++n)
            cores.set(std::to_string(n), after_.core_busy_seconds[n] - before_.core_busy_seconds[n]);
        result_.set("core_busy_seconds", cores);
        result_.set("failures", failures_);
        if (failures_ > 0) result_.set("first_failure", first_failure_);
        std::printf("%s\n", result_.text().c_str());
        return failures_ > 0 ? 1 : 0;
    }

    Options options_;
    EventLoop loop_;
    Route route_;
    std::optional<Service> service_;
    Accounting accounting_;
    Snapshot before_;
    Snapshot after_;
    Latencies latencies_;
    Json result_;
    std::unique_ptr<Schedule> schedule_;
    std::unordered_map<ExchangeStream*, uint64_t> begun_;
    uint64_t seed_ = 1;
    uint64_t operations_ = 0;
    uint64_t failures_ = 0;
    uint64_t gone_ = 0;
    std::string first_failure_;
    bool measuring_ = false;
    bool ending_ = false;
};

}  // namespace

int run_client(const Options& options) {
    return Run(options).run();
}

}  // namespace qanat::loadgen
