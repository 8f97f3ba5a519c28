"""Two processes: each may die, and a shutdown takes the time that its streams need."""

import os
import signal
import time

import pytest

import servers
from harness import TIME_SCALE, process_state, wait_until
from socks5 import dial


def works(client, echo) -> bool:
    try:
        with dial(client.socks, echo, timeout=5) as app:
            app.send(b"x")
            return app.receive(1) == b"x"
    except Exception:
        return False


@pytest.mark.parametrize("role", ["node", "client"])
def test_killed_data_plane_is_restarted(network, echo, role):
    node = network.node()
    client = network.client(node)
    victim = node if role == "node" else client
    app = dial(client.socks, echo)
    old = victim.data_plane()
    killed = time.monotonic()
    os.kill(old, signal.SIGKILL)
    assert app.end() in (("reset",) if role == "node" else ("reset", "eof"))
    wait_until(lambda: works(client, echo), 5, "a stream through the new data plane")
    assert time.monotonic() - killed < 5 * TIME_SCALE
    assert victim.running() and victim.data_plane() not in (None, old)
    for program in (node, client):
        program.wait_ready()


def test_application_of_a_killed_data_plane_sees_a_reset(network, echo):
    """A crash in mid-download must not look like the end of the file."""
    client = network.client(network.node())
    app = dial(client.socks, echo)
    os.kill(client.data_plane(), signal.SIGKILL)
    how = app.end()
    wait_until(lambda: works(client, echo), 5, "a stream through the new data plane")
    client.wait_ready()
    assert how == "reset"


def test_data_plane_killed_again_and_again(network, echo):
    node = network.node()
    client = network.client(node)
    for _ in range(3):
        old = node.data_plane()
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: works(client, echo), 10, "a stream through the new data plane")
        node.restarted_data_plane()


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_client_recovers_from_a_restarted_node(network, echo, how):
    node = network.node()
    client = network.client(node)
    assert works(client, echo)
    if how == "terminate":
        assert node.terminate() == 0
    else:
        node.kill()
    assert not works(client, echo)
    node.start().wait_ready()
    wait_until(lambda: works(client, echo), 15, "a stream through the restarted node")


def test_client_starts_before_its_node(network, echo):
    node = network.node(start=False)
    client = network.client(node, wait=False)
    wait_until(client.status, 10, "the client's admin socket")
    assert not client.connected()
    node.start().wait_ready()
    wait_until(lambda: works(client, echo), 15, "a stream once the node is there")
    client.wait_ready()


@pytest.mark.parametrize("role", ["node", "client"])
def test_idle_program_ends_at_once(network, role):
    node = network.node()
    client = network.client(node)
    victim = node if role == "node" else client
    data_plane = victim.data_plane()
    started = time.monotonic()
    assert victim.terminate() == 0
    assert time.monotonic() - started < 3 * TIME_SCALE
    assert process_state(data_plane) is None
    assert not victim.admin.exists()
    assert "status 0" in victim.log() or "error" not in victim.log().lower()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(network, number):
    node = network.node()
    node.signal(number)
    assert node.wait_exit() == 0


@pytest.mark.parametrize("role", ["node", "client"])
def test_running_download_finishes_within_the_grace_time(network, loop, role):
    """SIGTERM in mid-download: new streams are refused, the running one gets every byte, then both processes end."""
    size = 8 << 20
    send, go_on = servers.paused_download(size)
    node = network.node()
    client = network.client(node)
    victim = node if role == "node" else client
    with servers.Target(send) as target:
        app = dial(client.socks, target.address)
        data = app.receive(len(servers.PATTERN))
        data_plane = victim.data_plane()
        victim.signal(signal.SIGTERM)
        wait_until(lambda: not works(client, target.address), 10, "new streams to be refused")
        go_on.set()
        rest = app.receive_all()
        assert len(data) + len(rest) == size
        app.close()
        assert victim.wait_exit(5) == 0
    assert process_state(data_plane) is None and not victim.admin.exists()


@pytest.mark.parametrize("role", ["node", "client"])
def test_idle_stream_is_cut_at_the_end_of_the_grace_time(network, echo, role):
    """A stream that never ends does not keep the program: after the grace time it is reset, not closed cleanly."""
    settings = {"data_plane": {"shutdown_grace": "1s"}}
    node = network.node(config=settings)
    client = network.client(node, config=settings)
    victim = node if role == "node" else client
    app = dial(client.socks, echo)
    started = time.monotonic()
    victim.signal(signal.SIGTERM)
    assert app.end() == "reset"
    assert victim.wait_exit(5) == 0
    assert 0.8 < time.monotonic() - started < 4 * TIME_SCALE


def test_second_signal_ends_at_once(network, echo):
    node = network.node()
    client = network.client(node)
    app = dial(client.socks, echo)
    started = time.monotonic()
    client.signal(signal.SIGTERM)
    wait_until(lambda: not works(client, echo), 5, "the drain")
    client.signal(signal.SIGTERM)
    client.wait_exit(5)
    assert time.monotonic() - started < 5 * TIME_SCALE
    app.close()


def test_killed_control_plane_leaves_no_process_for_ever(network, echo):
    """kill -9 of the control plane: its streams may go on, but a new one can be started on the same ports."""
    node = network.node()
    client = network.client(node)
    data_plane = node.data_plane()
    node.expected_to_end = True
    os.kill(node.pid, signal.SIGKILL)
    node.process.wait(5)
    wait_until(lambda: process_state(data_plane) is None, 15, "the end of the orphaned data plane")
    node.start().wait_ready()
    wait_until(lambda: works(client, echo), 15, "a stream through the new node")


def test_stale_admin_socket_is_replaced_a_live_one_is_not(network):
    node = network.node()
    second = network.node(start=False)
    second.arguments[second.arguments.index(second.admin)] = node.admin
    second.start()
    second.expected_to_end = True
    assert second.wait_exit() == 1
    assert node.status()["ready"]
    node.kill()
    assert node.admin.exists()
    node.start().wait_ready()


def test_new_streams_wait_for_no_control_plane(network, echo):
    """Both control planes are stopped (SIGSTOP): the engines open streams to addresses all the same."""
    node = network.node()
    client = network.client(node)
    assert works(client, echo)
    for program in (node, client):
        os.kill(program.pid, signal.SIGSTOP)
    try:
        for _ in range(50):
            with dial(client.socks, echo, timeout=5) as app:
                app.send(b"x")
                assert app.receive(1) == b"x"
    finally:
        for program in (node, client):
            os.kill(program.pid, signal.SIGCONT)
    assert works(client, echo)


def test_frozen_node(network, echo):
    """The whole node stops answering (SIGSTOP) and comes back: streams fail in time, then work again."""
    node = network.node()
    client = network.client(node, config={"routing": {"timeout": "1s"}})
    pids = node.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    try:
        with pytest.raises(Exception):
            dial(client.socks, echo, timeout=15)
        assert time.monotonic() - started < 8 * TIME_SCALE
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: works(client, echo), 15, "a stream through the node that came back")


@pytest.mark.parametrize("strategy", ["random", "round-robin", "fastest", "least-loaded"])
def test_one_of_two_nodes_dies(network, echo, strategy):
    """Applications notice nothing but the streams that ran through the dead one; it is used again once it is back."""
    first, second = network.node(), network.node()
    client = network.client(first, second, config={"routing": {"strategy": strategy, "health": "1s", "timeout": "3s"}})
    wait_until(lambda: client.status()["sessions"]["active"] == 2, 10, "both sessions")
    first.kill()
    for _ in range(30):
        with dial(client.socks, echo) as app:
            app.send(b"x")
            assert app.receive(1) == b"x"
    first.start().wait_ready()
    wait_until(lambda: client.status()["sessions"]["active"] == 2, 30, "the return of the first node")
    second.kill()
    for _ in range(10):
        with dial(client.socks, echo) as app:
            app.send(b"x")
            assert app.receive(1) == b"x"


def test_round_robin_uses_every_node(network, echo):
    nodes = [network.node() for _ in range(3)]
    client = network.client(*nodes, arguments=("--strategy", "round-robin", "--cores", "0"))
    wait_until(lambda: client.status()["sessions"]["active"] == 3, 10, "all sessions")
    for _ in range(30):
        dial(client.socks, echo).close()
    totals = [node.status()["streams"]["total"] for node in nodes]
    assert min(totals) >= 8, totals
