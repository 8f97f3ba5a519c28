"""Three exits at different distances, streams without pause, and everything that can happen to an exit.

What must hold in every case: no stream fails to open while a healthy exit exists, and none is cut but those that were
open through an exit at the moment it died.
"""

import json
import os
import signal
import statistics
import subprocess
import time

import pytest

import servers
from harness import QANAT, environment, free_port, qanat, wait_until
from load import Load
from socks5 import dial

pytestmark = [pytest.mark.root, pytest.mark.netns]

NAMES = ("near", "middle", "far")
DELAYS_MS = {"near": 0, "middle": 5, "far": 15}


class World:
    """Exits near, middle and far; a web host; a client that checks its nodes every second."""

    def __init__(self, topology, network, loop, strategy: str, delays=None):
        self.network = network
        self.hosts = {name: topology.host(name, delay) for name, delay in (delays or DELAYS_MS).items()}
        self.home = topology.host("home")
        self.web = topology.host("web")
        self.exits = {name: self.start_exit(name) for name in self.hosts}
        for host in self.hosts.values():
            topology.wait_reachable(self.home, host)
        listener = self.web.do(lambda: servers.socket.create_server((self.web.ip, 0), backlog=4096))
        self.target = loop.serve(servers.echo, listener=listener)
        self.client = network.client(
            *self.exits.values(), netns=self.home.netns, name="home",
            config={"routing": {"strategy": strategy, "health": "1s", "timeout": "10s"}})
        wait_until(lambda: all(peer["state"] == "up" for peer in self.peers().values()), 15, "sessions with all exits")

    def start_exit(self, name: str, port: int | None = None):
        host = self.hosts[name]
        return self.network.node(netns=host.netns, name=name, listen=(host.ip, port or free_port()),
                                 allow=("--allow", "private"))

    def peers(self) -> dict[str, dict]:
        done = qanat("peers", "--json", "--admin", self.client.admin)
        assert done.returncode == 0, done.stderr
        by_id = {peer["id"]: peer for peer in json.loads(done.stdout)["peers"]}
        return {name: by_id[exit_.id] for name, exit_ in self.exits.items()}

    def explain(self) -> dict:
        done = qanat("explain", "%s:%d" % self.target, "--json", "--admin", self.client.admin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def streams_of(self, name: str) -> int:
        status = self.exits[name].status()
        return sum(engine["streams"]["total"] for engine in status["engines"])

    def load(self, workers: int = 40) -> Load:
        return Load(self.home, self.client.socks, self.target, workers)

    def stream(self):
        return self.home.do(lambda: dial(self.client.socks, self.target))


def settle(load: Load, more: int = 200) -> None:
    """Waits for that many more streams."""
    goal = load.done + more
    wait_until(lambda: load.done >= goal or load.failures, 30, f"{more} more streams")


def test_fastest_takes_the_nearest_and_keeps_measuring(topology, network, loop):
    world = World(topology, network, loop, "fastest")
    before = {name: world.streams_of(name) for name in NAMES}
    with world.load(10) as load:
        settle(load, 300)
    assert not load.failures
    used = {name: world.streams_of(name) - before[name] for name in NAMES}
    assert used["near"] > 0.9 * sum(used.values()), used
    peers = world.peers()
    latencies = [peers[name]["latency_ms"] for name in NAMES]
    assert latencies == sorted(latencies), latencies


@pytest.mark.parametrize("strategy", ["random", "round-robin", "fastest", "least-loaded"])
def test_no_stream_fails_when_an_exit_is_killed(topology, network, loop, strategy):
    world = World(topology, network, loop, strategy)
    with world.load() as load:
        settle(load)
        world.exits["near"].kill()
        settle(load, 400)
    assert not load.failures, load.failures[:5]
    assert len(load.cut) <= 40
    assert world.peers()["near"]["state"] != "up"


@pytest.mark.parametrize("how", ["stopped", "unplugged"])
def test_no_stream_fails_when_an_exit_goes_silent(topology, network, loop, how):
    """SIGSTOP and a pulled cable: nothing says that the exit is gone. Two check intervals later it gets no stream."""
    world = World(topology, network, loop, "random")
    with world.load() as load:
        settle(load)
        pids = world.exits["near"].pids()
        if how == "stopped":
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
        else:
            world.hosts["near"].link("down")
        wait_until(lambda: world.peers()["near"]["state"] != "up", 5, "the silent exit leaving the plan")
        settle(load, 400)
        # Back again, it gets streams again.
        if how == "stopped":
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        else:
            world.hosts["near"].link("up")
        wait_until(lambda: world.peers()["near"]["state"] == "up", 30, "the exit coming back")
        before = world.streams_of("near")
        wait_until(lambda: world.streams_of("near") > before, 20, "streams through it")
    assert not load.failures, load.failures[:5]


def test_no_stream_fails_while_an_exit_flaps(topology, network, loop):
    world = World(topology, network, loop, "round-robin")
    port = world.exits["middle"].tunnel[1]
    with world.load(20) as load:
        for _ in range(3):
            settle(load, 60)
            world.exits["middle"].kill()
            settle(load, 60)
            world.exits["middle"].start()
            world.exits["middle"].wait_ready()
    assert not load.failures, load.failures[:5]
    assert port == world.exits["middle"].tunnel[1]


def test_drained_exit_finishes_its_streams_and_gets_no_new_ones(topology, network, loop):
    world = World(topology, network, loop, "random")
    streams = [world.stream() for _ in range(30)]
    with world.load(20) as load:
        settle(load, 60)
        draining = world.exits["far"]
        draining.expected_to_end = True
        held = world.peers()["far"]["streams"]
        assert held > 0
        drain = subprocess.Popen([str(part) for part in (QANAT, "drain", "--timeout", "30s",
                                                         "--admin", draining.admin)], env=environment())
        wait_until(lambda: world.peers()["far"]["state"] != "up", 5, "the drained exit leaving the plan")
        settle(load, 200)
        for stream in streams:  # all of them still work, also those through the exit that drains
            stream.send(b"still here")
            assert stream.receive(10) == b"still here"
            stream.close()
        assert drain.wait(30) == 0
    assert draining.wait_exit() == 0
    assert not load.failures, load.failures[:5]


def test_replaced_exit_is_noticed_at_once(topology, network, loop):
    """A restart with the same identity and address, faster than any timeout."""
    world = World(topology, network, loop, "random")
    with world.load(20) as load:
        settle(load, 100)
        for name in NAMES:
            world.exits[name].kill()
            world.exits[name].start()
            world.exits[name].wait_ready()
            wait_until(lambda name=name: world.peers()[name]["state"] == "up", 10, f"{name} being used again")
            settle(load, 60)
    assert not load.failures, load.failures[:5]


def test_explain_says_what_happens(topology, network, loop):
    world = World(topology, network, loop, "fastest")
    told = world.explain()
    assert told["strategy"] == "fastest"
    candidates = {candidate["id"]: candidate for candidate in told["candidates"]}
    near = candidates[world.exits["near"].id]
    assert near["eligible"] and near["share"] > 0.9
    assert near["exit_policy"]["verdict"] == "allow"
    world.exits["near"].kill()
    wait_until(lambda: world.peers()["near"]["state"] != "up", 5, "the loss")
    told = world.explain()
    candidates = {candidate["id"]: candidate for candidate in told["candidates"]}
    assert not candidates[world.exits["near"].id]["eligible"]
    assert candidates[world.exits["near"].id]["reason"]
    assert candidates[world.exits["middle"].id]["share"] > 0.9
    before = world.streams_of("middle")
    world.stream().close()
    assert world.streams_of("middle") == before + 1


def test_parked_connections_save_a_round_trip(topology, network, loop):
    """60 ms of round trip between client and exit: the first answer comes one of them earlier."""
    world = World(topology, network, loop, "random", {"distant": 30})

    def first_answer() -> float:
        def body():
            began = time.monotonic()
            stream = dial(world.client.socks, world.target)
            stream.send(b"x")
            stream.receive(1)
            taken = time.monotonic() - began
            stream.close()
            return taken
        return world.home.do(body)

    cold = first_answer()
    warm = []
    for _ in range(9):
        wait_until(lambda: world.peers()["distant"]["parked"] > 0, 10, "a parked connection")
        warm.append(first_answer())
    assert cold - statistics.median(warm) > 0.03, (cold, warm)
    hits = sum(engine["pool"]["hits"] for engine in world.client.status()["engines"])
    assert hits >= 5
