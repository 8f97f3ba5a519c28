"""What is measured: each measurement is one run of the load generator's client against one system."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One number of a measurement: where it is in the load generator's JSON, and how people read it."""
    path: str
    title: str
    unit: str
    scale: float = 1.0
    smaller_is_better: bool = True
    in_table: bool = True


@dataclass(frozen=True)
class Measurement:
    name: str
    title: str
    workload: str
    arguments: tuple = ()
    figures: tuple[Figure, ...] = ()
    streams: int = 1
    seconds: float = 2.0
    warmup: float = 0.4
    quick: bool = False
    first_round_only: bool = False  # what does not vary from round to round, or takes long
    delay_ms: float = 0             # added round trip on the line
    fresh: bool = False             # on processes that have done nothing before: memory once used is often kept
    group: str = ""
    x: float | None = None          # place on the x axis of its group's plot

    def loadgen_arguments(self, seconds: float | None) -> list:
        length = self.seconds if seconds is None else min(self.seconds, seconds)
        warmup = self.warmup if seconds is None else min(self.warmup, 0.25)
        return ["--workload", self.workload, "--streams", self.streams, "--seconds", length, "--warmup", warmup,
                *self.arguments]


PER_GB = Figure("cpu_s_per_gb", "CPU", "s/GB")
SPEED = Figure("gbit_per_second", "speed", "Gbit/s", smaller_is_better=False)
PER_OPERATION = Figure("cpu_us_per_operation", "CPU", "µs/op")
RATE = Figure("per_second", "rate", "1/s", smaller_is_better=False, in_table=False)
P50 = Figure("latency_us.p50", "p50", "µs")
P99 = Figure("latency_us.p99", "p99", "µs")
P99_9 = Figure("latency_us.p99_9", "p99.9", "µs", in_table=False)
MEMORY = Figure("memory_kib_per_stream", "memory", "KiB/stream")
SLAB = Figure("kernel_slab_kib_per_stream", "kernel slab, load generator's sockets included", "KiB/stream", in_table=False)
IDLE_CPU = Figure("idle_cpu_percent", "CPU", "%")
OPEN_COST = Figure("open_cpu_us_per_stream", "CPU to open", "µs", in_table=False)
FIRST_BYTE = Figure("latency_us.p50", "median", "ms", scale=1e-3)
FIRST_BYTE_MAX = Figure("latency_us.max", "slowest", "ms", scale=1e-3, in_table=False)


def _bulk() -> list[Measurement]:
    made = []
    for direction in ("down", "up"):
        for streams in (1, 4, 64):
            made.append(Measurement(f"bulk-{direction}-{streams}", f"bulk {direction}, {streams} streams",
                                    f"bulk-{direction}", (), (PER_GB, SPEED), streams=streams,
                                    quick=streams == 4, group=f"bulk {direction}", x=streams))
    return made


def _active() -> list[Measurement]:
    return [Measurement(f"active-{streams}", f"{streams} active streams, 2000 messages/s in all", "exchange",
                        ("--rate", 2000), (PER_OPERATION, P50, P99, P99_9), streams=streams, warmup=1.0 if streams < 10_000 else 5.0,
                        first_round_only=True, group="active", x=streams, seconds=3.0)
            for streams in (1, 10, 100, 1000, 10_000)]


ALL: list[Measurement] = [
    *_bulk(),
    Measurement("crr-1", "connect-request-response, one at a time", "crr", (), (PER_OPERATION, RATE, P50, P99),
                streams=1, group="crr", x=1),
    Measurement("crr-16", "connect-request-response, 16 at a time", "crr", (), (PER_OPERATION, RATE, P50, P99),
                streams=16, quick=True, group="crr", x=16),
    Measurement("round-trip", "round trip of 64 bytes", "exchange", (), (P50, P99, P99_9, PER_OPERATION), quick=True,
                group="latency"),
    Measurement("round-trip-spin", "round trip, load generator that never sleeps", "exchange", ("--spin",),
                (P50, P99, P99_9, PER_OPERATION), group="latency"),
    Measurement("mixed-down", "200 small messages/s beside 4 bulk streams down", "mixed-down", ("--rate", 200, "--pings", 8),
                (P50, P99, P99_9, SPEED, PER_GB), streams=4, quick=True, group="mixed"),
    Measurement("mixed-up", "200 small messages/s beside 4 bulk streams up", "mixed-up", ("--rate", 200, "--pings", 8),
                (P50, P99, P99_9, SPEED, PER_GB), streams=4, group="mixed"),
    Measurement("mixed-paced", "200 small messages/s beside 1 Gbit/s down in 4 streams", "mixed-down",
                ("--rate", 200, "--pings", 8, "--bulk-rate", 125), (P50, P99, P99_9, SPEED, PER_GB), streams=4,
                group="mixed"),
    Measurement("idle-1000", "1 000 idle streams", "idle", (), (MEMORY, IDLE_CPU, SLAB, OPEN_COST), streams=1000,
                quick=True, first_round_only=True, fresh=True, group="idle", x=1000),
    Measurement("idle-10000", "10 000 idle streams", "idle", (), (MEMORY, IDLE_CPU, SLAB, OPEN_COST), streams=10_000,
                first_round_only=True, fresh=True, group="idle", x=10_000),
    *_active(),
    Measurement("first-byte-20", "time to first byte, 20 ms of added round trip", "ttfb", ("--count", 10),
                (FIRST_BYTE, FIRST_BYTE_MAX), warmup=0.05, delay_ms=20, quick=True, first_round_only=True,
                group="first byte", x=20),
    Measurement("first-byte-100", "time to first byte, 100 ms of added round trip", "ttfb", ("--count", 10),
                (FIRST_BYTE, FIRST_BYTE_MAX), warmup=0.05, delay_ms=100, first_round_only=True, group="first byte",
                x=100),
]
BY_NAME = {measurement.name: measurement for measurement in ALL}
