"""Nodes and clients that know nothing but a Redis server."""

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import environment, free_port, qanat, run, wait_until
from socks5 import SocksError, dial

PASSWORD = "not-for-the-log"


class Redis:
    """A real server on a free port."""

    def __init__(self, *options: str):
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="qanat-redis-"))
        self.options = options
        self.process = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--dir", str(self.directory), "--requirepass", PASSWORD, *self.options],
            env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.cli("PING").strip() == "PONG", 10, "redis-server")

    def cli(self, *command: str, check: bool = False) -> str:
        done = run("redis-cli", "-p", str(self.port), "-a", PASSWORD, "--no-auth-warning", *command)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/3"


@pytest.fixture
def redis():
    server = Redis()
    yield server
    server.kill()


def discover(redis, topic: str = "test-nodes") -> tuple:
    return ("--discover", "--discover-address", redis.url, "--discover-topic", topic)


def start_client(network, redis, **options):
    return network.client(arguments=discover(redis, options.pop("topic", "test-nodes")),
                          config={"routing": {"health": "1s"}}, **options)


def peers(client) -> list[dict]:
    done = qanat("peers", "--json", "--admin", client.admin)
    return json.loads(done.stdout)["peers"] if done.returncode == 0 else []


def up(client) -> int:
    return sum(peer["state"] == "up" for peer in peers(client))


def works(client, target) -> bool:
    try:
        dial(client.socks, target, 10).close()
        return True
    except (SocksError, OSError):
        return False


def test_client_finds_nodes_that_come_and_go(network, redis, echo):
    first = network.node(*discover(redis))
    client = start_client(network, redis)
    wait_until(lambda: works(client, echo), 10, "a stream")
    second = network.node(*discover(redis))
    wait_until(lambda: up(client) == 2, 10, "the second node")
    first.terminate()
    wait_until(lambda: up(client) == 1, 10, "the first node's withdrawal")
    assert works(client, echo)
    assert {peer["id"] for peer in peers(client) if peer["state"] == "up"} == {second.id}


def test_reload_that_turns_discovery_off_withdraws_the_node(network, redis, echo):
    settings = {"discovery": {"enabled": True, "address": redis.url, "topic": "test-nodes"}}
    node = network.node(config=settings)
    client = start_client(network, redis)
    wait_until(lambda: works(client, echo), 10, "a stream")
    settings["discovery"]["enabled"] = False
    Path(node.arguments[node.arguments.index("--config") + 1]).write_text(json.dumps(settings), encoding="utf-8")
    assert qanat("reload", "--admin", node.admin).returncode == 0
    # Without a farewell it would stay for a minute.
    wait_until(lambda: not peers(client), 10, "the withdrawal")
    assert "discovery" not in node.status()


def test_client_starts_before_redis_and_nodes(network, echo):
    server = Redis()
    server.kill()
    client = start_client(network, server, wait=False)
    wait_until(lambda: client.status(), 10, "the admin socket")
    node = network.node(*discover(server), wait=False)
    server.start()
    try:
        wait_until(lambda: works(client, echo), 30, "a stream")
        node.wait_ready()
    finally:
        server.kill()


def test_client_keeps_what_it_knows_when_redis_dies(network, redis, echo):
    network.node(*discover(redis))
    client = start_client(network, redis)
    wait_until(lambda: works(client, echo), 10, "a stream")
    redis.kill()
    wait_until(lambda: not client.status()["discovery"]["connected"], 15, "the loss in status")
    assert works(client, echo)
    late = network.node(*discover(redis), wait=False)
    redis.start()
    wait_until(lambda: up(client) == 2, 30, "both nodes after the restart")
    late.wait_ready()


def test_hung_redis_and_flushall_change_nothing(network, redis, echo):
    network.node(*discover(redis))
    client = start_client(network, redis)
    wait_until(lambda: works(client, echo), 10, "a stream")
    redis.cli("FLUSHALL", check=True)
    assert works(client, echo) and up(client) == 1
    os.kill(redis.process.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: not client.status()["discovery"]["connected"], 30, "the hang in status")
        assert works(client, echo) and up(client) == 1
    finally:
        os.kill(redis.process.pid, signal.SIGCONT)
    wait_until(lambda: client.status()["discovery"]["connected"], 30, "the connection again")
    assert works(client, echo)


def test_nobody_reads_or_forges_an_entry(network, redis, echo):
    monitor = subprocess.Popen(["redis-cli", "-p", str(redis.port), "-a", PASSWORD, "--no-auth-warning", "MONITOR"],
                               env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    node = network.node(*discover(redis))
    client = start_client(network, redis)
    wait_until(lambda: works(client, echo), 10, "a stream")
    keys = redis.cli("-n", "3", "KEYS", "*").split()
    assert keys
    genuine = run("redis-cli", "-p", str(redis.port), "-a", PASSWORD, "--no-auth-warning", "-n", "3", "GET",
                  keys[0]).stdout
    # Rubbish beside it, a copy of it under another name, and rubbish in its place.
    prefix = keys[0].rpartition(":")[0]
    redis.cli("-n", "3", "SET", f"{prefix}:{'0' * 32}", "rubbish", check=True)
    redis.cli("-n", "3", "COPY", keys[0], f"{prefix}:{'1' * 32}", check=True)
    redis.cli("-n", "3", "LPUSH", f"{prefix}:{'2' * 32}", "a list", check=True)
    wait_until(lambda: sum(client.status()["discovery"]["ignored"].values()) > 0, 60, "the forgeries being counted")
    assert up(client) == 1 and works(client, echo)
    assert genuine
    monitor.terminate()
    seen = monitor.communicate(timeout=10)[0]
    for secret in (node.id.encode(), str(node.tunnel[1]).encode(), b"test-nodes"):
        assert secret not in seen, secret
    for program in (node, client):
        assert PASSWORD not in program.log().partition("\n")[2]  # the first line is the command


def test_topics_and_keys_separate_networks(network, redis, echo):
    network.node(*discover(redis, "one"))
    other = start_client(network, redis, topic="two", wait=False)
    mine = start_client(network, redis, topic="one")
    wait_until(lambda: works(mine, echo), 10, "a stream")
    assert other.status() is not None
    assert up(other) == 0


def test_many_entries(network, redis, echo):
    """The client carries on among entries of strangers."""
    network.node(*discover(redis))
    client = start_client(network, redis)
    wait_until(lambda: works(client, echo), 10, "a stream")
    key = redis.cli("-n", "3", "KEYS", "*").split()[0]
    script = "for i = 1, 10000 do redis.call('SET', KEYS[1] .. string.format('%032x', i), ARGV[1]) end"
    redis.cli("-n", "3", "EVAL", script, "1", key.rpartition(":")[0] + ":", "x" * 300, check=True)
    wait_until(lambda: sum(client.status()["discovery"]["ignored"].values()) >= 10_000, 90, "all strangers counted")
    assert works(client, echo)


# ----------------------------------------------------------------------------------- relays that are found in discovery


class Hidden:
    """Relays, and an exit that clients reach through some of them only; all they are told is where Redis is.

        client ── relays ── exit, which listens where nobody is told
    """

    def __init__(self, network, redis, relays, wanted):
        self.network, self.redis = network, redis
        self.relays = [self.start_relay() for _ in range(relays)]
        self.exit = network.node(*discover(redis), "--relays-from-discovery", str(wanted), name="exit",
                                 config={"node": {"announce": ["127.0.0.1:1"]}})
        self.client = start_client(network, redis, wait=False)
        wait_until(self.client.status, 10, "the admin socket")

    def start_relay(self):
        # Nobody leaves the network here: what arrives has gone through to the exit.
        return self.network.node("--relay-mode", *discover(self.redis), allow=())

    def reserved_at(self) -> set:
        return {entry["relay"] for entry in self.exit.status()["reservations"] if entry["state"] == "reserved"}

    def exit_as_peer(self) -> dict:
        return next((peer for peer in peers(self.client) if peer["id"] == self.exit.id), {})

    def works(self, echo) -> bool:
        """Through the exit: the relays deny loopback, and a denial is not retried elsewhere."""
        return any(works(self.client, echo) for _ in range(20))


def test_node_finds_its_relays(network, redis, echo):
    world = Hidden(network, redis, relays=3, wanted=2)
    ids = {relay.id for relay in world.relays}
    wait_until(lambda: len(world.reserved_at()) == 2, 20, "two reservations")
    assert world.reserved_at() < ids
    wait_until(lambda: world.exit_as_peer().get("state") == "up", 20, "the exit, through a relay")
    assert world.exit_as_peer()["path"].startswith("via ")
    wait_until(lambda: world.works(echo), 20, "a stream")
    seen = {peer["id"]: peer["source"] for peer in peers(world.exit) if peer["role"] == "relay"}
    assert seen == {one: "discovery" for one in ids}  # one of them spare


def test_relay_that_disappears_is_replaced(network, redis, echo):
    world = Hidden(network, redis, relays=2, wanted=1)
    first, = wait_until(world.reserved_at, 20, "a reservation")
    wait_until(lambda: world.works(echo), 30, "a stream")
    relay = next(relay for relay in world.relays if relay.id == first)
    relay.kill()
    second, = wait_until(lambda: world.reserved_at() - {first}, 30, "another reservation")
    assert second != first
    wait_until(lambda: world.exit_as_peer().get("state") == "up" and second[:10] in world.exit_as_peer()["path"], 30,
               "the exit through the other relay")
    wait_until(lambda: world.works(echo), 30, "a stream through the other relay")


def test_relay_that_comes_later_is_found(network, redis, echo):
    world = Hidden(network, redis, relays=0, wanted=1)
    assert world.exit.status()["reservations"] == []
    relay = world.start_relay()
    wait_until(lambda: world.reserved_at() == {relay.id}, 20, "a reservation")
    wait_until(lambda: world.works(echo), 30, "a stream")
