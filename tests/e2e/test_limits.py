"""At a cap the program refuses, stays calm, and recovers."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import servers
from harness import cpu_seconds, process_state, resident_mib, wait_until
from servers import Target
from socks5 import Connection, Ended, SocksError, dial


def works(client, echo) -> bool:
    try:
        with dial(client.socks, echo, timeout=5) as app:
            app.send(b"x")
            return app.receive(1) == b"x"
    except Exception:
        return False


def is_calm(*programs) -> None:
    """Below half a core in a second, in every process."""
    pids = [pid for program in programs for pid in program.pids()]
    before = {pid: cpu_seconds(pid) for pid in pids}
    time.sleep(1)
    used = {pid: cpu_seconds(pid) - before[pid] for pid in pids}
    assert max(used.values()) < 0.5, f"CPU seconds in one second: {used}"


def test_client_out_of_descriptors(network, echo):
    """More application connections than descriptors: no spin, and streams work again once they close."""
    node = network.node()
    client = network.client(node, nofile=256)
    held = [dial(client.socks, echo)]
    attempts = []
    try:
        for _ in range(400):
            sock = socket.socket()
            sock.settimeout(2)
            try:
                sock.connect(client.socks)
                sock.sendall(b"\x05\x01\x00")
            except OSError:
                pass
            attempts.append(sock)
        is_calm(client)
        held[0].send(b"still here")
        assert held[0].receive(10) == b"still here"
    finally:
        for sock in attempts:
            sock.close()
    wait_until(lambda: works(client, echo), 10, "a stream after the descriptors came back")
    held[0].close()


def test_node_out_of_descriptors(network):
    """More streams than the node has descriptors for: the surplus is refused, what runs goes on, nothing spins."""
    node = network.node(nofile=256)
    client = network.client(node)
    streams, refused = [], 0
    with Target() as target:
        for _ in range(200):
            try:
                streams.append(dial(client.socks, target.address, timeout=30))
            except (Ended, SocksError, OSError):
                refused += 1
                if refused > 3:
                    break
        assert streams and refused, (len(streams), refused)
        is_calm(node, client)
        far = target.take()
        streams[0].send(b"still here")
        assert far.recv(20) == b"still here"
        for stream in streams:
            servers.reset(stream.sock)  # a close would be a half-close: the target's side stays open
        wait_until(lambda: not dial_fails(client, target), 15, "a stream after the descriptors came back")
    assert all(process_state(pid) for pid in node.pids())


def dial_fails(client, target) -> bool:
    try:
        dial(client.socks, target.address, timeout=10).close()
        return False
    except (Ended, SocksError, OSError):
        return True


@pytest.mark.parametrize("role", ["client", "node"])
def test_max_streams(network, echo, role):
    """data_plane.max_streams: the next one is refused, and admitted once another has ended."""
    settings = {"data_plane": {"max_streams": 16, "cores": "0"}}
    node = network.node(config=settings if role == "node" else {})
    client = network.client(node, config=settings if role == "client" else {})
    streams, refused = [], 0
    for _ in range(24):
        try:
            streams.append(dial(client.socks, echo, timeout=15))
        except (Ended, SocksError, OSError):
            refused += 1
    assert 8 <= len(streams) <= 16 and refused >= 8, (len(streams), refused)
    is_calm(node, client)
    for app in streams:
        app.send(b"x")
        assert app.receive(1) == b"x"
        app.close()
    wait_until(lambda: works(client, echo), 10, "a stream after others have ended")


def test_idle_programs_use_no_cpu(network):
    node = network.node()
    client = network.client(node)
    pids = node.pids() + client.pids()
    before = {pid: cpu_seconds(pid) for pid in pids}
    time.sleep(2)
    used = {pid: cpu_seconds(pid) - before[pid] for pid in pids}
    assert max(used.values()) < 0.1, f"CPU seconds in two idle seconds: {used}"


@pytest.mark.root
def test_descriptors_come_back(network, echo):
    """As many open files after a thousand streams as before (pools aside)."""
    node = network.node()
    client = network.client(node)
    for _ in range(50):
        dial(client.socks, echo).close()
    pids = node.pids() + client.pids()

    def counts():
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]

    settled = wait_until(lambda: (first := counts()) and time.sleep(0.3) is None and counts() == first and first, 10,
                         "a steady number of files")
    for number in range(300):
        app = Connection(client.socks)
        app.send(b"\x05\x01\x00" if number % 3 else b"")
        app.close()
        with dial(client.socks, echo) as app:
            app.send(b"x")
            app.receive(1)
    wait_until(lambda: all(now <= then + 8 for now, then in zip(counts(), settled)), 10,
               f"the files of before, {settled}, instead of {counts()}")


def test_memory_after_many_streams(network, loop):
    """3000 streams, many at a time, half of them ended by a reset: memory and slots come back."""
    echo = loop.serve(servers.echo)
    node = network.node()
    client = network.client(node)

    def some(_):
        for number in range(60):
            with dial(client.socks, echo, timeout=30) as app:
                app.send(servers.PATTERN[:20_000])
                app.receive(10 if number % 2 else 20_000)
                if number % 2:
                    servers.reset(app.sock)

    with ThreadPoolExecutor(25) as pool:
        list(pool.map(some, range(25)))  # warms the pools up
        pids = node.pids() + client.pids()
        before = {pid: resident_mib(pid) for pid in pids}
        list(pool.map(some, range(25)))
    growth = {pid: round(resident_mib(pid) - before[pid], 1) for pid in pids}
    assert max(growth.values()) < 8, f"growth in MiB: {growth}"
    for program in (node, client):
        wait_until(lambda program=program: program.status()["streams"]["active"] == 0, 10, "no active stream")


@pytest.mark.root
def test_root_gives_its_rings_the_memory_they_need(network, echo):
    """The kernel's usual limit is for all processes of a user, and too small for some twenty engines."""
    cap_sys_resource = 24
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    if not int(status["CapEff"], 16) >> cap_sys_resource & 1:
        pytest.skip("root without CAP_SYS_RESOURCE")
    node = network.node(memlock=65536)
    assert works(network.client(node, memlock=65536), echo)
