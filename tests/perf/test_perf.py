"""The performance harness itself: it compiles, it works, and it notices when something is wrong. No figure is judged.

QANAT_BIN names a folder with qanat-loadgen (a build with -DQANAT_BENCH=ON); without it, what needs the programs is
skipped.
"""

import importlib.machinery
import importlib.util
import json
import os
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("QANAT_BIN", ROOT / "build" / "perf" / "bin"))
LOADGEN = BIN / "qanat-loadgen"

sys.path.insert(0, str(ROOT / "perf"))
from harness import measurements, plots, report, runner, summary, systems  # noqa: E402

needs_loadgen = pytest.mark.skipif(not LOADGEN.exists(), reason="no qanat-loadgen: build with -DQANAT_BENCH=ON")


def free_port() -> int:
    for _ in range(1000):
        port = random.randrange(18000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def client(*arguments, via: int | None = None, port: int | None = None) -> tuple[int, dict]:
    """Exit status and result of a short run whose server is in the same process."""
    port = port or free_port()
    through = ["--via", f"tcp=127.0.0.1:{via}"] if via else []
    done = subprocess.run([str(part) for part in (
        LOADGEN, "client", "--target", f"127.0.0.1:{port}", "--serve", f"127.0.0.1:{port}", "--seconds", 0.2, "--warmup",
        0.05, "--timeout", 10, *through, *arguments)], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else {"stderr": done.stderr}


@needs_loadgen
@pytest.mark.parametrize("workload", [
    ("bulk-down", "--streams", 4), ("bulk-up", "--streams", 4), ("crr", "--streams", 4), ("exchange", "--streams", 3),
    ("exchange", "--streams", 50, "--rate", 500), ("mixed-down", "--streams", 2, "--rate", 100),
    ("mixed-up", "--streams", 2, "--rate", 100, "--bulk-rate", 20), ("idle", "--streams", 100), ("ttfb", "--count", 3)],
    ids=lambda workload: "-".join(str(part).strip("-") for part in workload))
def test_every_workload_runs(workload):
    status, result = client("--workload", *workload)
    assert (status, result["failures"]) == (0, 0), result
    assert result.get("bytes", 1) > 0 and result.get("operations", 1) > 0
    if workload[0] in ("exchange", "crr", "ttfb"):
        assert result["latency_us"]["count"] > 0


class Hop:
    """A TCP relay that may change one byte of what it carries."""

    def __init__(self, to: int, spoil_at: int | None = None):
        self._to = to
        self._spoil_at = spoil_at
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            threading.Thread(target=self._carry, args=(near, far, None), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, self._spoil_at), daemon=True).start()

    @staticmethod
    def _carry(source, sink, spoil_at):
        seen = 0
        try:
            while data := bytearray(source.recv(65536)):
                if spoil_at is not None and seen <= spoil_at < seen + len(data):
                    data[spoil_at - seen] ^= 1
                seen += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self._listener.close()


@needs_loadgen
@pytest.mark.parametrize("workload", ["bulk-down", "exchange"])
@pytest.mark.parametrize("spoil_at", [None, 0, 40, 3_000], ids=lambda at: f"spoil-{at}")
def test_one_wrong_byte_is_noticed(workload, spoil_at):
    port = free_port()
    hop = Hop(port, spoil_at)
    try:
        status, result = client("--workload", workload, via=hop.port, port=port)
    finally:
        hop.close()
    if spoil_at is None:
        assert status == 0, result
    else:
        assert status == 1 and result["failures"] > 0, result
        assert result["first_failure"].startswith(("wrong content", "the sender counted")), result


@needs_loadgen
def test_the_delay_hop_delays_each_direction():
    port, near = free_port(), free_port()
    hop = subprocess.Popen([str(LOADGEN), "delay", "--listen", f"127.0.0.1:{near}", "--to", f"127.0.0.1:{port}",
                            "--delay-ms", "20"], stdout=subprocess.PIPE, text=True)
    try:
        assert hop.stdout.readline() == "ready\n"
        status, result = client("--workload", "ttfb", "--count", 3, via=near, port=port)
    finally:
        hop.terminate()
        hop.wait(10)
    # A round trip for the connection, one for the request: 80 ms.
    assert status == 0 and 79_000 < result["latency_us"]["p50"] < 200_000, result


@needs_loadgen
def test_cpu_time_is_that_of_the_process_and_its_children():
    burner = subprocess.Popen(["sh", "-c", "while :; do :; done & while :; do :; done"], start_new_session=True)
    try:
        _, result = client("--workload", "exchange", "--account", f"burner={burner.pid}")
    finally:
        os.killpg(burner.pid, 9)
        burner.wait()
    assert result["cpu_seconds"] > 0.02 and "burner" in result["cpu_seconds_by_part"], result


@pytest.mark.skipif(not (BIN / "qanat-micro").exists(), reason="no qanat-micro")
def test_every_micro_benchmark_runs():
    done = subprocess.run([str(BIN / "qanat-micro"), "--benchmark_min_time=0.0001", "--benchmark_format=json"],
                          capture_output=True, text=True, timeout=120, check=False)
    found = json.loads(done.stdout)["benchmarks"]
    assert done.returncode == 0 and len(found) > 40
    assert not [one["name"] for one in found if one.get("error_occurred") and "not supported" not in one["error_message"]]


def made_up_results() -> runner.Results:
    results = runner.Results()
    for number, (own, reference) in enumerate(((2.0, 1.0), (4.0, 2.0), (3.0, 1.5))):
        for name, value in (("qanat-chain", own), ("haproxy-tcp", reference)):
            results.samples.append({"system": name, "measurement": "bulk-down-4", "round": number, "ok": True,
                                    "others": 0.0, "result": {"cpu_s_per_gb": value, "gbit_per_second": 1 / value}})
    results.samples.append({"system": "qanat-chain", "measurement": "bulk-down-4", "round": 3, "ok": False, "others": 0.0,
                            "result": {"cpu_s_per_gb": 99.0}})
    return results


def test_summary_has_medians_spread_and_ratios_and_leaves_failed_samples_out():
    chosen = [systems.HAProxy(), systems.QanatChain()]
    found = summary.summarise(made_up_results(), chosen, [measurements.BY_NAME["bulk-down-4"]])
    assert found["bulk-down-4"]["CPU (s/GB)"]["qanat-chain"] == {"median": 3.0, "low": 2.0, "high": 4.0, "count": 3,
                                                                  "ratio": 2.0}
    assert "qanat-chain" in summary.table(found, chosen, [measurements.BY_NAME["bulk-down-4"]])


def test_the_report_is_one_file_that_loads_nothing():
    chosen = [systems.HAProxy(), systems.QanatChain()]
    results = made_up_results()
    page = report.render({
        "when": "now", "machine": {"cpu": "<cpu>", "cores": 2, "virtual": True, "kernel": "6", "congestion_control": "cubic", "commit": "c"},
        "settings": {"rounds": 3}, "systems": {one.name: {"title": one.title, "kind": one.kind, "versions": []}
                                               for one in chosen},
        "summary": summary.summarise(results, chosen, [measurements.BY_NAME["bulk-down-4"]]),
        "samples": results.samples, "problems": ["a <problem>"]})
    assert "&lt;cpu&gt;" in page and "a &lt;problem&gt;" in page and "<svg" in page
    for loading in ("<script", "src=", "href=", "url(", "@import"):
        assert loading not in page


def test_plots_cope_with_zero_and_with_one_point():
    cell = {"median": 0.0, "low": 0.0, "high": 0.0, "count": 1, "ratio": None}
    assert "<svg" in plots.bars({"a": cell}, ["a"], "s", True)
    assert plots.lines({"a": [(1, 2.0)]}, "x", "y") == ""


def test_measurements_and_systems_have_names_of_their_own():
    assert len(measurements.BY_NAME) == len(measurements.ALL)
    assert len({one.name for one in systems.ALL}) == len(systems.ALL)
    assert any(one.quick for one in measurements.ALL)


def test_instruction_counts_are_judged_by_the_tolerance(capsys):
    path = ROOT / "perf" / "check-instructions"
    loader = importlib.machinery.SourceFileLoader("check_instructions", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_instructions", loader))
    loader.exec_module(module)
    assert module.compare({"a": 100.0}, {"a": 104.9}, 5) == 0
    assert module.compare({"a": 100.0}, {"a": 105.1}, 5) == 1
    assert module.compare({"a": 100.0}, {"a": 50.0}, 5) == 0
    assert module.compare({"a": 100.0}, {}, 5) == 1
    assert "dearer" in capsys.readouterr().out
    assert json.loads(module.BASELINE.read_text())["instructions_per_call"]
