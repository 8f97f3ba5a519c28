"""`qanat drain`: the end of a program without cutting streams, and what it says on the way."""

import json
import os
import signal
import subprocess
import time

import pytest

import servers
from harness import QANAT, TIME_SCALE, Program, environment, process_state, qanat, wait_until
from socks5 import dial


def start_drain(program: Program, *arguments) -> subprocess.Popen:
    program.expected_to_end = True
    return subprocess.Popen([str(QANAT), "drain", *arguments, "--admin", str(program.admin)], env=environment(),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_of(drain: subprocess.Popen, timeout: float = 10) -> tuple[int, str, str]:
    out, err = drain.communicate(timeout=timeout * TIME_SCALE)
    return drain.returncode, out, err


def works(client, echo) -> bool:
    try:
        with dial(client.socks, echo, timeout=5) as app:
            app.send(b"x")
            return app.receive(1) == b"x"
    except Exception:
        return False


@pytest.mark.parametrize("role", ["node", "client"])
def test_idle_program(network, role):
    node = network.node()
    client = network.client(node)
    victim = node if role == "node" else client
    data_plane = victim.data_plane()
    status, out, err = end_of(start_drain(victim))
    assert (status, err) == (0, "") and out.endswith("drained\n")
    # The command ends when the program has.
    assert victim.wait_exit(1) == 0
    assert process_state(data_plane) is None and not victim.admin.exists()


@pytest.mark.parametrize("role", ["node", "client"])
def test_running_stream_finishes(network, echo, role):
    node = network.node()
    client = network.client(node)
    victim = node if role == "node" else client
    app = dial(client.socks, echo)
    drain = start_drain(victim, "--timeout", "1m", "--json")
    first = json.loads(drain.stdout.readline())
    assert first["draining"] is True and first["streams"] == 1 and 50 <= first["seconds_left"] <= 60
    status = victim.status()
    assert status["draining"] is True and status["ready"] is False
    assert status["drain"]["streams"] == 1 and status["drain"]["seconds_left"] <= 60
    text = qanat("status", "--admin", victim.admin).stdout
    assert "draining, 1 streams left" in text
    wait_until(lambda: not works(client, echo), 10, "new streams to be refused")
    app.send(b"still there")
    assert app.receive(11) == b"still there"
    app.sock.shutdown(1)
    assert app.end() == "eof"
    app.close()
    code, out, err = end_of(drain)
    assert (code, err) == (0, "")
    assert json.loads(out.splitlines()[-1]) == {"draining": False, "streams": 0, "cut": 0}
    assert victim.wait_exit(1) == 0


def test_stream_is_cut_at_the_deadline(network, echo):
    node = network.node()
    client = network.client(node, config={"data_plane": {"shutdown_grace": "1h"}})
    apps = [dial(client.socks, echo) for _ in range(2)]
    started = time.monotonic()
    status, out, err = end_of(start_drain(client, "--timeout", "1s"))
    assert 0.8 < time.monotonic() - started < 5 * TIME_SCALE
    assert status == 1 and "draining: 2 streams left" in out and "drained" not in out
    assert err == "qanat: 2 streams were cut: give them more time with --timeout\n"
    assert [app.end() for app in apps] == ["reset", "reset"]
    assert client.wait_exit(1) == 0


def test_the_default_is_the_grace_time(network, echo):
    node = network.node(config={"data_plane": {"shutdown_grace": "1s"}})
    client = network.client(node)
    app = dial(client.socks, echo)
    started = time.monotonic()
    assert end_of(start_drain(node))[0] == 1
    assert 0.8 < time.monotonic() - started < 5 * TIME_SCALE
    app.close()


def test_a_second_drain_attaches(network, echo):
    client = network.client(network.node())
    app = dial(client.socks, echo)
    first = start_drain(client, "--timeout", "1m")
    wait_until(lambda: client.status()["draining"], 5, "the drain")
    second = start_drain(client, "--timeout", "0s")
    assert "1 stream left" in second.stdout.readline()
    time.sleep(0.3)
    assert first.poll() is None and second.poll() is None  # the deadline is that of the first
    app.close()
    for drain in (first, second):
        status, out, _ = end_of(drain)
        assert status == 0 and out.endswith("drained\n")


def test_whoever_stops_watching_changes_nothing(network, echo):
    client = network.client(network.node())
    app = dial(client.socks, echo)
    drain = start_drain(client, "--timeout", "1m")
    drain.stdout.readline()
    drain.kill()
    drain.communicate()
    time.sleep(0.5)
    app.send(b"x")
    assert app.receive(1) == b"x" and client.running()
    app.close()
    assert client.wait_exit(5) == 0


def test_signals_during_a_drain(network, echo):
    """The first SIGTERM allows what shutdown_grace allows, the second does not wait."""
    client = network.client(network.node(), config={"data_plane": {"shutdown_grace": "2s"}})
    app = dial(client.socks, echo)
    drain = start_drain(client, "--timeout", "1h")
    drain.stdout.readline()
    started = time.monotonic()
    os.kill(client.pid, signal.SIGTERM)
    assert end_of(drain)[0] == 1
    assert 1.5 < time.monotonic() - started < 6 * TIME_SCALE
    assert app.end() == "reset"

    client.start().wait_ready()
    app = dial(client.socks, echo)
    drain = start_drain(client, "--timeout", "1h")
    drain.stdout.readline()
    for _ in range(2):
        os.kill(client.pid, signal.SIGTERM)
        time.sleep(0.1)
    assert end_of(drain, 4)[0] == 1
    app.close()


def test_download_through_a_draining_node_is_whole(network):
    size = 4 << 20
    send, go_on = servers.paused_download(size)
    node = network.node()
    client = network.client(node)
    with servers.Target(send) as target:
        app = dial(client.socks, target.address)
        got = len(app.receive(len(servers.PATTERN)))
        drain = start_drain(node, "--timeout", "30s")
        drain.stdout.readline()
        go_on.set()
        got += len(app.receive_all())
        app.close()
        assert got == size
        assert end_of(drain)[0] == 0


def test_nothing_is_reloaded_while_draining(network, echo):
    client = network.client(network.node())
    with dial(client.socks, echo):
        drain = start_drain(client, "--timeout", "1m")
        drain.stdout.readline()
        done = qanat("reload", "--admin", client.admin)
        assert done.returncode == 1 and "about to end" in done.stderr
    assert end_of(drain)[0] == 0


def test_nobody_there(tmp_path):
    done = qanat("drain", "--admin", tmp_path / "none.sock")
    assert done.returncode == 1 and "nobody listens" in done.stderr
