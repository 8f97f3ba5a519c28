"""Nothing of what an application asks for leaves its host, except as ciphertext to the node.

    client namespace: qanat client, applications, tcpdump      node namespace: qanat node, targets
                     10.211.0.1  ──────────────────────────────  10.211.0.2
"""

import os
import subprocess
import time

import pytest

import servers
from harness import environment, free_port, in_namespace, run, wait_until
from servers import Target
from socks5 import Connection, dial, reply_of

pytestmark = [pytest.mark.root, pytest.mark.netns]
TARGET_IP = "198.51.100.7"


@pytest.fixture
def hosts(network, namespaces):
    """Node and client in their namespaces; the node's host also has the address of a "public" target."""
    namespaces.ip(namespaces.node, "addr", "add", f"{TARGET_IP}/32", "dev", "lo")
    # Without a route the client's host could send nothing wrong; with one, every mistake is on the wire to be seen.
    namespaces.ip(namespaces.client, "route", "add", "default", "via", namespaces.NODE_IP)
    network.node_program = network.node(allow=("--allow", f"{TARGET_IP}/32", "--allow", "203.0.113.0/24", "--allow",
                                               "10.211.0.0/24"),
                                        listen=(namespaces.NODE_IP, free_port()), netns=namespaces.node)
    network.entry = network.client(network.node_program, socks=("127.0.0.1", free_port()), netns=namespaces.client)
    return network


def dial_inside(namespaces, network, target, **options):
    return in_namespace(namespaces.client, lambda: dial(network.entry.socks, target, **options))


def target_inside(namespaces, function=None):
    def listen():
        import socket
        listener = socket.socket()
        listener.bind((TARGET_IP, 0))
        listener.listen(64)
        return listener
    return Target(function, listener=in_namespace(namespaces.node, listen))


class Capture:
    """tcpdump on the cable of a namespace."""

    def __init__(self, namespace: str, path):
        self.path = path
        command = ["ip", "netns", "exec", namespace, "tcpdump", "-i", "tunnel", "-U", "--immediate-mode", "-n",
                   "-s", "0", "-Z", "root", "-w", str(path)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment())
        assert b"listening on" in self.process.stderr.readline()

    def stop(self) -> None:
        time.sleep(0.3)  # the kernel hands packets over in blocks
        self.process.terminate()
        self.process.communicate(timeout=10)

    def text(self, *expression) -> list[str]:
        done = run("tcpdump", "-n", "-r", self.path, *expression)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def capture(namespaces, tmp_path):
    if run("which", "tcpdump").returncode != 0:
        pytest.skip("tcpdump is not installed")
    running = Capture(namespaces.client, tmp_path / "packets")
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.communicate()


def test_nothing_but_ciphertext_to_the_node(hosts, namespaces, capture):
    """Streams by address and by name, a download, an upload, and failures of every kind."""
    marker = b"plainly-readable-marker-" + os.urandom(8).hex().encode()

    def serve(sock):
        while data := sock.recv(65536):
            sock.sendall(data)

    with target_inside(namespaces, serve) as target:
        with dial_inside(namespaces, hosts, target.address) as app:
            for _ in range(20):
                app.send(marker * 100)
                assert app.receive(len(marker) * 100) == marker * 100
        for failing in (("secret-name.example", 80), ("203.0.113.9", 80), (TARGET_IP, 1), ("127.0.0.1", 80)):
            assert in_namespace(namespaces.client, lambda failing=failing: reply_of(hosts.entry.socks, failing)) != 0
    capture.stop()

    tunnel_port = hosts.node_program.tunnel[1]
    everything = capture.text("ip or ip6")
    assert len(everything) > 20
    expected = f"host {namespaces.NODE_IP} and tcp port {tunnel_port}"
    # Neighbour discovery and multicast reports are the kernel's own.
    other = [line for line in capture.text(f"(ip or ip6) and not ({expected}) and not icmp6 and not dst net ff00::/8")]
    assert other == [], "packets that are not the tunnel"
    assert capture.text("port 53 or port 5353 or port 853") == []
    assert capture.text(f"host {TARGET_IP} or host 203.0.113.9") == []
    packets = capture.path.read_bytes()
    for secret in (marker[:24], marker[-16:], b"secret-name", b"example", TARGET_IP.encode(),
                   hosts.node_program.id.encode(), hosts.entry.id.encode()):
        assert secret not in packets, secret


def test_udp_associate_sends_nothing(hosts, namespaces, capture):
    def ask():
        with Connection(hosts.entry.socks) as connection:
            return connection.ask("198.51.100.7", 53, command=3)[0]

    assert in_namespace(namespaces.client, ask) == 7
    capture.stop()
    assert capture.text("udp") == []


def test_reply_codes_of_unreachable_targets(hosts, namespaces):
    """03 without a route, 04 where the router says so, 06 where nothing answers; each is the exit's own observation."""
    namespaces.ip(namespaces.node, "route", "add", "unreachable", "203.0.113.4/32")
    namespaces.ip(namespaces.node, "neigh", "add", "10.211.0.66", "lladdr", "02:00:00:00:00:66", "dev", "tunnel")
    for host, reply in (("203.0.113.3", 3), ("203.0.113.4", 4), ("10.211.0.55", 4)):
        assert in_namespace(namespaces.client,
                            lambda host=host: reply_of(hosts.entry.socks, (host, 80), timeout=30)) == reply, host


def test_own_addresses_of_the_exit_are_refused(hosts, namespaces):
    """The node listens on an address of its own; reaching services on it through the tunnel would go around the policy
    of its host. 198.51.100.8 is public, not allowed by name, and belongs to the exit."""
    namespaces.ip(namespaces.node, "addr", "add", "198.51.100.8/32", "dev", "lo")
    hosts.node_program.kill()
    hosts.node_program.start().wait_ready()

    def denied() -> bool:
        return in_namespace(namespaces.client, lambda: reply_of(hosts.entry.socks, ("198.51.100.8", 80))) == 2

    wait_until(denied, 15, "a denial")


def test_tunnel_over_ipv6(network, namespaces):
    node = network.node(allow=("--allow", f"{TARGET_IP}/32"), listen=(namespaces.NODE_IP6, free_port()),
                        netns=namespaces.node)
    namespaces.ip(namespaces.node, "addr", "add", f"{TARGET_IP}/32", "dev", "lo")
    network.entry = network.client(node, netns=namespaces.client)
    with target_inside(namespaces, lambda sock: sock.sendall(servers.PATTERN)) as target:
        with dial_inside(namespaces, network, target.address) as app:
            assert app.receive_all() == servers.PATTERN


def test_cable_unplugged_and_plugged_in_again(hosts, namespaces):
    """A silent cut: no packet passes for a while. A stream that waited goes on; TCP repairs it."""
    with target_inside(namespaces) as target, dial_inside(namespaces, hosts, target.address, timeout=60) as app:
        far = target.take()
        app.send(b"before")
        assert far.recv(10) == b"before"
        namespaces.ip(namespaces.client, "link", "set", "tunnel", "down")
        app.send(b"during")
        time.sleep(1)
        namespaces.ip(namespaces.client, "link", "set", "tunnel", "up")
        namespaces.ip(namespaces.client, "route", "add", "default", "via", namespaces.NODE_IP)
        assert far.recv(10) == b"during"
