"""Many streams through a relay: an idle one costs it a slot and nothing else, and busy ones no more than its buffers.

    client ── relay ── exit that keeps connections ready there ── echo
"""

import asyncio
import resource
from concurrent.futures import ThreadPoolExecutor

import pytest

import servers
from harness import proportional_kib, wait_until
from socks5 import dial

pytestmark = pytest.mark.root

IDLE_KIB_MAX = 2.0
BUFFERS_MIB = 16
OTHER_MIB = 4  # what else an engine touches once streams move: burst buffers, openings, cached keys
OPENERS = 32
OTHERS_MAX = 100  # relayed streams that are no application's: sessions, connections kept ready

COUNTS = [pytest.param(500, 100, id="500_idle_100_active"),
          pytest.param(10_000, 1_000, id="10000_idle_1000_active", marks=pytest.mark.long)]


class Relayed:
    """One relay, one exit behind it, one client."""

    def __init__(self, network, loop):
        self.echo = loop.serve(servers.echo)
        self.loop = loop
        self.relay = network.node("--relay-mode", name="relay", allow=(),
                                  config={"limits": {"buffer_memory_mb": BUFFERS_MIB}})
        exit_node = network.node("--connect-relay", self.relay.address, name="exit")
        self.client = network.client(config={"nodes": [{"id": exit_node.id, "relay": self.relay.address}]})

    def open(self, count: int) -> list:
        """Streams that echo."""
        def one(number):
            stream = dial(self.client.socks, self.echo, 60)
            exchange(stream, number)
            return stream

        with ThreadPoolExecutor(OPENERS) as pool:
            return list(pool.map(one, range(count)))

    def relayed(self) -> int:
        return sum(engine["relay"]["streams"] for engine in self.relay.status()["engines"])

    def memory_kib(self) -> float:
        return proportional_kib(self.relay.data_plane())

    def all_move(self, streams: list, rounds: int) -> None:
        """All at the same time, each as fast as it can; every byte is compared."""
        message = servers.PATTERN[:20_000]

        async def one(stream, number):
            reader, writer = await asyncio.open_connection(sock=stream.sock.dup(), limit=1 << 17)
            for turn in range(rounds):
                sent = message[(number + turn) % 100:]
                writer.write(sent)
                assert await reader.readexactly(len(sent)) == sent
            writer.transport.abort()  # of the copy

        async def every():
            await asyncio.gather(*(one(stream, number) for number, stream in enumerate(streams)))

        asyncio.run(asyncio.wait_for(every(), 300))


def exchange(stream, number: int) -> None:
    word = number.to_bytes(4, "big")
    stream.send(word)
    assert stream.receive(4) == word


def close(streams: list) -> None:
    for stream in streams:
        stream.close()


@pytest.mark.parametrize("idle_count, active_count", COUNTS)
def test_memory_of_a_relay_is_bounded(network, loop, idle_count, active_count):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 3 * (idle_count + active_count) + 1000:
        pytest.skip("too few descriptors: raise ulimit -n")
    world = Relayed(network, loop)
    # What the first streams touch is touched once.
    close(world.open(4 * OPENERS))
    wait_until(lambda: world.relayed() <= OTHERS_MAX, 20, "the end of the first streams")

    before = world.memory_kib()
    idle = world.open(idle_count)
    assert world.relayed() >= idle_count
    each = (world.memory_kib() - before) / idle_count
    assert each <= IDLE_KIB_MAX, f"{each:.2f} KiB of the relay for each idle stream"

    active = world.open(active_count)
    rest = world.memory_kib()
    world.all_move(active, 10)
    grown = (world.memory_kib() - rest) / 1024
    assert grown <= BUFFERS_MIB + OTHER_MIB, f"{grown:.1f} MiB more after {active_count} streams have moved"

    for number, stream in enumerate(idle + active):
        stream.send(number.to_bytes(4, "big"))
    for number, stream in enumerate(idle + active):
        assert stream.receive(4) == number.to_bytes(4, "big")
    close(idle + active)
    wait_until(lambda: world.relayed() <= OTHERS_MAX, 30, "the end of all streams")
