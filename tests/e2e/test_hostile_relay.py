"""A relay that is a member, and hostile: whatever it does to the bytes, an application sees the right ones, a reset or
a refusal. Never wrong bytes, never an end of file before the end."""

import os
import random
import select
import socket
import threading
import time

import pytest

from harness import cpu_seconds, wait_until
from hostile_relay import (DAMAGES, CrossedAnswers, Damages, HostileRelay, Recorder, garbage, own_answer, send_alone,
                           stall, stall_after)
from python_peers import PythonPeers, behind, public_key, serves
from servers import Target
from socks5 import SocksError, dial
from test_peer_relay import client_of, peers_of

BLOB = os.urandom(150_000)


class Witness(Target):
    """An echo server that remembers what it was sent and how that ended."""

    def __init__(self):
        self.seen: list[tuple[bytes, str]] = []
        super().__init__(self.echo)

    def echo(self, sock):
        received, how = bytearray(), "eof"
        try:
            while data := sock.recv(65536):
                received += data
                sock.sendall(data)
        except OSError:
            how = "reset"
        self.seen.append((bytes(received), how))


def exchange(proxy, target, timeout: float = 20) -> tuple[bytes, str]:
    """BLOB through an echo server: what came back, and "eof", "reset", "stalled" or "refused"."""
    received = bytearray()
    try:
        app = dial(proxy, target, timeout)
    except SocksError:
        return b"", "refused"
    except ConnectionResetError:
        return b"", "reset"
    except socket.timeout:
        return b"", "stalled"
    # One thread, and reading first: a reset is told once, to whoever asks first, and an end of file may follow it.
    with app:
        left, poll = memoryview(BLOB), select.poll()
        app.sock.setblocking(False)
        poll.register(app.sock, select.POLLIN | select.POLLOUT)
        try:
            while events := poll.poll(timeout * 1000):
                if events[0][1] & ~select.POLLOUT:
                    data = app.sock.recv(65536)
                    if not data:
                        return bytes(received), "eof"
                    received += data
                elif left:
                    left = left[app.sock.send(left):]
                    if not left:
                        app.sock.shutdown(socket.SHUT_WR)
                        poll.modify(app.sock, select.POLLIN)
        except OSError:
            return bytes(received), "reset"
    return bytes(received), "stalled"


def lies(results) -> list[str]:
    """What no application may ever see: bytes that were not sent, or an end of file before the end."""
    return [f"{len(received)} bytes, {how}" for received, how in results
            if not BLOB.startswith(received) or (how == "eof" and received != BLOB)]


def outcome(result: tuple[bytes, str]) -> tuple[str, str]:
    """For messages that can be read."""
    received, how = result
    what = "all" if received == BLOB else f"first {len(received)}" if BLOB.startswith(received) else "WRONG"
    return what, how


class Scene:
    """One client whose only way to one node is the hostile relay."""

    def __init__(self, network, peers, hidden: bool = False, more=(), relay_class=HostileRelay):
        self.hop = peers.relay(relay_class)
        self.relay = self.hop.relay
        offers = ("--connect-relay", self.hop.address) if hidden else ()
        self.node = network.node(*offers, name="exit")
        if hidden:
            wait_until(lambda: self.relay.offers_of(public_key(self.node)), 10, "an offered connection")
        entry = behind(self.node, relay=[self.hop], stated=False) if hidden else behind(self.node, via=[self.hop])
        self.client = client_of(network, entry, *more, routing={"timeout": "2s"})
        self.target = Witness()

    def exchange(self, **options):
        return exchange(self.client.socks, self.target.address, **options)

    def damage(self, direction: str, position: str | int, damages) -> Damages:
        self.relay.damages = Damages(direction, position, damages)
        return self.relay.damages

    def attack(self, attack, on_control: bool = False) -> None:
        """From now on, on connections of which none exists yet."""
        self.relay.attack, self.relay.on_control = attack, on_control
        self.relay.cut(control=on_control)

    def check_honest(self) -> None:
        """Without an attack the same programs work as ever, nothing is left of the streams, and nobody spins."""
        self.relay.damages = self.relay.attack = None
        self.relay.cut(control=False)
        wait_until(lambda: serves(self.client.socks, self.target.address), 40, "streams after the attack")
        assert lies([(received, how) for received, how in self.target.seen if received != b"x"]) == []
        for _ in range(2):
            assert outcome(self.exchange()) == ("all", "eof")
        self.check_quiet()

    def check_quiet(self) -> None:
        programs = [self.client, self.node]
        for program in programs:
            wait_until(lambda program=program: program.status()["streams"]["active"] == 0, 15,
                       f"no stream left in {program.name}")
        pids = [pid for program in programs for pid in program.pids()]
        before = {pid: cpu_seconds(pid) for pid in pids}
        time.sleep(0.5)
        assert max(cpu_seconds(pid) - before[pid] for pid in pids) < 0.25, "a program spins"

    def close(self) -> None:
        self.target.close()


@pytest.fixture
def peers(network):
    opened = PythonPeers(network)
    yield opened
    opened.close()


@pytest.fixture
def make_scene(network, peers):
    made = []

    def make(**options) -> Scene:
        made.append(Scene(network, peers, **options))
        return made[-1]

    yield make
    for scene in made:
        scene.close()


@pytest.fixture
def scene(make_scene):
    return make_scene()


# ============================================================================================= damage to single records

def ends_of(position: str, damage: str) -> set[str]:
    """How a stream may end at the application. A close_notify that is held back, or made to look longer, is one that has
    not come yet: no end of the connection follows it where both sides keep it. What comes behind one that was accepted
    comes too late to be told."""
    if position != "close":
        return {"reset"}
    return {"reset", "stalled", "eof"} if damage == "twice" else {"reset", "stalled"}


def all_at_once(scene: Scene, count: int, timeout: float = 6) -> list[tuple[bytes, str]]:
    results = []
    threads = [threading.Thread(target=lambda: results.append(scene.exchange(timeout=timeout))) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == count
    return results


@pytest.mark.parametrize("position", ["preamble", "first", "second"])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_damage_to_the_handshake_of_a_stream(scene, direction, position):
    """Of connections that are being parked, too. The client may try again, and then all is right or nothing."""
    damages = scene.damage(direction, position, DAMAGES)
    scene.relay.cut(control=False)
    results = all_at_once(scene, len(DAMAGES))
    assert lies(results) == []
    if not damages.done:
        assert lies(all_at_once(scene, len(DAMAGES))) == []
    assert scene.relay.hits >= len(DAMAGES) - 5
    scene.check_honest()


@pytest.mark.parametrize("position", ["data", "close"])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_damage_to_a_running_stream(scene, direction, position):
    for damage in DAMAGES:
        scene.damage(direction, position, [damage])
        result = scene.exchange(timeout=4)
        assert lies([result]) == [], damage
        assert result[1] in ends_of(position, damage), (damage, outcome(result))
    assert scene.relay.hits == len(DAMAGES)
    if direction == "up":
        ends = [how for _, how in scene.target.seen]
        assert ends.count("eof") <= (1 if position == "close" else 0), "the target saw an end that nobody sent"
    scene.check_honest()


def test_any_single_bit(scene):
    """From the third record on: up to there a stream on a parked connection may still be tried again."""
    for attempt in range(50):
        damages = scene.damage("up" if attempt % 2 else "down", random.randrange(3, 10),
                               [random.choice(["header-bit", "body-bit", "tag-bit"])])
        result = scene.exchange()
        assert lies([result]) == []
        assert result[1] == ("reset" if damages.done else "eof"), outcome(result)
    assert scene.relay.hits > 30
    scene.check_honest()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_end_after_every_record(scene, direction):
    """Every record is whole, and every one is right; only close_notify is missing."""
    for index in range(3, 12):
        damages = scene.damage(direction, index, ["end-before"])
        result = scene.exchange()
        assert lies([result]) == [], index
        assert result[1] == ("reset" if damages.done else "eof"), (index, outcome(result))
    assert scene.relay.hits > 5
    scene.check_honest()


# ================================================================================================= things made up

@pytest.mark.parametrize("attack", [garbage, own_answer], ids=["garbage-after-ok", "own-response"])
def test_what_the_relay_makes_up(scene, attack):
    scene.attack(attack)
    for _ in range(5):
        result = scene.exchange()
        assert lies([result]) == [] and result[1] in ("reset", "refused"), outcome(result)
    assert scene.relay.hits >= 5
    scene.check_honest()


def test_answers_meant_for_somebody_else(scene):
    scene.attack(CrossedAnswers())
    results = all_at_once(scene, 6)
    assert lies(results) == [] and "eof" not in {how for _, how in results}
    scene.check_honest()


def test_the_relay_plays_the_node(network, peers):
    """It answers MSG1 itself: it holds the network key, but not the node's."""
    impostor = peers.node(silent_seconds=(0.3, 0.3))
    hop = peers.relay(HostileRelay)
    hop.relay.on_control = True
    hop.relay.attack = lambda stream, _: (impostor.serve(stream.sock.dup(), bytes(16)), time.sleep(1))
    real = network.node(name="exit")
    client = network.client(config={"nodes": [behind(real, via=[hop])], "routing": {"timeout": "2s", "health": "1s"}})
    wait_until(lambda: impostor.failures, 15, "an attempt")
    time.sleep(0.5)
    assert impostor.handshakes == 0
    assert [peer["id"] for peer in peers_of(client) if peer["state"] == "up"] == [hop.identity.id]
    hop.relay.attack = None
    with Witness() as target:
        wait_until(lambda: serves(client.socks, target.address), 40, "streams with the real node")


# ======================================================================================================== replays

def test_first_flights_that_the_relay_keeps(scene):
    """Alone, with all that followed it, and cut at any place: the node neither acts on it nor says a byte."""
    recorder = Recorder(5000)
    scene.attack(recorder)
    for _ in range(3):
        assert outcome(scene.exchange()) == ("all", "eof")
        scene.relay.cut(control=False)  # or the next stream would follow on the same connection
    wait_until(lambda: len([flight for flight in recorder.flights if len(flight) > 512]) >= 3, 5, "what was recorded")
    scene.attack(None)
    accepted = scene.target.accepted
    pieces = [data for flight in recorder.flights for data in (flight[:512], flight, flight[:700])]
    assert send_alone(scene.node.tunnel, pieces) == b""
    assert scene.target.accepted == accepted
    scene.check_honest()


def test_handshakes_that_the_relay_keeps(scene):
    """MSG1 and what followed, again, while its session is in use."""
    recorder = Recorder(5000)
    scene.attack(recorder, on_control=True)
    wait_until(lambda: scene.relay.hits, 20, "a new control connection")
    wait_until(lambda: serves(scene.client.socks, scene.target.address), 20, "streams of the new session")
    time.sleep(1.5)  # a ping or two
    scene.attack(None, on_control=True)
    wait_until(lambda: recorder.flights, 5, "what was recorded")
    wait_until(lambda: serves(scene.client.socks, scene.target.address), 20, "streams of the next session")
    sessions = scene.node.status()["sessions"]["active"]
    assert all(len(flight) > 512 and flight[0] == 1 for flight in recorder.flights)
    pieces = [data for flight in recorder.flights for data in (flight[:512], flight)]
    assert send_alone(scene.node.tunnel, pieces) == b""
    assert scene.node.status()["sessions"]["active"] <= sessions
    scene.check_honest()


# ===================================================================================================== stalling

@pytest.mark.parametrize("attack", [garbage, own_answer, stall], ids=["garbage", "own-response", "stall"])
def test_another_node_is_taken(network, make_scene, attack):
    """There is a second node without the relay: no stream fails, as long as no byte of it was released."""
    other = network.node(name="other")
    scene = make_scene(more=[behind(other)])
    scene.attack(attack)
    for _ in range(6):
        assert outcome(scene.exchange()) == ("all", "eof")
    scene.attack(None)
    scene.check_quiet()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_stalled_streams_hold_nothing_when_the_application_leaves(scene, count):
    """count 1: the node's preamble came through, so the client waits for the target; the application gives up."""
    scene.attack(stall_after(count))
    results = all_at_once(scene, 10, timeout=2)
    assert lies(results) == [] and "eof" not in {how for _, how in results}
    scene.check_honest()


def test_control_connection_that_stalls_or_is_damaged(scene):
    """Nothing but the session is lost by it, and that comes back."""
    scene.relay.on_control = True
    for direction, position in (("up", "preamble"), ("down", "preamble"), ("up", "first"), ("down", "first")):
        damages = scene.damage(direction, position, ["tag-bit", "end-inside"])
        scene.relay.cut(control=True)
        wait_until(lambda damages=damages: damages.done, 30, "two damaged control connections")
        wait_until(lambda: serves(scene.client.socks, scene.target.address), 40, f"streams ({direction} {position})")
    hits = scene.relay.hits
    scene.attack(stall, on_control=True)
    wait_until(lambda: scene.relay.hits > hits, 30, "a new control connection")
    before = {pid: cpu_seconds(pid) for pid in scene.client.pids()}
    time.sleep(1)
    assert max(cpu_seconds(pid) - before[pid] for pid in before) < 0.5, "the client spins"
    scene.attack(None, on_control=True)
    scene.check_honest()


# ============================================================================================= offered connections

class TwiceTaken(HostileRelay):
    twice = False

    def send_taken(self, offer, member, waiting):
        for _ in range(2 if self.twice else 1):
            super().send_taken(offer, member, waiting)


def test_taken_twice(make_scene):
    """The second one is the beginning of a connection for the node, and not a valid one."""
    scene = make_scene(hidden=True, relay_class=TwiceTaken)
    scene.relay.twice = True
    scene.relay.cut(control=False)
    results = all_at_once(scene, 5)
    assert lies(results) == [] and "eof" not in {how for _, how in results}
    scene.relay.twice = False
    scene.check_honest()


def test_damage_to_streams_over_offered_connections(make_scene):
    scene = make_scene(hidden=True)
    for direction, position in (("up", "data"), ("down", "data"), ("down", "close")):
        for damage in ("body-bit", "dropped", "swapped", "end-before", "end-inside", "reset-inside"):
            scene.damage(direction, position, [damage])
            result = scene.exchange(timeout=4)
            assert lies([result]) == [] and result[1] in ends_of(position, damage), (direction, position, damage,
                                                                                     outcome(result))
    scene.check_honest()


def take(scene: Scene):
    """An offered connection of the scene's node."""
    offer, _ = scene.relay._take(public_key(scene.node))
    assert offer, "the node offers again"
    return offer


def test_offered_connections_that_are_taken_and_left(make_scene):
    """TAKEN, and then nothing, or the end: the node replaces each, and closes what is silent at its deadline."""
    scene = make_scene(hidden=True)
    for index in range(12):
        offer = take(scene)
        scene.relay.send_taken(offer, os.urandom(32), 0)
        if index % 2:
            offer.stream.sock.shutdown(socket.SHUT_RDWR)
            offer.done.set()
    scene.check_honest()


def test_many_false_sources_do_not_keep_honest_members_out(make_scene):
    """Silent connections, each of another source: the node's caps and its deadline hold for them too."""
    scene = make_scene(hidden=True)
    for _ in range(60):
        scene.relay.send_taken(take(scene), os.urandom(32), 3)
    assert outcome(scene.exchange()) == ("all", "eof")
    scene.check_honest()


# =========================================================================================== another way there

@pytest.mark.parametrize("what", ["everything", "streams"])
@pytest.mark.parametrize("attack", [stall, garbage, own_answer], ids=["stall", "garbage", "own-response"])
def test_an_honest_relay_beside_the_hostile_one(network, peers, attack, what):
    """The node offers at both; the hostile one breaks whatever it carries, or only streams."""
    hostile, honest = peers.relay(HostileRelay), peers.relay()
    node = network.node("--connect-relay", hostile.address, "--connect-relay", honest.address, name="exit")
    for hop in (hostile, honest):
        wait_until(lambda hop=hop: hop.relay.offers_of(public_key(node)), 10, "an offered connection")
    client = client_of(network, behind(node, relay=[hostile, honest], stated=False), routing={"timeout": "2s"})
    with Witness() as target:
        assert outcome(exchange(client.socks, target.address)) == ("all", "eof")
        hostile.relay.attack = attack
        hostile.relay.cut(control=False)
        if what == "everything":
            hostile.relay.on_control = None
            hostile.relay.cut(control=True)

        def works():
            result = exchange(client.socks, target.address, timeout=30)
            assert lies([result]) == []
            return result[1] == "eof"

        wait_until(works, 40, "a stream past the hostile relay")
