"""Paths over relays, offered connections and questions about policy, all in Python: PROTOCOL.md sections 3.2 and 6."""

import hashlib
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from listener import listener
from test_qanat_peer import echo_server

from qanatpeer.client import NoAnswer, Refused, RelayRefused, Session, Stream
from qanatpeer.control import ControlMessage
from qanatpeer.keys import Identity, Malformed, NetworkKey
from qanatpeer.messages import Address, Control, Kind, Request, Status, Taken, UnknownAddressType
from qanatpeer.node import Node, reset
from qanatpeer.offering import Offering
from qanatpeer.records import CONTROL, Aborted, Cut, ProtocolError
from qanatpeer.relay import Relay


@pytest.fixture
def key():
    return NetworkKey.generate()


@pytest.fixture
def target():
    with echo_server() as address:
        yield address


@pytest.fixture
def stack():
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def make_relay(key, stack):
    def make(relay_class=Relay, **options) -> Node:
        relay = relay_class(key, **options)
        return stack.enter_context(Node(key, identity=relay.identity, relay=relay))

    return make


@pytest.fixture
def make_session(key, stack):
    def make(node: Node, through: Session | None = None, stated: bool = True, **options) -> Session:
        """A session with a node; stated: its address is told to the relay."""
        address = (node.host, node.port) if stated else None
        return stack.enter_context(Session(address, key, node.identity.public, through=through, **options))

    return make


@pytest.fixture
def offer(key, stack):
    def make(node: Node, relay: Node, count: int = 2, through: Session | None = None) -> Offering:
        session = Session((relay.host, relay.port), key, relay.identity.public, node.identity, through=through)
        return stack.enter_context(Offering(node, session, count))

    return make


def echoes(session: Session, target) -> None:
    blob = os.urandom(300_000)
    with session.connect(*target) as stream:
        sender = threading.Thread(target=lambda: (stream.send(blob), stream.half_close()))
        sender.start()
        assert hashlib.sha256(stream.receive_all()).digest() == hashlib.sha256(blob + b"bye").digest()
        sender.join()


# ============================================================================================================ messages

@pytest.mark.parametrize("message", [
    Request(Kind.FORWARD, None, next_node=b"n" * 32), Request(Kind.OFFER),
    Request(Kind.FORWARD, Address("192.0.2.1", 4000), next_node=b"n" * 32),
    Request(Kind.FORWARD, Address("2001:db8::1", 4000), next_node=b"n" * 32),
    Taken(b"s" * 16, 0), Taken(b"s" * 16, 65535, {7: b"later"}),
    ControlMessage(Control.PING, 1), ControlMessage(Control.PONG, 2**64 - 1, 10000), ControlMessage(Control.DRAINING),
    ControlMessage(Control.ASK_POLICY, 3, address=Address("a" * 255, 1)),
    ControlMessage(Control.POLICY_ANSWER, 4, status=Status.DENIED, text="§" * 60)])
def test_messages_round_trip(message):
    encoded = message.encode()
    assert type(message).decode(encoded) == message
    for cut in range(len(encoded)):
        with pytest.raises(Malformed):
            type(message).decode(encoded[:cut])
    with pytest.raises(Malformed):
        type(message).decode(encoded + b"x")


def test_messages_out_of_range():
    forward = bytearray(Request(Kind.FORWARD, None, next_node=b"n" * 32).encode())
    forward[-1] = 2
    with pytest.raises(Malformed):
        Request.decode(bytes(forward))
    with pytest.raises(Malformed):
        Request.decode(Request(Kind.FORWARD, Address("a-name", 1), next_node=b"n" * 32).encode())
    with pytest.raises(UnknownAddressType):
        Request.decode(Request(Kind.CONNECT, Address("192.0.2.1", 1)).encode().replace(b"\x01\xc0", b"\x02\xc0"))
    for wrong in (ControlMessage(Control.PONG, 1, 10001), ControlMessage(Control.POLICY_ANSWER, 1, status=1),
                  ControlMessage(Control.POLICY_ANSWER, 1, text="x" * 121)):
        with pytest.raises(Malformed):
            ControlMessage.decode(wrong.encode())


def test_policy_questions(key, stack):
    def policy(address):
        return (Status.DENIED, "private ranges") if address.host == "10.0.0.1" else (Status.OK, "")

    node = stack.enter_context(Node(key, policy=policy, load=1234))
    session = stack.enter_context(Session((node.host, node.port), key, node.identity.public))
    assert session.control.ask_policy("10.0.0.1", 80) == (Status.DENIED, "private ranges")
    assert session.control.ask_policy("x" * 255, 443) == (Status.OK, "")
    session.control.ping()
    assert session.control.peer_load == 1234
    node.policy = Node.policy
    assert session.control.ask_policy("127.0.0.1", 80)[0] == Status.OK
    assert session.control.ask_policy("no-such-name.invalid", 80)[0] in (Status.NO_SUCH_NAME, Status.NOT_RESOLVED)
    assert node.requests == []


@pytest.mark.parametrize("content, size", [
    (b"\x01" + bytes(8), 512), (b"\x04" + bytes(8) + b"\x01\x7f\0\0\x01\0\x50", 128), (b"\x09" + bytes(8), 128),
    (b"\x05" + bytes(10), 512), (b"\x03", 128), (b"\x01" + bytes(9), 128), (b"", 128),
    (b"\x04" + bytes(8) + b"\x02\x7f\0\0\x01\0\x50", 512)])
def test_a_wrong_control_record_ends_the_connection(key, stack, content, size):
    node = stack.enter_context(Node(key))
    session = stack.enter_context(Session((node.host, node.port), key, node.identity.public))
    session.sock.sendall(session.control.channel.sealer.seal_to(CONTROL, content, size))
    with pytest.raises(Cut):
        session.control.receive()


# =============================================================================================================== paths

@pytest.mark.parametrize("hops", [1, 2, 3])
def test_path(key, stack, make_relay, make_session, target, hops):
    session = None
    relays = [make_relay() for _ in range(hops)]
    for relay in relays:
        session = make_session(relay, session)
    node = stack.enter_context(Node(key))
    session = make_session(node, session)
    echoes(session, target)
    with session.connect(*target, early=b"early") as stream:
        assert stream.receive_exactly(5) == b"early"
    with session.connect_parked(session.park(), *target) as stream:
        stream.send(b"x")
        assert stream.receive_exactly(1) == b"x"
    for relay, following in zip(relays, relays[1:] + [node]):
        asked = {request.next_node for _, request in relay.requests}
        assert asked == {following.identity.public}, "each relay learns its neighbour and nobody else"


def test_suites_of_the_hops_are_independent(key, stack, make_relay, make_session, target):
    node = stack.enter_context(Node(key, suites=(1,)))
    echoes(make_session(node, make_session(make_relay(), suites=(3,))), target)


def test_session_over_a_relay_survives_a_challenge(key, stack, make_relay, make_session, target):
    node = stack.enter_context(Node(key, challenge=True))
    session = make_session(node, make_session(make_relay()))
    assert session.challenged
    echoes(session, target)


def test_all_of_a_path_is_one_flight(key, stack, make_relay, make_session):
    """The relay has everything, application data included, before it says its first byte."""
    behind = []

    class Patient(Relay):
        def carry(self, stream, far):
            while len(data := stream.sock.recv(4096, socket.MSG_PEEK)) < 512:
                time.sleep(0.005)
            behind.append(data)
            super().carry(stream, far)

    node = stack.enter_context(Node(key))
    session = make_session(node, make_session(make_relay(Patient)))
    assert behind[0][0] == 1 and len(behind[0]) == 512
    with echo_server() as address, session.connect(*address, early=b"early") as stream:
        assert stream.receive_exactly(5) == b"early"
    assert behind[1][:5] == b"\x17\x03\x03\x00\x30" and len(behind[1]) == 512 + 5 + 5 + 1 + 16


def test_forward_on_a_parked_connection(key, stack, make_relay, make_session, target):
    node = stack.enter_context(Node(key))
    first = make_session(make_relay())
    session = make_session(node, first)
    parked = first.park()
    flight = session.first_flight(Request(Kind.CONNECT, Address(*target)))
    parked.request(Request(Kind.FORWARD, Address(node.host, node.port), next_node=node.identity.public))
    parked.sock.sendall(flight.data)
    parked.require(Status.OK)
    stream = Stream(parked.sock, flight.keys, flight.sealer).require(Status.OK)
    stream.send(b"x")
    assert stream.receive_exactly(1) == b"x"


def test_half_close_and_reset_pass_through(key, stack, make_relay, make_session):
    accepted = queue.Queue()
    node = stack.enter_context(Node(key))
    session = make_session(node, make_session(make_relay(), make_session(make_relay())))
    with listener(accepted.put) as address:
        stream = session.connect(*address)
        stream.send(b"question")
        stream.half_close()
        far = accepted.get(timeout=10)
        assert far.recv(20) == b"question" and far.recv(1) == b""
        far.sendall(b"answer")
        assert stream.receive() == b"answer"
        far.close()
        assert stream.receive() == b"" and stream.sock.recv(1) == b""

        stream = session.connect(*address)
        reset(accepted.get(timeout=10))
        with pytest.raises(Aborted):
            stream.receive()

        stream = session.connect(*address)
        reset(stream.sock)
        with pytest.raises(ConnectionResetError):
            accepted.get(timeout=10).recv(1)


def test_relay_that_dies_is_a_cut(key, stack, make_relay, make_session, target):
    relay = make_relay()
    session = make_session(stack.enter_context(Node(key)), make_session(relay))
    stream = session.connect(*target)
    relay.cut_all()
    with pytest.raises(Cut):
        stream.receive()


# ============================================================================================================ refusals

def refusal(hop: int, function) -> int:
    with pytest.raises(RelayRefused) as refused:
        function()
    assert refused.value.hop == hop
    return refused.value.status


def test_refusals_of_relays(key, stack, make_relay, make_session, nobody_listens):
    plain = stack.enter_context(Node(key))
    node = stack.enter_context(Node(key))
    assert refusal(0, lambda: make_session(node, make_session(plain))) == Status.KIND
    first = make_session(make_relay())
    assert refusal(0, lambda: make_session(node, first, stated=False)) == Status.NEXT_UNKNOWN
    second = make_session(make_relay(), first)
    assert refusal(1, lambda: make_session(node, second, stated=False)) == Status.NEXT_UNKNOWN
    node.host, node.port = nobody_listens
    assert refusal(1, lambda: make_session(node, second)) == Status.NEXT_UNREACHABLE
    for content, status in ((Request(Kind.FORWARD, Address("localhost", 1), next_node=bytes(32)), Status.GENERAL),
                            (Request(Kind.FORWARD, flags=1, next_node=bytes(32)), Status.GENERAL),
                            (Request(Kind.UDP), Status.KIND), (Request(99), Status.KIND)):
        assert first.start(content).await_response().status == status


@pytest.fixture
def nobody_listens():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


def test_a_refusal_arrives_although_more_was_on_its_way(make_relay, make_session):
    """A relay that closed over the bytes behind its record would reset the connection, and lose its RESPONSE."""
    session = make_session(make_relay())
    for _ in range(20):
        stream = session.start(Request(Kind.FORWARD, next_node=bytes(32)))
        stream.sock.sendall(os.urandom(100_000))
        time.sleep(0.005)
        assert stream.await_response().status == Status.NEXT_UNKNOWN
        assert stream.receive() == b"", "close_notify follows"
        stream.close()


def test_nothing_but_one_msg1_goes_to_who_is_not_that_member(make_relay, make_session):
    received = []

    def silent(sock):
        received.append(sock.recv(4096))
        received.append(sock.recv(4096))

    session = make_session(make_relay(connect_timeout=0.3))
    with listener(silent) as address:
        for _ in range(3):
            forward = Request(Kind.FORWARD, Address(*address), next_node=Identity.generate().public)
            forward.next_node = b"\x09" + bytes(31)
            assert session.start(forward).await_response().status == Status.NEXT_UNREACHABLE
    assert [len(data) for data in received] == [512, 0] and received[0][0] == 1


# ============================================================================================================== offers

def test_offered_connections(key, stack, make_relay, make_session, offer, target):
    node, relay = stack.enter_context(Node(key)), make_relay()
    offering = offer(node, relay)
    node._listener.close()
    session = make_session(node, make_session(relay), stated=False)
    for _ in range(6):
        echoes(session, target)
    assert len(offering.taken) == 7 and not offering.failures
    wait_for(lambda: relay.relay.offers_of(node.identity.public) == 2)


def wait_for(condition, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_offers_behind_two_relays(key, stack, make_relay, make_session, offer, target):
    """The node reaches its relay over another one, and so does the client."""
    node, first, second = stack.enter_context(Node(key)), make_relay(), make_relay()
    offer(node, second, through=make_session(first, identity=node.identity))
    echoes(make_session(node, make_session(second, make_session(first)), stated=False), target)


def test_source_tells_members_apart(key, stack, make_relay, make_session, offer):
    node, relay = stack.enter_context(Node(key, challenge=True)), make_relay()
    offering = offer(node, relay)
    for _ in range(2):
        identity = Identity.generate()
        for _ in range(2):
            assert make_session(node, make_session(relay, identity=identity), stated=False).challenged
    sources = [taken.source for taken in offering.taken]
    assert sources[0] == sources[1] != sources[2] == sources[3]


def test_the_node_opens_what_waits(key, stack, make_relay, make_session, offer, target):
    node, relay = stack.enter_context(Node(key)), make_relay()
    offering = offer(node, relay, count=1)
    session = make_session(node, make_session(relay), stated=False)
    threads = [threading.Thread(target=echoes, args=(session, target)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert len(offering.taken) == 9


def test_forward_waits_for_an_offer(key, stack, make_relay, make_session, offer, target):
    node, relay = stack.enter_context(Node(key)), make_relay(hold=0.5)
    offering = offer(node, relay)
    session = make_session(node, make_session(relay), stated=False)
    offering.close()
    wait_for(lambda: relay.relay.offers_of(node.identity.public) == 0)
    started = time.monotonic()
    with pytest.raises(RelayRefused) as refused:
        session.connect(*target)
    assert refused.value.status == Status.NEXT_UNREACHABLE and time.monotonic() - started >= 0.5
    relay.relay.hold = 5
    later = threading.Timer(0.3, offer, (node, relay))
    later.start()
    echoes(session, target)
    later.join()


def test_a_node_that_does_not_relay_takes_no_offers(key, stack, offer):
    node, plain = stack.enter_context(Node(key)), stack.enter_context(Node(key))
    with pytest.raises(NoAnswer, match="status 7"):
        offer(node, plain)


def test_an_offered_connection_that_says_something_is_not_used(key, stack, make_relay, make_session):
    relay = make_relay(hold=0.3)
    identity = Identity.generate()
    stream = make_session(relay, identity=identity).start(Request(Kind.OFFER)).require(Status.PARKED)
    stream.send(b"too early")
    forward = Request(Kind.FORWARD, next_node=identity.public)
    assert make_session(relay).start(forward).await_response().status == Status.NEXT_UNREACHABLE


def test_a_member_gets_only_its_own_connections(key, stack, make_relay, make_session, offer):
    """Somebody else cannot answer for the node: what he offers is given to who asks for him."""
    node, relay = stack.enter_context(Node(key)), make_relay(hold=0.3)
    offer(stack.enter_context(Node(key)), relay)
    assert refusal(0, lambda: make_session(node, make_session(relay), stated=False)) == Status.NEXT_UNKNOWN


def test_taken_twice_is_silence(key, stack, make_session):
    """A second TAKEN is the beginning of a connection, and not a valid one."""
    class Twice(Relay):
        def send_taken(self, offer, member, waiting):
            super().send_taken(offer, member, waiting)
            super().send_taken(offer, member, waiting)

    relay = Twice(key)
    relay_node = stack.enter_context(Node(key, identity=relay.identity, relay=relay))
    node = stack.enter_context(Node(key, silent_seconds=(0.3, 0.3)))
    session = Session((relay_node.host, relay_node.port), key, relay_node.identity.public, node.identity)
    stack.enter_context(Offering(node, session))
    with pytest.raises((NoAnswer, Refused, ProtocolError)):
        make_session(node, make_session(relay_node), stated=False, timeout=2)
    assert node.handshakes == 0


def test_commands(tmp_path, key, stack):
    """A relay, a node that offers at it, and a client, each as a program of its own."""
    key.save(tmp_path / "network.key")
    script = [sys.executable, Path(__file__).with_name("qanat_peer.py")]

    def node(*options) -> str:
        process = stack.enter_context(subprocess.Popen([*script, "node", "--key", tmp_path / "network.key", *options],
                                                       stdout=subprocess.PIPE, text=True))
        stack.callback(process.kill)
        return process.stdout.readline().strip()

    def serve(sock):
        with sock:
            sock.recv(4096)
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nfound")

    relay = node("--relay-mode")
    hidden, _, _ = node("--connect-relay", relay).partition("@")
    with listener(serve) as (host, port):
        done = subprocess.run([*script, "fetch", "--key", tmp_path / "network.key", "--via", relay, "--node", hidden,
                               f"http://{host}:{port}/"], capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, b"found"), done.stderr
