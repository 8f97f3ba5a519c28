"""Relays, offered connections and policy questions between the programs and the independent implementation in
tests/peer: each of client, relay and node is once the program and once Python."""

import hashlib
import json
import os
import socket
import threading
import time

import pytest
from qanatpeer.client import NoAnswer, Refused, RelayRefused, Stream
from qanatpeer.control import ControlMessage
from qanatpeer.keys import Identity
from qanatpeer.messages import Address, Control, Kind, Request, Response, Status, Taken
from qanatpeer.node import reset
from qanatpeer.records import ABORT, ALERT, CONTROL, DATA, Aborted, Cut, StreamError, read_exactly
from qanatpeer.relay import Relay, splice
from qanatpeer.stream_keys import CLIENT_PREAMBLE

import servers
from harness import TIME_SCALE, qanat, wait_until
from python_peers import PythonPeers, behind, echo_blob, public_key, serves
from servers import Target
from socks5 import dial, reply_of



@pytest.fixture
def peers(network):
    opened = PythonPeers(network)
    yield opened
    opened.close()


@pytest.fixture
def relay(network):
    """Our relay."""
    return network.node("--relay-mode", name="relay")


@pytest.fixture
def node(network):
    """Our node."""
    return network.node(name="exit")


def echoes(session, target, size: int = 1 << 20) -> None:
    blob = os.urandom(size)
    with session.connect(*target) as stream:
        sender = threading.Thread(target=lambda: (stream.send(blob), stream.half_close()))
        sender.start()
        assert hashlib.sha256(stream.receive_all()).digest() == hashlib.sha256(blob).digest()
        sender.join()


def client_of(network, *entries, routing=None):
    """Our client with these `nodes`, once it has a session with each of them."""
    client = network.client(config={"nodes": list(entries),
                                    "routing": {"health": "1s", "timeout": "5s", **(routing or {})}})
    wanted = {entry["id"] for entry in entries}
    wait_until(lambda: wanted <= {peer["id"] for peer in peers_of(client) if peer["state"] == "up"}, 15,
               "a session with every node")
    return client


def peers_of(client) -> list[dict]:
    done = qanat("peers", "--json", "--admin", client.admin)
    return json.loads(done.stdout)["peers"] if done.returncode == 0 else []


def relayed(program) -> int:
    """Streams that a program carries for others now."""
    return sum(engine["relay"]["streams"] for engine in program.status()["engines"])


def first_behind(stream) -> bytes:
    """The first byte behind FORWARD: of a stream it is there at once. For MSG1 our client waits until we said OK."""
    stream.sock.settimeout(0.3 * TIME_SCALE)
    try:
        return stream.sock.recv(1, socket.MSG_PEEK)
    except socket.timeout:
        return b""
    finally:
        stream.sock.settimeout(None)


def refusal(session, request: Request) -> int:
    with session.start(request) as stream:
        return stream.await_response().status


# ======================================================================================== the Python client, our relay

def test_python_client_through_our_relay(peers, relay, node, echo, nobody_listens):
    session = peers.session(node, peers.session(relay))
    echoes(session, echo, 5 << 20)
    with session.connect(*echo, early=b"early") as stream:
        assert stream.receive_exactly(5) == b"early"
    with session.connect_parked(session.park(), *echo) as stream:
        stream.send(b"x")
        assert stream.receive_exactly(1) == b"x"
    with pytest.raises(Refused) as refused:
        session.connect(*nobody_listens)
    assert refused.value.status == Status.REFUSED and not isinstance(refused.value, RelayRefused)
    session.control.ping()
    session.close()
    wait_until(lambda: relayed(relay) == 0, 5, "the end of what was relayed")


@pytest.mark.parametrize("outer, inner", [(1, 3), (2, 1), (3, 2)])
def test_suites_of_relay_and_node_are_independent(peers, relay, node, echo, outer, inner):
    echoes(peers.session(node, peers.session(relay, suites=(outer,)), suites=(inner,)), echo)


@pytest.mark.parametrize("order", ["ours-python", "python-ours", "ours-python-ours"])
def test_python_client_through_mixed_chains(network, peers, node, echo, order):
    session = None
    for kind in order.split("-"):
        hop = network.node("--relay-mode") if kind == "ours" else peers.relay()
        session = peers.session(hop, session)
    session = peers.session(node, session)
    echoes(session, echo)
    with session.connect_parked(session.park(), *echo) as stream:
        stream.send(b"x")
        assert stream.receive_exactly(1) == b"x"


def test_first_flights_in_any_pieces(peers, relay, node, echo):
    session = peers.session(node, peers.session(relay))
    for cuts in ([1] * 1100, [52, 1, 4, 1, 500, 300], [512, 1, 511], [511, 2, 100], [1023, 1]):
        flight, front = session.first_flight(Request(Kind.CONNECT, Address(*echo))), session.path_front()
        data = front.data + flight.data + flight.sealer.seal(DATA, b"early")
        stream = Stream(session.dial(), flight.keys, flight.sealer, front)
        for cut in cuts:
            stream.sock.sendall(data[:cut])
            data = data[cut:]
            if cut > 1:
                time.sleep(0.01)
        stream.sock.sendall(data)
        assert stream.require(Status.OK).receive_exactly(5) == b"early"
        stream.close()


def test_much_behind_the_first_flight(peers, relay, node, echo):
    """A client that does not wait for any answer before it sends a lot."""
    session = peers.session(node, peers.session(relay))
    for size in (1, 400, 16384, 100_000):
        early = os.urandom(size)
        with session.start(Request(Kind.CONNECT, Address(*echo)), early=early) as stream:
            stream.half_close()
            stream.require(Status.OK)
            assert stream.receive_all() == early


def test_forward_on_a_connection_that_is_parked_at_our_relay(peers, relay, node, echo):
    first = peers.session(relay)
    session = peers.session(node, first)
    for pause in (0, 0.05):
        parked = first.park()
        flight = session.first_flight(Request(Kind.CONNECT, Address(*echo)))
        parked.request(Request(Kind.FORWARD, Address(*node.tunnel), next_node=public_key(node)))
        time.sleep(pause)
        parked.sock.sendall(flight.data + flight.sealer.seal(DATA, b"early"))
        parked.require(Status.OK)
        with Stream(parked.sock, flight.keys, flight.sealer).require(Status.OK) as stream:
            assert stream.receive_exactly(5) == b"early"


def test_ends_pass_through_our_relay(peers, relay, node):
    session = peers.session(node, peers.session(relay))
    with Target() as target:
        stream = session.connect(*target.address)
        far = target.take()
        stream.send(b"question")
        stream.half_close()
        assert read_exactly(far, 8) == b"question" and far.recv(1) == b""
        far.sendall(b"answer")
        assert stream.receive() == b"answer"
        far.close()
        assert stream.receive() == b"" and stream.sock.recv(1) == b""

        stream = session.connect(*target.address)
        far = target.take()
        reset(far)
        with pytest.raises(Aborted):
            stream.receive()

        for end in (lambda stream: reset(stream.sock), lambda stream: stream.close(), lambda stream: stream.abort()):
            stream = session.connect(*target.address)
            far = target.take()
            end(stream)
            with pytest.raises(ConnectionResetError):
                far.recv(1)


def test_our_relay_that_dies_is_a_cut(peers, relay, node, echo):
    stream = peers.session(node, peers.session(relay)).connect(*echo)
    relay.kill()
    with pytest.raises(Cut):
        stream.receive()


def test_refusals_of_our_relay(network, peers, relay, node, nobody_listens):
    session, plain = peers.session(relay), peers.session(node)
    stranger = Identity.generate().public
    assert refusal(plain, Request(Kind.FORWARD, Address(*relay.tunnel), next_node=public_key(relay))) == Status.KIND
    assert refusal(plain, Request(Kind.OFFER)) == Status.KIND
    assert refusal(session, Request(Kind.FORWARD, next_node=stranger)) == Status.NEXT_UNKNOWN
    to_nobody = Request(Kind.FORWARD, Address(*nobody_listens), next_node=stranger)
    assert refusal(session, to_nobody) in (Status.NEXT_UNREACHABLE, Status.NEXT_UNKNOWN)
    to_name = Request(Kind.FORWARD, Address("localhost", node.tunnel[1]), next_node=public_key(node))
    assert refusal(session, to_name) == Status.GENERAL
    assert refusal(session, Request(Kind.FORWARD, flags=1, next_node=stranger)) == Status.GENERAL
    # The second hop's refusal is sealed by the second hop.
    second = peers.session(network.node("--relay-mode"), session)
    with pytest.raises(RelayRefused) as refused:
        peers.session(peers.node(), second, stated=False)
    assert (refused.value.hop, refused.value.status) == (1, Status.NEXT_UNKNOWN)


def test_a_refusal_of_our_relay_arrives_although_more_was_on_its_way(peers, relay):
    session = peers.session(relay)
    for pause in (0, 0.001, 0.02):
        for _ in range(5):
            stream = session.start(Request(Kind.FORWARD, next_node=Identity.generate().public))
            stream.sock.sendall(os.urandom(30_000))
            time.sleep(pause)
            assert stream.await_response().status == Status.NEXT_UNKNOWN
            assert stream.receive() == b"", "close_notify follows"
            stream.close()


def test_nothing_but_one_msg1_goes_to_who_is_not_that_member(peers, relay):
    """Neither what lies behind FORWARD nor a second attempt at once."""
    session = peers.session(relay)
    received = []

    def listen(sock):
        received.append(read_exactly(sock, 512))
        sock.settimeout(20)
        received.append(sock.recv(4096))

    stranger = Identity.generate().public
    with Target(listen) as target:
        for _ in range(3):
            request = Request(Kind.FORWARD, Address(*target.address), next_node=stranger)
            with session.start(request, early=b"never to be seen") as stream:
                stream.sock.settimeout(30)
                assert stream.await_response().status in (Status.NEXT_UNKNOWN, Status.NEXT_UNREACHABLE)
        wait_until(lambda: len(received) == 2, 20, "the end of the attempt")
        assert target.accepted == 1
    assert received[0][0] == 1 and received[1] == b""


def test_impostor_at_the_named_address(peers, relay, node):
    """A member answers there, but not the one that is asked for."""
    other = peers.node(silent_seconds=(0.5, 0.5))
    session = peers.session(relay)
    request = Request(Kind.FORWARD, Address(other.host, other.port), next_node=public_key(node))
    with session.start(request) as stream:
        stream.sock.settimeout(30)
        assert stream.await_response().status in (Status.NEXT_UNKNOWN, Status.NEXT_UNREACHABLE)
    assert other.handshakes == 0 and other.requests == []


def test_first_flights_are_accepted_once_on_every_hop(peers, relay, node):
    with Target() as target:
        session = peers.session(node, peers.session(relay))
        flight, front = session.first_flight(Request(Kind.CONNECT, Address(*target.address))), session.path_front()
        first = session.dial()
        first.sendall(front.data + flight.data)
        target.take()
        again = session.dial()  # all of it: the relay is silent
        again.sendall(front.data + flight.data)
        behind_new_front = session.dial()  # only the node's part: the node is silent
        new_front = session.path_front()
        behind_new_front.sendall(new_front.data + flight.data)
        new_front.await_relays(behind_new_front)
        for sock in (again, behind_new_front):
            sock.settimeout(1)
            with pytest.raises(socket.timeout):
                sock.recv(1)
        assert target.accepted == 1


# ======================================================================================== our client, the Python relay

def test_our_client_through_the_python_relay(network, peers, node, echo, web, nobody_listens):
    hop = peers.relay()
    client = client_of(network, behind(node, via=[hop]))
    with dial(client.socks, echo) as app:
        echo_blob(app)
    assert reply_of(client.socks, nobody_listens) == 5
    with dial(client.socks, web) as app:
        app.send(b"GET /bytes/3000000 HTTP/1.1\r\nConnection: close\r\n\r\n")
        _, _, body = app.receive_all().partition(b"\r\n\r\n")
        assert hashlib.sha256(body).hexdigest() == servers.pattern_hash(3_000_000)
    with Target() as target, dial(client.socks, target.address) as app:
        reset(target.take())
        assert app.end() == "reset"
    forwards = [request for _, request in hop.requests if request.kind == Kind.FORWARD]
    assert forwards and {request.next_node for request in forwards} == {public_key(node)}
    assert {request.address for request in forwards} == {Address(*node.tunnel)}
    client.terminate()
    wait_until(lambda: hop.relay.active == 0, 5, "the end of what was relayed")


@pytest.mark.parametrize("order", ["python-python", "ours-python", "python-ours"])
def test_our_client_through_mixed_chains(network, peers, node, echo, order):
    hops = [network.node("--relay-mode") if kind == "ours" else peers.relay() for kind in order.split("-")]
    client = client_of(network, behind(node, via=hops))
    with dial(client.socks, echo) as app:
        echo_blob(app)
    for hop, following in zip(hops, [*hops[1:], node]):
        if hasattr(hop, "relay"):
            asked = {request.next_node for _, request in hop.requests if request.kind == Kind.FORWARD}
            assert asked == {public_key(following)}, "a relay learns its neighbour and nobody else"


def test_our_client_through_our_relay_to_a_python_node(network, peers, relay, echo):
    node = peers.node()
    client = client_of(network, behind(node, via=[relay]))
    with dial(client.socks, echo) as app:
        echo_blob(app)


def test_our_client_sends_one_flight_and_no_application_byte_before_the_answers(network, peers, node, echo):
    """What lies behind FORWARD is there before the relay has said a word, and is whole blocks of handshake."""
    behind_forward = []

    class Patient(Relay):
        def carry(self, stream, far):
            if first_behind(stream):
                time.sleep(0.2)
                behind_forward.append(stream.sock.recv(4096, socket.MSG_PEEK))
            super().carry(stream, far)

    client = client_of(network, behind(node, via=[peers.relay(Patient), peers.relay(Patient)]))
    with dial(client.socks, echo) as app:
        echo_blob(app, 1000)
    blocks = [[data[at:at + 5] for at in range(0, len(data), 512)] for data in behind_forward if data[0] == 0x17]
    # At the first relay FORWARD and what follows, at the second what follows.
    assert {tuple(each) for each in blocks} == {(CLIENT_PREAMBLE,) * 2, (CLIENT_PREAMBLE,)}
    assert all(len(data) % 512 == 0 for data in behind_forward)


@pytest.mark.parametrize("status", [1, 7, 11, 12, 13, 14, 15, 99])
def test_refusals_of_the_python_relay(network, peers, node, echo, status):
    """Alone: a failure for the application and nothing worse. Beside another way: nobody notices."""
    class Refusing(Relay):
        refuses = False

        def carry(self, stream, far):
            if self.refuses and first_behind(stream) == b"\x17":
                stream.respond(Response(status, tlvs={1: b"not today"}))
            else:
                super().carry(stream, far)

    hop = peers.relay(Refusing)
    alone = client_of(network, behind(node, via=[hop]))
    other = peers.node()
    both = client_of(network, behind(node, via=[hop]), behind(other))
    hop.relay.refuses = True
    assert reply_of(alone.socks, echo) == 1
    for _ in range(6):
        assert serves(both.socks, echo)
    hop.relay.refuses = False
    wait_until(lambda: serves(alone.socks, echo), 20, "streams after the refusals")


def test_slow_answers_of_the_python_relay(network, peers, node, echo):
    """Preamble ahead of the RESPONSE, and answers that come in the smallest pieces."""
    class Slow(Relay):
        def carry(self, stream, far):
            own = CollectedSocket(stream.sock)
            stream.sock, real = own, stream.sock
            stream.respond(Response(Status.OK))
            stream.sock = real
            for at, byte in enumerate(own.data):
                real.sendall(bytes([byte]))
                if at == 36:
                    time.sleep(0.3)
            far.sendall(real.recv(4096))
            for byte in far.recv(300):
                real.sendall(bytes([byte]))
            splice(real, far)

    client = client_of(network, behind(node, via=[peers.relay(Slow)]))
    with dial(client.socks, echo) as app:
        echo_blob(app, 100_000)


class CollectedSocket:
    """Keeps what would be sent."""

    def __init__(self, sock):
        self.sock, self.data = sock, b""

    def sendall(self, data: bytes) -> None:
        self.data += data


def test_second_relay_takes_over_from_a_dead_python_relay(network, peers, relay, node, echo):
    """One node, offered at two relays; the one that dies is left."""
    first = peers.relay()
    network_node = network.node("--connect-relay", first.address, "--connect-relay", relay.address, name="hidden")
    client = client_of(network, behind(network_node, relay=[first, relay], stated=False))
    wait_until(lambda: serves(client.socks, echo), 10, "a stream")
    with dial(client.socks, echo) as app:
        echo_blob(app)
    first.close()
    wait_until(lambda: serves(client.socks, echo), 20, "a stream through the other relay")


# ================================================================================== our node offers at the Python relay

@pytest.fixture
def offered(network, peers):
    """Our node, reachable through a Python relay alone."""
    hop = peers.relay()
    node = network.node("--connect-relay", hop.address, name="hidden")
    wait_until(lambda: hop.relay.offers_of(public_key(node)) >= 1, 10, "the first offered connection")
    return hop, node


def test_our_node_offers_at_the_python_relay(network, peers, offered, echo):
    hop, node = offered
    session = peers.session(node, peers.session(hop), stated=False)
    echoes(session, echo, 3 << 20)
    with session.connect_parked(session.park(), *echo) as stream:
        stream.send(b"x")
        assert stream.receive_exactly(1) == b"x"
    client = client_of(network, behind(node, relay=[hop], stated=False))
    with dial(client.socks, echo) as app:
        echo_blob(app)
    for _ in range(30):
        assert serves(client.socks, echo)
    assert {request.kind for _, request in hop.requests} >= {Kind.OFFER, Kind.FORWARD}


def test_many_streams_at_once_to_our_offering_node(network, peers, offered, echo):
    hop, node = offered
    session = peers.session(node, peers.session(hop), stated=False)
    threads = [threading.Thread(target=echoes, args=(session, echo, 50_000)) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_our_node_opens_what_waits(peers, offered):
    """`waiting` in TAKEN: so many more connections come."""
    hop, node = offered
    before = len(hop.requests)
    offer, _ = hop.relay._take(public_key(node))
    held = hop.relay.offers_of(public_key(node))
    hop.relay.send_taken(offer, os.urandom(32), waiting=9)
    wait_until(lambda: hop.relay.offers_of(public_key(node)) >= held + 9, 10, "the connections that were asked for")
    assert {request.kind for _, request in hop.requests[before:]} == {Kind.OFFER}
    offer.done.set()


def test_our_node_opens_within_reason(peers, offered):
    """A relay that always asks for 65535 more does not make the node open all it can."""
    hop, node = offered
    for _ in range(5):
        offer, _ = hop.relay._take(public_key(node))
        assert offer, "a connection was offered"
        hop.relay.send_taken(offer, os.urandom(32), waiting=65535)
        offer.done.set()
    time.sleep(1)
    assert hop.relay.offers_of(public_key(node)) <= 1024
    assert len([1 for _, request in hop.requests if request.kind == Kind.OFFER]) < 4096


def test_what_comes_behind_taken_may_be_anything(peers, offered, echo):
    """As on an accepted connection: no byte, silence until the deadline, and meanwhile the node serves others."""
    hop, node = offered
    said = {}

    def listen(name, sock):
        sock.settimeout(14 * TIME_SCALE)
        try:
            said[name] = sock.recv(1)
        except ConnectionResetError:
            said[name] = b""

    threads, offers = [], []
    for after in ("nothing", "garbage", "second-taken", "half-msg1", "fin", "rst", "plain"):
        offer, _ = hop.relay._take(public_key(node))
        offers.append(offer)
        sock = offer.stream.sock
        hop.relay.send_taken(offer, os.urandom(32), waiting=0)
        if after == "garbage":
            sock.sendall(os.urandom(3000))
        elif after == "second-taken":
            hop.relay.send_taken(offer, os.urandom(32), waiting=1)
        elif after == "half-msg1":
            sock.sendall(b"\x01\x01\x01\xfc" + os.urandom(200))
        elif after == "fin":
            sock.shutdown(socket.SHUT_WR)
        elif after == "plain":
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        if after == "rst":
            reset(sock)
            continue
        threads.append(threading.Thread(target=listen, args=(after, sock)))
        threads[-1].start()
    echoes(peers.session(node, peers.session(hop), stated=False), echo)
    for thread in threads:
        thread.join()
    assert set(said.values()) == {b""}, "not a byte is said"
    for offer in offers:
        offer.done.set()


@pytest.mark.parametrize("what", ["forged", "request", "data", "close_notify", "larger", "smaller", "short", "fin",
                                  "rst", "plain", "abort"])
def test_anything_but_taken_ends_an_offered_connection(peers, offered, echo, what):
    hop, node = offered
    offer, _ = hop.relay._take(public_key(node))
    sock, sealer = offer.stream.sock, offer.stream.sealer
    taken = Taken(bytes(16)).encode()
    if what == "forged":
        sock.sendall(bytes([*sealer.seal_to(CONTROL, taken, 256)[:-1], 0]))
    elif what == "request":
        sock.sendall(sealer.seal_to(CONTROL, Request(Kind.OFFER).encode(), 256))
    elif what == "data":
        sock.sendall(sealer.seal_to(DATA, taken, 256))
    elif what == "close_notify":
        offer.stream.half_close()
    elif what in ("larger", "smaller"):
        sock.sendall(sealer.seal_to(CONTROL, taken, 512 if what == "larger" else 128))
    elif what == "short":
        sock.sendall(sealer.seal_to(CONTROL, taken[:-1], 256))
    elif what == "fin":
        sock.shutdown(socket.SHUT_WR)
    elif what == "rst":
        reset(sock)
    elif what == "plain":
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 20)
    else:
        offer.stream.send_record(ALERT, ABORT)
    if what != "rst":
        sock.settimeout(3 * TIME_SCALE)
        try:
            while sock.recv(4096):
                pass
        except ConnectionResetError:
            pass
    offer.done.set()
    wait_until(lambda: hop.relay.offers_of(public_key(node)) >= 1, 15, "another offered connection")
    echoes(peers.session(node, peers.session(hop), stated=False), echo)


def test_our_node_comes_back_to_a_relay_that_was_restarted(network, peers, offered, echo):
    hop, node = offered
    hop.close()
    time.sleep(0.3)
    again = peers.relay(identity=hop.identity, node_options={"port": hop.port})
    wait_until(lambda: again.relay.offers_of(public_key(node)) >= 1, 20, "the reservation at the new relay")
    echoes(peers.session(node, peers.session(again), stated=False), echo)


@pytest.mark.parametrize("status", [Status.KIND, Status.RELAY_LIMIT, Status.CAPACITY, Status.DRAINING])
def test_a_relay_that_takes_no_offers(network, peers, status):
    """The node lives, asks again in its own time, and does not hammer."""
    class Full(Relay):
        full = True

        def keep(self, stream):
            if self.full:
                stream.respond(Response(status))
            else:
                super().keep(stream)

    hop = peers.relay(Full)
    node = network.node("--connect-relay", hop.address, wait=False)
    wait_until(lambda: hop.requests, 10, "an offer")
    time.sleep(1)
    assert len(hop.requests) < 60
    assert node.running()
    if status != Status.KIND:
        hop.relay.full = False
        wait_until(lambda: hop.relay.offers_of(public_key(node)) >= 1, 40, "the reservation")


# ================================================================================== the Python node offers at our relay

def test_python_node_offers_at_our_relay(network, peers, relay, echo):
    node = peers.node(challenge=True)
    offering = peers.offering(node, relay)
    session = peers.session(node, peers.session(relay), stated=False)
    assert session.challenged
    echoes(session, echo, 3 << 20)
    client = client_of(network, behind(node, relay=[relay], stated=False))
    with dial(client.socks, echo) as app:
        echo_blob(app)
    for _ in range(20):
        assert serves(client.socks, echo)
    assert not offering.failures and len(offering.taken) >= 4  # sessions and streams; one stream may follow another
    assert len({taken.source for taken in offering.taken}) == 2, "one source for each of the relay's members"


def test_our_relay_says_how_many_wait(peers, relay, echo):
    node = peers.node()
    offering = peers.offering(node, relay, count=1)
    session = peers.session(node, peers.session(relay), stated=False)
    threads = [threading.Thread(target=echoes, args=(session, echo, 10_000)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert len(offering.taken) == 13
    assert any(taken.waiting for taken in offering.taken)


def test_our_relay_holds_a_forward_while_connections_come(peers, relay, echo):
    node = peers.node()
    offering = peers.offering(node, relay)
    session = peers.session(node, peers.session(relay), stated=False)
    offering.close()
    request = Request(Kind.FORWARD, next_node=public_key(node))
    held = session.through.start(request)
    held.sock.settimeout(20)
    began = time.monotonic()
    status = held.await_response().status
    assert status in (Status.NEXT_UNREACHABLE, Status.NEXT_UNKNOWN)
    assert status == Status.NEXT_UNKNOWN or time.monotonic() - began > 1
    later = threading.Timer(0.5, peers.offering, (node, relay))
    later.start()
    wait_until(lambda: answered(session, echo), 15, "a stream over the new connections")
    later.join()


def answered(session, target) -> bool:
    try:
        echoes(session, target, 1000)
        return True
    except (Refused, NoAnswer, StreamError, OSError):
        return False


def test_an_offered_connection_that_speaks_first_is_never_used(peers, relay):
    identity = Identity.generate()
    session = peers.session(relay, identity=identity)
    assert session.start(Request(Kind.OFFER), early=b"too early").await_response().status == Status.GENERAL
    stream = session.start(Request(Kind.OFFER)).require(Status.PARKED)
    stream.send(b"too early")
    time.sleep(0.1)
    with peers.session(relay).start(Request(Kind.FORWARD, next_node=identity.public)) as asker:
        asker.sock.settimeout(20)
        assert asker.await_response().status in (Status.NEXT_UNKNOWN, Status.NEXT_UNREACHABLE)
    with pytest.raises((StreamError, OSError)):
        stream.await_taken()


def test_a_member_is_not_given_to_somebody_else(peers, relay):
    peers.offering(peers.node(), relay)
    with pytest.raises(RelayRefused) as refused:
        peers.session(peers.node(), peers.session(relay), stated=False)
    assert refused.value.status == Status.NEXT_UNKNOWN


def test_offers_reach_our_relay_over_a_python_relay(network, peers, relay, echo):
    """Node → Python relay → our relay ← our client, whose path has both."""
    first, node = peers.relay(), peers.node()
    peers.offering(node, relay, through=peers.session(first, identity=node.identity))
    client = client_of(network, behind(node, via=[first, relay], stated=False))
    with dial(client.socks, echo) as app:
        echo_blob(app)


@pytest.mark.parametrize("order", ["ours-python", "python-ours"])
def test_hidden_nodes_at_the_end_of_mixed_chains(network, peers, echo, order):
    """The last relay has the node's connections; the client's path has two relays."""
    hops = [network.node("--relay-mode", name=kind) if kind == "ours" else peers.relay() for kind in order.split("-")]
    hidden = network.node("--connect-relay", hops[-1].address, name="hidden")
    client = client_of(network, behind(hidden, via=hops, stated=False))
    wait_until(lambda: serves(client.socks, echo), 15, "a stream")
    with dial(client.socks, echo) as app:
        echo_blob(app)
    python_node = peers.node()
    peers.offering(python_node, hops[-1])
    session = peers.session(python_node, peers.session(hops[1], peers.session(hops[0])), stated=False)
    echoes(session, echo)


# ============================================================================================== questions about policy

def test_our_node_answers_policy_questions(network, peers, echo):
    node = network.node(config={"node": {"exit_policy": {"deny": ["203.0.113.0/24"]}}})
    session = peers.session(node)
    for host, statuses in (("127.0.0.1", (Status.OK,)), ("203.0.113.9", (Status.DENIED,)),
                           ("10.0.0.1", (Status.DENIED,)),
                           ("169.254.169.254", (Status.DENIED,)), ("fe80::1", (Status.DENIED,)),
                           ("localhost", (Status.OK,)), ("198.51.100.1", (Status.OK,)),
                           ("no-such-name.invalid", (Status.NO_SUCH_NAME, Status.NOT_RESOLVED))):
        status, text = session.control.ask_policy(host, echo[1])
        assert status in statuses, (host, status, text)
        assert status != Status.DENIED or text, f"{host}: a denial names its rule"
    session.control.ping()
    assert 0 <= session.control.peer_load <= 10000


def test_policy_questions_over_a_relay(peers, relay, node):
    session = peers.session(node, peers.session(relay))
    assert session.control.ask_policy("10.0.0.1", 80)[0] == Status.DENIED


def test_many_policy_questions_at_once(peers, node):
    """Answers may come in any order, each with the token of its question; none is lost as long as few are open."""
    session = peers.session(node)
    hosts = {token: f"10.0.0.{token}" if token % 2 else "127.0.0.1" for token in range(1, 9)}
    for token, host in hosts.items():
        session.control.send_message(ControlMessage(Control.ASK_POLICY, token, address=Address(host, 80)))
    answers = {answer.token: answer.status for answer in (session.control.receive_message() for _ in hosts)}
    assert answers == {token: Status.DENIED if token % 2 else Status.OK for token in hosts}


@pytest.mark.parametrize("content, size", [
    (b"\x01" + bytes(8), 512), (b"\x04" + bytes(8) + b"\x01\x7f\0\0\x01\0\x50", 128), (b"\x09" + bytes(8), 128),
    (b"\x05" + bytes(10), 512), (b"\x03", 128), (b"\x01" + bytes(9), 128), (b"", 128), (b"\x01" + bytes(7), 128),
    (b"\x04" + bytes(8) + b"\x02\x7f\0\0\x01\0\x50", 512), (b"\x04" + bytes(8) + b"\x03\0\0\x50", 512)],
    ids=["ping-size", "ask-size", "unknown", "answer", "draining", "longer", "empty", "shorter", "address-type",
         "empty-name"])
def test_a_wrong_control_record_ends_the_connection(peers, node, echo, content, size):
    session = peers.session(node)
    session.sock.sendall(session.control.channel.sealer.seal_to(CONTROL, content, size))
    with pytest.raises(StreamError):
        session.control.receive()
    echoes(peers.session(node), echo, 1000)


def test_a_question_to_our_client_ends_the_control_connection(network, peers, echo):
    node = peers.node()
    client = client_of(network, behind(node))
    before = set(node.sessions)
    node.controls[0].send_message(ControlMessage(Control.ASK_POLICY, 1, address=Address("some.example", 1)))
    wait_until(lambda: set(node.sessions) - before, 10, "a new session")
    wait_until(lambda: serves(client.socks, echo), 10, "a stream")


def explain(client, target: str) -> dict:
    done = qanat("explain", target, "--json", "--admin", client.admin)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def test_our_client_asks_python_nodes(network, peers):
    """The rule of each exit reaches the person that asks."""
    lenient = peers.node(policy=lambda address: (Status.OK, "everything goes"))
    strict = peers.node(policy=lambda address: (Status.DENIED, f"nobody goes to {address.host}"))
    hop = peers.relay()
    client = client_of(network, behind(lenient), behind(strict, via=[hop]))
    wait_until(lambda: lenient.controls and strict.controls, 10, "both sessions")
    shown = json.dumps(explain(client, "some.example:443"))
    assert "nobody goes to some.example" in shown and "everything goes" in shown, shown
    assert not [1 for _, request in strict.requests + lenient.requests if request.kind == Kind.CONNECT]


@pytest.mark.parametrize("answer", ["silence", "wrong-token", "unknown-status", "too-long", "closes"])
def test_nodes_that_answer_policy_questions_wrongly(network, peers, echo, answer):
    def policy(address):
        if answer == "silence":
            time.sleep(30)
        elif answer == "closes":
            node.cut_all()
        return (77, "") if answer == "unknown-status" else (Status.OK, "x" * (200 if answer == "too-long" else 1))

    node = peers.node(policy=policy)
    client = client_of(network, behind(node))
    if answer == "wrong-token":
        for control in node.controls:
            control.send_message(ControlMessage(Control.POLICY_ANSWER, 4711, text="never asked"))
    started = time.monotonic()
    explain(client, "some.example:443")
    assert time.monotonic() - started < 15 * TIME_SCALE
    wait_until(lambda: serves(client.socks, echo), 15, "a stream")
