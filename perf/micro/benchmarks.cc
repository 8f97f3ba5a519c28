// Micro benchmarks, one layer on top of the other: copy, AEAD, record, key schedule; then handshake, rings, parsing
// and the choice of a hop. Read them as differences: what a layer adds to the one below it.
#include <benchmark/benchmark.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "common/ring/region.h"
#include "perf/micro/handshakes.h"
#include "perf/micro/parts.h"
#include "perf/micro/pinning.h"

namespace qanat::perf {
namespace {

using crypto::Suite;

constexpr int64_t kSizes[] = {64, 1024, 4096, 16384};

void count_bytes(benchmark::State& state, size_t each) {
    state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(each));
}

// Over a working set that does not fit the second-level cache when it is large: bytes of a stream are touched once.
void copy(benchmark::State& state) {
    const auto size = static_cast<size_t>(state.range(0));
    const size_t slots = static_cast<size_t>(state.range(1)) / size;
    std::vector<uint8_t> from(slots * size, 1);
    std::vector<uint8_t> to(slots * size);
    size_t slot = 0;
    for (auto _ : state) {
        std::memcpy(to.data() + slot * size, from.data() + slot * size, size);
        benchmark::ClobberMemory();
        slot = slot + 1 == slots ? 0 : slot + 1;
    }
    count_bytes(state, size);
}
BENCHMARK(copy)->Args({16384, 16384})->Args({16384, 512 << 10})->Args({16384, 64 << 20});

void aead_seal(benchmark::State& state, Suite suite) {
    if (!crypto::Aead::supports(suite)) return state.SkipWithError("not supported on this processor");
    const auto size = static_cast<size_t>(state.range(0));
    std::vector<uint8_t> data(size + crypto::kAeadTagSize);
    const std::array<uint8_t, crypto::kKeySizeMax> key{1};
    crypto::Aead aead;
    aead.expand(suite, Bytes(key).first(crypto::key_size(suite)));
    std::array<uint8_t, crypto::kNonceSize> nonce{};
    const std::array<uint8_t, 5> aad{};
    for (auto _ : state) {
        ++nonce[0];
        aead.seal(nonce, aad, data.data(), size, data.data() + size);
    }
    count_bytes(state, size);
}

void aead_expand(benchmark::State& state, Suite suite) {
    if (!crypto::Aead::supports(suite)) return state.SkipWithError("not supported on this processor");
    const std::array<uint8_t, crypto::kKeySizeMax> key{1};
    crypto::Aead aead;
    for (auto _ : state) aead.expand(suite, Bytes(key).first(crypto::key_size(suite)));
}

void record_seal(benchmark::State& state, Suite suite) {
    const auto size = static_cast<size_t>(state.range(0));
    RecordPair pair(suite, size);
    for (auto _ : state) benchmark::DoNotOptimize(pair.seal());
    count_bytes(state, size);
}

void record_seal_and_open(benchmark::State& state, Suite suite) {
    const auto size = static_cast<size_t>(state.range(0));
    RecordPair pair(suite, size);
    for (auto _ : state) {
        benchmark::DoNotOptimize(pair.seal());
        benchmark::DoNotOptimize(pair.open());
    }
    count_bytes(state, size);
}

void register_ciphers() {
    for (const Suite suite : {Suite::aes_128_gcm, Suite::aes_256_gcm, Suite::chacha20_poly1305}) {
        const std::string name(crypto::suite_name(suite));
        const auto sizes = [](benchmark::internal::Benchmark* b) {
            for (const int64_t size : kSizes) b->Arg(size);
        };
        sizes(benchmark::RegisterBenchmark(("aead_seal/" + name).c_str(), aead_seal, suite));
        benchmark::RegisterBenchmark(("aead_expand/" + name).c_str(), aead_expand, suite);
        sizes(benchmark::RegisterBenchmark(("record_seal/" + name).c_str(), record_seal, suite));
        sizes(benchmark::RegisterBenchmark(("record_seal_and_open/" + name).c_str(), record_seal_and_open, suite));
    }
}

template <uint64_t (*once)()>
void part(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(once());
}
BENCHMARK(part<key_schedule>)->Name("stream_key_schedule");
BENCHMARK(part<socks_by_name>)->Name("socks_by_name");
BENCHMARK(part<socks_byte_by_byte>)->Name("socks_byte_by_byte");
BENCHMARK(part<address_round>)->Name("address_round");
BENCHMARK(part<stream_messages>)->Name("stream_messages");

void replay_window(benchmark::State& state) {
    ReplayStep step;
    for (auto _ : state) benchmark::DoNotOptimize(step.step());
}
BENCHMARK(replay_window);

void plan_pick(benchmark::State& state, ring::PlanRule rule) {
    PlanPick plan(rule, static_cast<uint32_t>(state.range(0)));
    for (auto _ : state) benchmark::DoNotOptimize(plan.pick());
}
BENCHMARK_CAPTURE(plan_pick, random, ring::PlanRule::random)->Arg(1)->Arg(100)->Arg(10'000);
BENCHMARK_CAPTURE(plan_pick, round_robin, ring::PlanRule::round_robin)->Arg(1)->Arg(100)->Arg(10'000);
BENCHMARK_CAPTURE(plan_pick, weighted, ring::PlanRule::weighted)->Arg(1)->Arg(100)->Arg(10'000);
BENCHMARK_CAPTURE(plan_pick, ordered, ring::PlanRule::ordered)->Arg(1)->Arg(100)->Arg(10'000);

// ------------------------------------------------------------------------------------------------------- handshake

void handshake_client(benchmark::State& state) {
    HandshakePair pair;
    for (auto _ : state) {
        pair.client_starts();
        state.PauseTiming();
        pair.node_answers();
        state.ResumeTiming();
        pair.client_finishes();
    }
}
BENCHMARK(handshake_client);

void handshake_node(benchmark::State& state) {
    HandshakePair pair;
    for (auto _ : state) {
        state.PauseTiming();
        pair.client_starts();
        state.ResumeTiming();
        pair.node_answers();
    }
}
BENCHMARK(handshake_node);

// What a stranger costs a node: the gate alone.
void handshake_gate_refusal(benchmark::State& state) {
    HandshakePair pair;
    pair.client_starts();
    for (auto _ : state) pair.node_refuses_stranger();
}
BENCHMARK(handshake_gate_refusal);

// ----------------------------------------------------------------------------------------------------------- rings

void ring_pass(benchmark::State& state) {
    RingPass ring(static_cast<size_t>(state.range(0)));
    for (auto _ : state) benchmark::DoNotOptimize(ring.pass());
}
BENCHMARK(ring_pass)->Name("ring_one_thread")->Arg(64)->Arg(1008);

enum class Waiting { spin, sleep };

void ring_a_bell(int fd) {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(fd, &one, sizeof one);
}

void wait_for_bell(int fd) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(fd, &count, sizeof count);
}

void take_one(ring::SpscConsumer& consumer, ring::SlotCopy& copy, Waiting waiting, int bell) {
    while (!consumer.read(copy)) {
        if (waiting == Waiting::spin)
            sched_yield();
        else if (consumer.prepare_to_sleep())
            wait_for_bell(bell);
    }
    consumer.release();
}

// A message to a process on another core and its answer: what a question to the control plane costs at least.
void ring_two_processes(benchmark::State& state, Waiting waiting) {
    auto region = ring::Region::create(1);
    if (!region) return state.SkipWithError("no shared memory");
    ring::EngineSection& section = region->engine(0);
    const int there = eventfd(0, EFD_CLOEXEC);
    const int back = eventfd(0, EFD_CLOEXEC);
    const std::array<uint8_t, 64> message{};
    pin_to(0);
    const pid_t child = fork();
    if (child == 0) {
        pin_to(1);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        ring::SpscConsumer in(section.commands);
        ring::SpscProducer out(section.events);
        ring::SlotCopy copy;
        while (true) {
            take_one(in, copy, waiting, there);
            if (!out.try_write(ring::MessageType::resolve, message)) _exit(1);
            if (out.publish()) ring_a_bell(back);
        }
    }
    {
        ring::SpscProducer out(section.commands);
        ring::SpscConsumer in(section.events);
        ring::SlotCopy copy;
        for (auto _ : state) {
            if (!out.try_write(ring::MessageType::resolve_result, message)) break;
            if (out.publish()) ring_a_bell(there);
            take_one(in, copy, waiting, back);
        }
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    close(there);
    close(back);
}
BENCHMARK_CAPTURE(ring_two_processes, spinning, Waiting::spin)->UseRealTime();
BENCHMARK_CAPTURE(ring_two_processes, sleeping, Waiting::sleep)->UseRealTime();

}  // namespace
}  // namespace qanat::perf

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::AddCustomContext("cipher", qanat::crypto::Aead::provider_name());
    qanat::perf::register_ciphers();
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
