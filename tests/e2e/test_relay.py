"""Exits behind NAT, reached through relays: nftables boxes in network namespaces, nobody has an open port but the relays."""

import hashlib
import json
import os
import re
import signal
import subprocess
import time

import pytest

import servers
from harness import environment, free_port, qanat, wait_until
from load import Load
from socks5 import GENERAL_FAILURE, Ended, SocksError, dial, reply_of

pytestmark = [pytest.mark.root, pytest.mark.netns]


class World:
    """
        home ── NAT ──┐                  ┌── NAT ── exit
                      ├── relays, web ───┘
    """

    def __init__(self, topology, network, loop, relays=("relay",), config=None, start_exit=True, **options):
        self.network, self.topology = network, topology
        self.relay_hosts = {name: topology.host(name) for name in relays}
        self.web = topology.host("web")
        self.home_box, self.exit_box = topology.nat("hbox"), topology.nat("xbox")
        self.home, self.exit_host = topology.behind(self.home_box, "home"), topology.behind(self.exit_box, "exit")
        for host in self.relay_hosts.values():
            topology.wait_reachable(self.home, host)
            topology.wait_reachable(self.exit_host, host)
        listener = self.web.do(lambda: servers.socket.create_server((self.web.ip, 0), backlog=4096))
        self.target = loop.serve(servers.echo, listener=listener)
        listener = self.web.do(lambda: servers.socket.create_server((self.web.ip, 0), backlog=4096))
        self.pages = loop.serve(servers.http(), listener=listener)
        self.relays = {name: network.node("--relay-mode", name=name, netns=host.netns, allow=(),
                                          listen=(host.ip, free_port()), **options)
                       for name, host in self.relay_hosts.items()}
        self.exit = None
        if start_exit:
            self.start_exit()
            self.start_client(config)

    def start_exit(self, *arguments):
        connect = [part for relay in self.relays.values() for part in ("--connect-relay", relay.address)]
        self.exit = self.network.node(*connect, *arguments, name="exit", netns=self.exit_host.netns,
                                      listen=(self.exit_host.ip, free_port()), allow=("--allow", "private"))

    def start_client(self, config=None, nodes=None):
        nodes = nodes or [{"id": self.exit.id, "relay": [relay.address for relay in self.relays.values()]}]
        self.client = self.network.client(
            name="home", netns=self.home.netns,
            # These boxes would let streams go past the relay (test_punch.py).
            config={"nodes": nodes, "routing": {"health": "1s", "timeout": "10s", "punch": False}, **(config or {})})

    def stream(self, timeout=20):
        return self.home.do(lambda: dial(self.client.socks, self.target, timeout))

    def works(self) -> bool:
        try:
            self.stream(5).close()
            return True
        except (SocksError, Ended, OSError):
            return False

    def peers(self, program=None) -> list[dict]:
        done = qanat("peers", "--json", "--admin", (program or self.client).admin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["peers"]

    def exit_as_peer(self) -> dict:
        return next(peer for peer in self.peers() if peer["id"] == self.exit.id)

    def download(self, size: int, timeout: float = 60) -> str:
        command = ["curl", "-sS", "--max-time", str(timeout), "--socks5-hostname", "%s:%d" % self.client.socks,
                   "http://%s:%d/bytes/%d" % (*self.pages, size)]
        done = subprocess.run(["ip", "netns", "exec", self.home.netns, *command], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return hashlib.sha256(done.stdout).hexdigest()


def test_exit_behind_nat_is_reached_through_a_relay(topology, network, loop):
    world = World(topology, network, loop)
    with world.stream() as stream:
        stream.send(b"through two boxes")
        assert stream.receive(17) == b"through two boxes"
    # Nobody can dial the exit.
    assert world.home.command("ping", "-c", "1", "-W", "1", world.exit_host.ip).returncode != 0
    peer = world.exit_as_peer()
    assert peer["state"] == "up"
    assert world.relays["relay"].id[:8] in peer["path"] or world.relays["relay"].address in peer["path"], peer
    # What a relay passes on has no address, and is not shown with one.
    guest = next(peer for peer in world.peers(world.exit) if peer["role"] == "client")
    assert (guest["path"], guest["address"]) == ("via a relay", "")
    assert world.download(3_000_000) == servers.pattern_hash(3_000_000)
    status = world.relays["relay"].status()
    assert sum(engine["relay"]["total"] for engine in status["engines"]) >= 2


def test_relay_sees_neither_names_nor_bytes(topology, network, loop):
    """tcpdump at the relay while a page with a telling name and body is fetched."""
    world = World(topology, network, loop)
    host = world.relay_hosts["relay"]
    capture = subprocess.Popen(["ip", "netns", "exec", host.netns, "tcpdump", "-i", "eth0", "-n", "-s", "0",
                                "--immediate-mode", "-U", "-w", "-"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    while b"listening on" not in capture.stderr.readline():
        assert capture.poll() is None, "tcpdump ended"
    with world.stream() as stream:
        for _ in range(50):
            stream.send(b"a secret that nobody in the middle may read")
            stream.receive(43)
    time.sleep(0.5)  # the last packets; the others are what counts
    capture.terminate()
    seen = capture.communicate(timeout=10)[0]
    assert len(seen) > 10_000
    assert b"a secret that" not in seen
    assert world.exit.id.encode() not in seen


def test_half_close_and_reset_pass_through(topology, network, loop):
    world = World(topology, network, loop)

    async def count(reader, writer):
        data = await reader.read(-1)
        writer.write(str(len(data)).encode())
        await writer.drain()

    async def slam(reader, writer):
        await reader.read(1)
        servers.reset(writer.get_extra_info("socket")._sock.dup())  # pylint: disable=protected-access
        writer.transport.abort()

    listener = world.web.do(lambda: servers.socket.create_server((world.web.ip, 0)))
    counter = loop.serve(count, listener=listener)
    stream = world.home.do(lambda: dial(world.client.socks, counter))
    stream.send(b"x" * 100_000)
    stream.sock.shutdown(servers.socket.SHUT_WR)
    assert stream.receive_all() == b"100000"
    stream.close()

    listener = world.web.do(lambda: servers.socket.create_server((world.web.ip, 0)))
    slammer = loop.serve(slam, listener=listener)
    stream = world.home.do(lambda: dial(world.client.socks, slammer))
    stream.send(b"x")
    assert stream.end() == "reset"
    stream.close()


def test_many_streams_through_a_relay(topology, network, loop):
    world = World(topology, network, loop)
    with Load(world.home, world.client.socks, world.target, 60) as load:
        wait_until(lambda: load.done >= 1500 or load.failures, 60, "1500 streams")
    assert not load.failures, load.failures[:5]


def test_relay_is_killed_and_restarted(topology, network, loop):
    """Streams through it end as a reset, never as an end of file; the reservation comes back without help."""
    world = World(topology, network, loop)
    stream = world.stream()
    stream.send(b"x")
    stream.receive(1)
    relay = world.relays["relay"]
    relay.kill()
    assert stream.end() == "reset"
    relay.start()
    relay.wait_ready()

    wait_until(world.works, 30, "streams through the restarted relay")


def test_second_relay_takes_over(topology, network, loop):
    world = World(topology, network, loop, relays=("one", "two"))
    world.stream().close()
    path = world.exit_as_peer()["path"]
    used = next(name for name, relay in world.relays.items() if relay.id[:8] in path or relay.address in path)
    with Load(world.home, world.client.socks, world.target, 20, pause=0.01) as load:
        wait_until(lambda: load.done >= 100 or load.failures, 30, "100 streams")
        world.relays[used].kill()
        goal = load.done + 300
        wait_until(lambda: load.done >= goal or len(load.failures) > 40, 60, "300 more streams")
    # Streams that were open through the dead relay are cut; none that was being opened may fail.
    refused = [failure for failure in load.failures if "SOCKS reply" in failure]
    assert not refused, refused[:5]


def test_chain_of_two_relays(topology, network, loop):
    """client → one → two → exit: each relay is told only its neighbours."""
    world = World(topology, network, loop, relays=("one", "two"), start_exit=False)
    two = world.relays["two"]
    world.exit = network.node("--connect-relay", two.address, name="exit", netns=world.exit_host.netns,
                              listen=(world.exit_host.ip, free_port()), allow=("--allow", "private"))
    world.start_client(nodes=[{"id": world.exit.id, "via": [world.relays["one"].address, two.address]}])
    with world.stream() as stream:
        stream.send(b"three hops")
        assert stream.receive(10) == b"three hops"
    assert world.download(2_000_000) == servers.pattern_hash(2_000_000)
    for relay in world.relays.values():
        assert sum(engine["relay"]["total"] for engine in relay.status()["engines"]) >= 2
    # The first relay knows the second, and the second knows the first and the exit: nothing else is in their logs.
    assert world.exit.id not in world.relays["one"].log()
    assert world.home_box.ip not in world.relays["two"].log()
    two.kill()
    assert world.home.do(lambda: reply_of(world.client.socks, world.target)) == GENERAL_FAILURE


def test_direct_path_is_preferred(topology, network, loop):
    """The exit's relay and its own address are known; the own one is reachable."""
    world = World(topology, network, loop, start_exit=False)
    public = topology.host("pub")
    world.exit = network.node("--connect-relay", world.relays["relay"].address, name="exit", netns=public.netns,
                              listen=(public.ip, free_port()), allow=("--allow", "private"))
    world.start_client(nodes=[{"id": world.exit.id, "addrs": ["%s:%d" % world.exit.tunnel],
                               "relay": world.relays["relay"].address}])
    world.stream().close()
    assert world.exit_as_peer()["path"] == "direct"


def test_node_that_does_not_relay_refuses(topology, network, loop):
    world = World(topology, network, loop, start_exit=False)
    plain = network.node(name="plain", netns=world.web.netns, listen=(world.web.ip, free_port()))
    world.exit = network.node("--connect-relay", plain.address, name="exit", netns=world.exit_host.netns,
                              listen=(world.exit_host.ip, free_port()), wait=False)
    wait_until(lambda: "does not relay" in world.exit.log(), 15, "the refusal in the exit's log")


def test_byte_rate_of_a_member_is_limited_and_nothing_is_lost(topology, network, loop):
    world = World(topology, network, loop)
    relay = world.relays["relay"]
    relay.terminate()
    limited = network.node("--relay-mode", name="relay", netns=relay.netns, allow=(), listen=relay.tunnel,
                           config={"node": {"relay_limits": {"bytes_per_second": 2_000_000}}})
    assert limited.id == relay.id

    wait_until(world.works, 30, "streams through the limited relay")
    began = time.monotonic()
    assert world.download(6_000_000) == servers.pattern_hash(6_000_000)
    assert time.monotonic() - began > 1.5
    assert sum(engine["relay"]["throttled"] for engine in limited.status()["engines"]) > 0


@pytest.mark.parametrize("stopped", ["relay", "exit"])
def test_silent_middle_is_noticed(topology, network, loop, stopped):
    """Two ways to the world, one of them stops without a sign."""
    world = World(topology, network, loop, relays=("one", "two"))
    world.stream().close()
    if stopped == "relay":
        path = world.exit_as_peer()["path"]
        victim = next(relay for relay in world.relays.values() if relay.id[:8] in path or relay.address in path)
    else:
        other = network.node(name="other", netns=world.web.netns, listen=(world.web.ip, free_port()),
                             allow=("--allow", "private"))
        world.client.terminate()
        world.start_client(nodes=[
            {"id": world.exit.id, "relay": [relay.address for relay in world.relays.values()]},
            {"id": other.id, "addrs": ["%s:%d" % other.tunnel]}])
        victim = world.exit
    with Load(world.home, world.client.socks, world.target, 10, pause=0.02) as load:
        wait_until(lambda: load.done >= 50 or load.failures, 30, "50 streams")
        pids = victim.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        goal = load.done + 200
        wait_until(lambda: load.done >= goal or len(load.failures) > 40, 60, "200 more streams")
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    refused = [failure for failure in load.failures if re.search("SOCKS reply", failure)]
    assert not refused, refused[:5]
