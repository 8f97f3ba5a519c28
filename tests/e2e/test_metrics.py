"""The metrics for Prometheus: valid, true, and for this machine only."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from harness import free_port, qanat, run, wait_until
from socks5 import dial

SAMPLE = re.compile(r'(\w+)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def fetch(port: int, path: str = "/metrics", *arguments) -> str:
    done = run("curl", "--silent", "--show-error", "--fail", *arguments, f"http://127.0.0.1:{port}{path}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def samples(port: int) -> list[tuple[str, dict, float]]:
    found = []
    for line in fetch(port).splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        found.append((name, dict(LABEL.findall(labels or "")), float(value)))
    return found


def total(port: int, name: str, **labels) -> float:
    """The sum over the engines; fails if there is no such sample."""
    values = [value for own, own_labels, value in samples(port)
              if own == f"qanat_{name}" and labels.items() <= own_labels.items()]
    assert values, name
    return sum(values)


@pytest.fixture
def measured(network):
    """A node and a client with metrics: (client, its port, node, its port)."""
    node_port, client_port = free_port(), free_port()
    node = network.node("--metrics", f"127.0.0.1:{node_port}")
    client = network.client(node, arguments=("--metrics", f"127.0.0.1:{client_port}"))
    return client, client_port, node, node_port


def test_promtool_has_nothing_to_say(measured, echo):
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed")
    client, client_port, _, node_port = measured
    with dial(client.socks, echo) as app:
        app.send(b"x")
        app.receive(1)
    for port in (client_port, node_port):
        checked = subprocess.run(["promtool", "check", "metrics"], input=fetch(port), capture_output=True, text=True,
                                 timeout=30, check=False)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_numbers_are_true(measured, echo):
    client, client_port, node, node_port = measured
    size = 50_000
    with dial(client.socks, echo) as app:
        app.send(bytes(size))
        app.receive(size)
        wait_until(lambda: total(client_port, "stream_bytes_total", direction="down") == size, 5, "the bytes")
        for port in (client_port, node_port):
            assert total(port, "streams_active") == 1
        app.sock.shutdown(socket.SHUT_WR)
        assert app.end() == "eof"
    for port in (client_port, node_port):
        wait_until(lambda port=port: total(port, "streams_ended_total", reason="completed") == 1, 5, "the end")
        assert total(port, "streams_active") == 0
        assert total(port, "stream_bytes_total", direction="up") == size
        assert total(port, "build_info", version=qanat("version").stdout.split()[1]) == 1
        assert total(port, "ready") == 1 and total(port, "draining") == 0
        assert total(port, "memory_budget_bytes") > 1 << 20
        assert total(port, "open_descriptors", process="data_plane") > 3
        assert total(port, "open_descriptors", process="control_plane") < total(port, "open_descriptors_max")
        assert total(port, "ring_messages") < total(port, "ring_messages_max")
        assert total(port, "data_plane_restarts_total") == 0
    engines = {labels["engine"] for _, labels, _ in samples(client_port) if "engine" in labels}
    assert engines == {str(number) for number in range(client.status()["data_plane"]["engines"])}


def test_open_times(measured, echo):
    client, client_port, node, node_port = measured
    for _ in range(5):
        dial(client.socks, echo).close()
    for port in (client_port, node_port):
        wait_until(lambda port=port: total(port, "stream_open_seconds_count") == 5, 5, "five streams")
        # A target on this machine may be reached within one turn of the engine, whose clock stands still in it.
        assert 0 <= total(port, "stream_open_seconds_sum") < 25
        assert total(port, "stream_open_seconds_bucket", le="+Inf") == 5
        buckets = [value for name, labels, value in samples(port)
                   if name == "qanat_stream_open_seconds_bucket" and labels["engine"] == "0"]
        assert buckets == sorted(buckets)
    assert client.status()["open_latency"]["p50_ms"] > 0
    assert "open time" in qanat("status", "--admin", client.admin).stdout


def test_off_by_default(shared):
    assert "metrics" not in shared.exit.status() and "serving metrics" not in shared.exit.log()


@pytest.mark.parametrize("listen", ["0.0.0.0:9464", ":9464", "[::]:9464", "192.0.2.1:9464"])
def test_only_on_this_machine(listen, tmp_path):
    done = qanat("node", "--metrics", listen, cwd=tmp_path)
    assert done.returncode == 2
    assert "--metrics" in done.stderr and "127.0.0.1:9464" in done.stderr


def test_a_taken_port_is_an_error_at_the_start(network, nobody_listens):
    node = network.node("--metrics", f"127.0.0.1:{nobody_listens[1]}", start=False)
    node.start()
    node.expected_to_end = True
    assert node.wait_exit() == 1
    assert "metrics.listen" in node.log() and str(nobody_listens[1]) in node.log()


def test_what_is_not_served(measured):
    _, port, _, _ = measured

    def code(*arguments) -> str:
        return run("curl", "--silent", "-o", "/dev/null", "-w", "%{http_code}", *arguments).stdout

    url = f"http://127.0.0.1:{port}/metrics"
    assert code(url) == code("--head", url) == code(url + "?x=1") == "200"
    assert code(url + "/x") == code(f"http://127.0.0.1:{port}/") == "404"
    assert code("-X", "POST", "-d", "x" * 100_000, url) == code("-X", "DELETE", url) == "405"
    assert code("-H", "X: " + "x" * 10_000, url) == "431"
    assert "text/plain; version=0.0.4" in fetch(port, "/metrics", "--dump-header", "-")


def test_a_crowd_and_a_slow_reader_do_not_stop_the_proxy(measured, echo):
    client, port, _, _ = measured
    held = []
    for _ in range(60):
        sock = socket.create_connection(("127.0.0.1", port))
        held.append(sock)
    for sock in held[::2]:
        try:
            sock.sendall(b"GET /metr")
        except OSError:
            pass
    with dial(client.socks, echo) as app:
        app.send(b"x")
        assert app.receive(1) == b"x"
    for sock in held:
        sock.close()
    wait_until(lambda: run("curl", "--silent", "--fail", f"http://127.0.0.1:{port}/metrics").returncode == 0, 5,
               "an answer after the crowd")


def test_no_secret_is_shown(measured, network):
    client, client_port, node, node_port = measured
    shown = fetch(client_port) + fetch(node_port)
    for secret in [network.key.read_text().splitlines()[2]] + [program.identity.read_text().splitlines()[1]
                                                               for program in (client, node)]:
        assert secret not in shown


def test_metrics_outlive_the_data_plane(measured):
    client, port, _, _ = measured
    os.kill(client.data_plane(), signal.SIGKILL)
    time.sleep(0.05)
    fetch(port)
    wait_until(lambda: total(port, "data_plane_restarts_total") == 1, 5, "the restart")
    client.wait_ready()
