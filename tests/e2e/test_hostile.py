"""Whoever cannot prove that he belongs to the network gets nothing: PROTOCOL.md section 8, and caps."""

import os
import socket
import threading
import time

import pytest
from qanatpeer.client import NoAnswer, Session
from qanatpeer.keys import Identity, NetworkKey
from qanatpeer.handshake import Initiator
from qanatpeer.messages import Address, ClientHello, Kind, Request
from qanatpeer.records import read_exactly

from harness import TIME_SCALE, cpu_seconds, process_state, wait_until
from servers import Target
from socks5 import dial

DEADLINE_MIN, DEADLINE_MAX = 5, 10


class Probe(threading.Thread):
    """One hostile connection: sends its pieces, then listens until the end. Never expects a byte."""

    def __init__(self, name: str, node: tuple[str, int], pieces: list[bytes], pause: float = 0, shut: bool = False):
        super().__init__(daemon=True)
        self.name, self.pieces, self.pause, self.shut = name, pieces, pause, shut
        self.received, self.seconds = b"", None
        self.started = time.monotonic()
        self.sock = socket.create_connection(node, 10)

    def run(self):
        feeder = threading.Thread(target=self.feed, daemon=True)
        feeder.start()
        self.sock.settimeout(40 * TIME_SCALE)
        try:
            while data := self.sock.recv(4096):
                self.received += data
        except (ConnectionResetError, socket.timeout):
            pass
        self.seconds = time.monotonic() - self.started
        self.sock.close()
        feeder.join(10)

    def feed(self):
        try:
            for piece in self.pieces:
                self.sock.sendall(piece)
                if self.pause:
                    time.sleep(self.pause)
                    if self.seconds is not None:
                        return
            if self.shut:
                self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_silence(network, echo):
    """Every wrong beginning looks the same: no byte, closed 5 to 10 s after accept, at the same moment whatever the
    cause; what was replayed never reaches the target; valid clients notice nothing."""
    node = network.node()
    client = network.client(node)
    key, identity = NetworkKey.load(network.key), Identity.generate()
    with Target() as target, Session(node.tunnel, key, node.id) as session:
        to_target = Request(Kind.CONNECT, Address(*target.address))

        def hello():
            return ClientHello(1, (1, 2, 3), os.urandom(16))

        def msg1(with_key=key, node_id=None):
            from qanatpeer.keys import decode_id
            return Initiator(with_key, node_id or decode_id(node.id), identity, hello()).msg1()

        used = session.first_flight(to_target)
        first = session.dial()
        first.sendall(used.data)
        read_exactly(first, 37)  # the node has taken it
        wait_until(lambda: target.accepted == 1)
        fresh = [session.first_flight(to_target).data for _ in range(8)]

        probes = {
            "nothing": [],
            "one zero byte": [b"\0"],
            "random": [os.urandom(2000)],
            "random after 0x01": [b"\x01" + os.urandom(2000)],
            "random after 0x17": [b"\x17\x03\x03" + os.urandom(2000)],
            "tls client hello": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(506)],
            "http": [b"GET / HTTP/1.1\r\nHost: node\r\n\r\n"],
            "five million bytes": [b"\x42" * 5_000_000],
            "half a msg1": [msg1()[:256]],
            "msg1 less one byte": [msg1()[:511]],
            "version": [flipped(msg1(), 15)],
            "length": [flipped(msg1(), 31)],
            "ephemeral": [flipped(msg1(), 8 * 4)],
            "static": [flipped(msg1(), 8 * 40)],
            "payload": [flipped(msg1(), 8 * 200)],
            "gate tag": [flipped(msg1(), 8 * 511 + 7)],
            "wrong network key": [msg1(NetworkKey.generate())],
            "wrong node id": [msg1(node_id=Identity.generate().public)],
            "replayed msg1": [session.initiator.msg1()],
            "half a preamble": [fresh[0][:20]],
            "only the preamble": [fresh[1][:53]],
            "first flight less one byte": [fresh[2][:-1]],
            "flipped client random": [flipped(fresh[3], 8 * 10)],
            "flipped session": [flipped(fresh[4], 8 * 38)],
            "flipped number": [flipped(fresh[5], 8 * 52)],
            "flipped record": [flipped(fresh[6], 8 * 300)],
            "record header": [flipped(fresh[7], 8 * 53 + 1)],
            "replayed first flight": [used.data],
            "replayed with data": [used.data + os.urandom(5000)],
            "unknown session": [session.first_flight(to_target, session_id=12345).data],
        }
        running = [Probe(name, node.tunnel, pieces) for name, pieces in probes.items()]
        running.append(Probe("drip", node.tunnel, [bytes([byte]) for byte in msg1()], pause=0.5))
        running.append(Probe("drip of a first flight", node.tunnel, [bytes([byte]) for byte in fresh[0]], pause=0.5))
        # Whoever ends his own direction may be let go at once, but again whatever he sent before.
        ending = [Probe(f"{name}, then its end", node.tunnel, pieces, shut=True) for name, pieces in {
            "nothing": [], "random": [os.urandom(100)], "half a msg1": [msg1()[:256]],
            "wrong network key": [msg1(NetworkKey.generate())], "replayed first flight": [used.data],
            "first flight less one byte": [session.first_flight(to_target).data[:-1]]}.items()]
        for probe in running + ending:
            probe.start()

        served = 0
        while any(probe.is_alive() for probe in running):
            with dial(client.socks, echo) as app:
                app.send(b"meanwhile")
                assert app.receive(9) == b"meanwhile"
            served += 1
            time.sleep(0.1)
        assert served > 10
        first.close()
        target_accepted = target.accepted

    assert {probe.name: probe.received for probe in running + ending if probe.received} == {}
    assert target_accepted == 1, "a replayed or damaged first flight reached the target"
    late = {probe.name: round(probe.seconds, 2) for probe in running
            if not DEADLINE_MIN - 0.1 <= probe.seconds <= DEADLINE_MAX + 2 * TIME_SCALE}
    assert late == {}, "closed outside 5 … 10 s"
    for group in (running, ending):
        # "nothing" apart: the kernel hands a connection without data over a second later (TCP_DEFER_ACCEPT).
        spread = {probe.name: round(probe.seconds, 2) for probe in group if probe.name != "nothing"}
        assert max(spread.values()) - min(spread.values()) < 1 * TIME_SCALE, f"the end tells the cause: {spread}"
        assert max(spread.values()) < DEADLINE_MAX + 2 * TIME_SCALE


def test_wrong_network_key_says_so(network):
    """The client side of silence: not ready, still running, and a log line that names the possible causes."""
    node = network.node()
    other = network.directory / "other.key"
    NetworkKey.generate().save(other)
    client = network.client(node, start=False)
    client.arguments[client.arguments.index(network.key)] = other
    client.start()
    wait_until(lambda: "network key" in client.log(), 25, "an explanation in the client's log")
    assert client.running() and not client.connected()


@pytest.mark.parametrize("first_byte", [b"", b"\x01", b"\x17"], ids=["nothing", "handshake", "stream"])
def test_flood_of_connections(network, echo, first_byte):
    """Far more silent connections than the cap, renewed all the time: the node stays calm, and its clients, a new one
    among them, notice nothing."""
    node = network.node(config={"limits": {"unauthenticated": 64}})
    client = network.client(node)
    stop = threading.Event()
    opened = []

    def flood():
        held = []
        while not stop.is_set():
            try:
                sock = socket.create_connection(node.tunnel, 10)
                sock.sendall(first_byte)
                held.append(sock)
            except OSError:
                pass
            opened.append(1)
            if len(held) > 300:
                held.pop(0).close()
            time.sleep(0.002)
        for sock in held:
            sock.close()

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        wait_until(lambda: len(opened) > 200, 10, "the flood")
        busy = {pid: cpu_seconds(pid) for pid in node.pids()}
        started = time.monotonic()
        while time.monotonic() - started < 1.5:
            with dial(client.socks, echo) as app:
                app.send(b"x")
                assert app.receive(1) == b"x"
            time.sleep(0.02)
        Session(node.tunnel, NetworkKey.load(network.key), node.id).close()
        assert max(cpu_seconds(pid) - busy[pid] for pid in busy) < 0.75 * (time.monotonic() - started)
    finally:
        stop.set()
        thread.join()
    assert all(process_state(pid) for pid in node.pids())


def test_flood_of_random_handshakes_then_a_valid_one(network):
    node = network.node()
    for _ in range(300):
        with socket.create_connection(node.tunnel, 10) as sock:
            sock.sendall(b"\x01\x01\x01\xfc" + os.urandom(508))

    def admitted():
        try:
            Session(node.tunnel, NetworkKey.load(network.key), node.id, timeout=5).close()
            return True
        except (NoAnswer, OSError):
            return False

    wait_until(admitted, 15, "a valid handshake after 300 wrong ones")


@pytest.mark.parametrize("damage", ["flip", "type", "length", "plain", "empties", "after-close"])
def test_damage_inside_an_authenticated_stream_resets_the_target(network, damage):
    """A member that breaks the record layer: the target's connection is reset, the node lives."""
    from qanatpeer.records import DATA
    node = network.node()
    with Target() as target, Session(node.tunnel, NetworkKey.load(network.key), node.id) as session:
        stream = session.connect(*target.address)
        far = target.take()
        stream.send(b"good")
        assert far.recv(10) == b"good"
        if damage == "flip":
            stream.sock.sendall(flipped(stream.sealer.seal(DATA, b"bad"), 50))
        elif damage == "type":
            stream.sock.sendall(stream.sealer.seal(24, b"bad"))
        elif damage == "length":
            stream.sock.sendall(b"\x17\x03\x03\xff\xff" + bytes(66000))
        elif damage == "plain":
            stream.sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        elif damage == "empties":
            stream.sock.sendall(b"".join(stream.sealer.seal(DATA, b"") for _ in range(65)))
        else:
            stream.sock.sendall(stream.sealer.seal(21, b"\x01\x00") + stream.sealer.seal(DATA, b"bad"))
        received = b""
        try:
            while data := far.recv(100):
                received += data
            # After an authenticated close the end was clean already; what follows is not delivered.
            assert damage == "after-close"
        except ConnectionResetError:
            pass
        assert received == b""
        session.connect(*target.address).close()
