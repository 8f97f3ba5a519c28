"""Direct connections through NATs (hole punching): which boxes let them pass, and that nothing is lost where they do not.

        home ── NAT ──┐                  ┌── NAT ── exit
                      ├── relay, web ────┘

A box that keeps ports maps a port to the same outer port whoever it talks to, and lets in only answers: what RFC 4787
calls endpoint-independent mapping and address-and-port-dependent filtering. One with "random" draws another port for
every connection: a symmetric NAT.
"""

import time

import pytest

import servers
from harness import free_port, wait_until
from load import Load
from test_relay import World

pytestmark = [pytest.mark.root, pytest.mark.netns]

KEEPS_PORTS = "masquerade"
SYMMETRIC = "masquerade random,fully-random"


class Boxes(World):
    """World, with a kind of NAT for each side, and an exit that may have its own configuration."""

    def __init__(self, topology, network, loop, home_nat=KEEPS_PORTS, exit_nat=KEEPS_PORTS, config=None,
                 exit_config=None):
        self.network, self.topology = network, topology
        self.relay_hosts = {"relay": topology.host("relay")}
        self.web = topology.host("web")
        self.home_box, self.exit_box = topology.nat("hbox", home_nat), topology.nat("xbox", exit_nat)
        self.home, self.exit_host = topology.behind(self.home_box, "home"), topology.behind(self.exit_box, "exit")
        for host in self.relay_hosts.values():
            topology.wait_reachable(self.home, host)
            topology.wait_reachable(self.exit_host, host)
        listener = self.web.do(lambda: servers.socket.create_server((self.web.ip, 0), backlog=4096))
        self.target = loop.serve(servers.echo, listener=listener)
        listener = self.web.do(lambda: servers.socket.create_server((self.web.ip, 0), backlog=4096))
        self.pages = loop.serve(servers.http(), listener=listener)
        self.relays = {name: network.node("--relay-mode", name=name, netns=host.netns, allow=(),
                                          listen=(host.ip, free_port())) for name, host in self.relay_hosts.items()}
        relay = self.relays["relay"]
        self.exit = network.node("--connect-relay", relay.address, name="exit", netns=self.exit_host.netns,
                                 listen=(self.exit_host.ip, free_port()), allow=("--allow", "private"),
                                 config=exit_config)
        self.start_client(config or {"routing": {"health": "1s", "timeout": "10s"}})

    def relayed(self) -> tuple[int, int]:
        """Streams and bytes that the relay has carried, handshakes and pings among them."""
        relay = self.relays["relay"].status()["relay"]
        return relay["total"], relay["bytes"]

    def punch(self) -> dict:
        return self.client.status()["punch"]

    def direct_stream(self):
        """A stream over a punched connection. Streams are opened until one finds one: the demand is what makes them."""
        opened = []

        def direct():
            before = self.punch()["streams"]
            stream = self.stream()
            if self.punch()["streams"] > before:
                opened.append(stream)
                return True
            stream.close()
            time.sleep(0.1)
            return False

        wait_until(direct, 40, "a stream over a punched connection")
        return opened[0]


def test_two_boxes_that_keep_ports_let_streams_go_direct(topology, network, loop):
    world = Boxes(topology, network, loop)
    with world.direct_stream() as stream:
        relayed = world.relayed()[1]
        block = b"past the relay " * 4096
        for _ in range(40):  # 2.4 MB there, and back
            stream.send(block)
            assert stream.receive(len(block)) == block
        assert world.relayed()[1] - relayed < 100_000
    peer = wait_until(lambda: world.exit_as_peer()["punched"] and world.exit_as_peer(), 10, "the report of the engines")
    assert peer["path"] != "direct"
    assert world.exit.status()["punch"]["made"] >= 1
    assert "direct connections through NAT work" in world.client.log()


def test_a_direct_stream_outlives_the_relay(topology, network, loop):
    world = Boxes(topology, network, loop)
    with world.direct_stream() as stream:
        world.relays["relay"].kill()
        for _ in range(20):
            stream.send(b"still here")
            assert stream.receive(10) == b"still here"
            time.sleep(0.05)


@pytest.mark.parametrize("home_nat, exit_nat", [(SYMMETRIC, KEEPS_PORTS), (KEEPS_PORTS, SYMMETRIC),
                                                (SYMMETRIC, SYMMETRIC)], ids=["home", "exit", "both"])
def test_behind_a_symmetric_box_streams_stay_on_the_relay(topology, network, loop, home_nat, exit_nat):
    world = Boxes(topology, network, loop, home_nat, exit_nat)
    with Load(world.home, world.client.socks, world.target, 4, pause=0.05) as load:
        wait_until(lambda: world.punch()["failed"] > 0 or load.failures, 40, "a punch to fail")
        before = load.done
        wait_until(lambda: load.done >= before + 100 or load.failures, 40, "streams after it")
    assert not load.failures and not load.cut, (load.failures[:5], load.cut[:5])
    assert world.punch()["made"] == world.punch()["streams"] == 0
    assert world.exit_as_peer()["punch_failed"] > 0 and world.exit_as_peer()["state"] == "up"


def test_many_streams_while_connections_are_punched(topology, network, loop):
    world = Boxes(topology, network, loop)
    with Load(world.home, world.client.socks, world.target, 16, pause=0.02) as load:
        wait_until(lambda: (load.done >= 1000 and world.punch()["streams"] > 0) or load.failures, 60, "1000 streams")
    assert not load.failures and not load.cut, (load.failures[:5], load.cut[:5])


@pytest.mark.parametrize("side", ["client", "node"])
def test_punching_can_be_switched_off(topology, network, loop, side):
    off = {"routing": {"punch": False, "health": "1s", "timeout": "10s"}} if side == "client" else None
    world = Boxes(topology, network, loop, config=off, exit_config={"node": {"punch": False}} if off is None else None)
    for _ in range(20):
        world.stream().close()
        time.sleep(0.05)
    assert world.punch() == {"ready": 0, "made": 0, "failed": 0, "streams": 0}
    assert world.exit.status()["punches"]["asked"] == 0
