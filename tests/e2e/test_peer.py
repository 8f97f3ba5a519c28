"""The programs against the independent implementation of the protocol in tests/peer, in both directions."""

import hashlib
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from qanatpeer.client import NoAnswer, Refused, Session, Stream
from qanatpeer.control import ControlMessage
from qanatpeer.keys import Identity, NetworkKey
from qanatpeer.messages import Address, Control, Kind, Punch, Request, Response, SessionStatus, Status
from qanatpeer.node import Node, reset
from qanatpeer.records import ABORT, ALERT, CLOSE_NOTIFY, CONTROL, DATA, Aborted, Cut, StreamError, read_exactly
from qanatpeer.stream_keys import NODE_PREAMBLE, StreamKeys, block_size, client_preamble

import servers
from harness import TIME_SCALE, environment, wait_until
from servers import Target
from socks5 import Connection, SocksError, dial, reply_of

SUITES = {"aes-128-gcm": 1, "aes-256-gcm": 2, "chacha20-poly1305": 3}


def ended_with(sock: socket.socket) -> str:
    try:
        while sock.recv(65536):
            pass
        return "eof"
    except ConnectionResetError:
        return "reset"


# =============================================================================== the Python client and the real node

@pytest.fixture
def key(shared) -> NetworkKey:
    return NetworkKey.load(shared.key)


@pytest.fixture
def session(shared, key):
    with Session(shared.exit.tunnel, key, shared.exit.id) as opened:
        yield opened


@pytest.mark.parametrize("suite", [1, 2, 3])
def test_every_suite(shared, key, echo, suite):
    with Session(shared.exit.tunnel, key, shared.exit.id, suites=(suite,)) as session:
        assert session.secrets.suite == suite
        blob = os.urandom(3 << 20)
        with session.connect(*echo) as stream:
            sender = threading.Thread(target=lambda: (stream.send(blob), stream.half_close()))
            sender.start()
            assert hashlib.sha256(stream.receive_all()).digest() == hashlib.sha256(blob).digest()
            sender.join()


def test_the_client_chooses_the_order_of_suites(shared, key):
    for suites in ((2, 1, 3), (3, 1), (1, 3), (200, 3)):
        with Session(shared.exit.tunnel, key, shared.exit.id, suites=suites) as session:
            assert session.secrets.suite == next(suite for suite in suites if suite in (1, 2, 3))


def test_no_aes_without_hardware_on_both_sides(shared, key):
    with Session(shared.exit.tunnel, key, shared.exit.id, suites=(1, 2, 3), aes=False) as session:
        assert session.secrets.suite == 3


def test_no_common_suite(shared, key):
    for options in ({"suites": (99,)}, {"suites": (1, 2), "aes": False}):
        with pytest.raises(Refused) as refused:
            Session(shared.exit.tunnel, key, shared.exit.id, **options)
        assert refused.value.status == SessionStatus.NO_SUITE


def test_session_parameters(session):
    assert session.hello.lifetime >= 60 and session.hello.window >= 64 and session.hello.window % 64 == 0


def test_pings(session):
    for token in (0, 1, 2**64 - 1):
        session.control.ping(token)


def test_several_control_records_in_one_segment(session):
    sealer = session.control.channel.sealer
    records = b"".join(sealer.seal_to(CONTROL, bytes([Control.PING]) + token.to_bytes(8, "big"), 128)
                       for token in range(10))
    session.sock.sendall(records[:700])
    time.sleep(0.05)
    session.sock.sendall(records[700:])
    for token in range(10):
        assert session.control.receive() == (Control.PONG, token)


def test_park(session, echo):
    parked = [session.park() for _ in range(5)]
    for stream in parked:
        with session.connect_parked(stream, *echo) as stream:
            stream.send(b"x")
            assert stream.receive_exactly(1) == b"x"


def test_streams_one_after_the_other_on_one_connection(session, echo):
    stream = session.connect(*echo, keep=True)
    assert stream.keep
    for number in range(20):
        blob = os.urandom(1 + number * 20_000)
        stream.send(blob)
        assert stream.receive_exactly(len(blob)) == blob
        stream.half_close()
        assert stream.receive_all() == b""
        session.connect_parked(stream, *echo, keep=number < 19)
    stream.half_close()
    assert stream.receive_all() == b"" and stream.sock.recv(1) == b""


def test_a_kept_connection_after_an_abort_is_gone(session, echo):
    stream = session.connect(*echo, keep=True)
    stream.send(b"x")
    assert stream.receive_exactly(1) == b"x"
    stream.send_record(ALERT, ABORT)
    with pytest.raises((StreamError, OSError)):
        while True:
            stream.request(Request(Kind.CONNECT, Address(*echo)))
            stream.require(Status.OK)


def test_park_and_refusal(session, nobody_listens):
    with pytest.raises(Refused) as refused:
        session.connect_parked(session.park(), *nobody_listens)
    assert refused.value.status == Status.REFUSED


def test_park_twice_is_refused(session):
    stream = session.park()
    stream.request(Request(Kind.PARK))
    with pytest.raises((StreamError, Refused)):
        stream.require(Status.OK)


def test_parked_connection_with_early_data_in_one_segment(session, echo):
    stream = session.park()
    content = Request(Kind.CONNECT, Address(*echo)).encode()
    stream.sock.sendall(stream.sealer.seal_to(CONTROL, content, block_size(0, len(content), 512))
                        + stream.sealer.seal(DATA, b"early"))
    assert stream.require(Status.OK).receive_exactly(5) == b"early"
    stream.close()


@pytest.mark.parametrize("size", [1, 1000, 16384, 70_000])
def test_early_data(session, echo, size):
    early = os.urandom(size)
    with session.connect(*echo, early=early) as stream:
        stream.half_close()
        assert stream.receive_all() == early


def test_first_flight_in_any_pieces(session, echo):
    for cuts in ([1] * 600, [52, 1, 4, 1, 500], [53, 5, 454, 100], [511, 1, 100]):
        flight = session.first_flight(Request(Kind.CONNECT, Address(*echo)))
        data = flight.data + flight.sealer.seal(DATA, b"early")
        stream = Stream(session.dial(), flight.keys, flight.sealer)
        for cut in cuts:
            if data[:cut]:
                stream.sock.sendall(data[:cut])
                data = data[cut:]
        stream.sock.sendall(data)
        assert stream.require(Status.OK).receive_exactly(5) == b"early"
        stream.close()


def test_msg1_byte_by_byte(shared, key):
    class Slow(Session):
        def _handshake(self):
            message = self.initiator.msg1()
            for byte in message[:-1]:
                self.sock.sendall(bytes([byte]))
            real, self.initiator.msg1 = self.initiator.msg1, lambda *_: message[-1:]
            try:
                super()._handshake()
            finally:
                self.initiator.msg1 = real

    Slow(shared.exit.tunnel, key, shared.exit.id).close()


def test_long_names_and_addresses(session, echo, nobody_listens):
    assert session.start(Request(Kind.CONNECT, Address("localhost", echo[1]))).await_response().status == Status.OK
    for host, expected in (("no-such-name.invalid", (Status.NO_SUCH_NAME, Status.NOT_RESOLVED)),
                           ("x" * 255, (Status.NO_SUCH_NAME, Status.NOT_RESOLVED, Status.GENERAL)),
                           ("169.254.169.254", (Status.DENIED,)), ("10.1.2.3", (Status.DENIED,)),
                           ("fe80::1", (Status.DENIED,))):
        stream = session.start(Request(Kind.CONNECT, Address(host, 80)))
        response = stream.await_response()
        assert response.status in expected, (host, response)
        assert (response.address.host, response.address.port) == ("0.0.0.0", 0)
        assert stream.receive() == b"", "close_notify follows a refusal"
        stream.close()


def test_bound_address(session):
    with Target() as target:
        stream = session.connect(*target.address)
        assert (stream.response.address.host, stream.response.address.port) == target.take().getpeername()[:2]
        stream.close()


def test_observe(session):
    stream = session.start(Request(Kind.OBSERVE)).require(Status.OK)
    assert (stream.response.address.host, stream.response.address.port) == stream.sock.getsockname()[:2]
    assert stream.receive_all() == b""  # close_notify
    stream.close()


def test_punch_is_answered_by_a_node_without_a_relay(session):
    for token in (1, 2):
        session.control.send_message(
            ControlMessage(Control.PUNCH, token, address=Address("203.0.113.5", 40000), delay_ms=10))
        answer = session.control.receive_message()
        assert (answer.kind, answer.token, answer.status) == (Control.PUNCH_ANSWER, token, Punch.IMPOSSIBLE)
    session.control.ping()


def test_punch_with_a_name_ends_the_control_connection(session):
    session.control.send_message(ControlMessage(Control.PUNCH, 1, address=Address("example.org", 40000)))
    with pytest.raises((Cut, OSError)):
        session.control.receive_message()


@pytest.mark.parametrize("kind", [Kind.FORWARD, Kind.OFFER, Kind.UDP, 0, 77])
def test_other_kinds(session, echo, kind):
    if kind == Kind.FORWARD:
        stream = session.start(Request(kind, Address(*echo), next_node=bytes(32)))
    else:
        stream = session.start(Request(kind))
    assert stream.await_response().status == Status.KIND
    stream.close()


@pytest.mark.parametrize("content", [b"", b"\xf0", b"\xf0\0\0\0", b"\xf0\0\0\x05\x01\0", b"\xf1\0\0\x01\x01",
                                     b"\xf0\0\0\x09\x01\0\x02\x7f\0\0\x01\0\x50",
                                   b"\xf0\0\0\x06\x01\0\x03\0\0\x50", b"\xf0\xff\xff\xff\x01\0",
                                     b"\xf0\0\0\x0e\x01\0\x01\x7f\0\0\x01\0\x50\x80\x01\0\x01x"],
                         ids=["empty", "tag", "no-kind", "short", "response", "address-type", "empty-name", "length",
                              "critical-tlv"])
def test_malformed_requests_of_a_member(session, echo, content):
    """Authenticated, but nonsense: an end or a refusal, never OK, and the node goes on."""
    number, client_random = session.take_number(), os.urandom(32)
    keys = StreamKeys(session.secrets, number, client_random)
    sealer = keys.client_to_node()
    stream = Stream(session.dial(), keys, sealer)
    stream.sock.sendall(client_preamble(session.hello.header_key, client_random, session.secrets.session_id, number)
                        + sealer.seal_to(CONTROL, content, 512 - 53))
    stream.sock.settimeout(15 * TIME_SCALE)
    try:
        assert stream.await_response().status not in (Status.OK, Status.PARKED)
    except StreamError:
        pass
    stream.close()
    session.connect(*echo).close()


def test_half_close_both_ways(session):
    with Target() as target, session.connect(*target.address) as stream:
        far = target.take()
        stream.send(b"question")
        stream.half_close()
        assert far.recv(20) == b"question" and far.recv(1) == b""
        far.sendall(b"answer")
        assert stream.receive() == b"answer"
        far.close()
        assert stream.receive() == b""
        assert stream.sock.recv(1) == b"", "the TCP direction ends after close_notify"
    with Target() as target, session.connect(*target.address) as stream:
        far = target.take()
        far.sendall(b"all")
        far.shutdown(socket.SHUT_WR)
        assert stream.receive_all() == b"all"
        stream.send(b"still open")
        assert far.recv(20) == b"still open"
        stream.half_close()
        assert far.recv(1) == b""


def test_abort_from_the_target(session):
    with Target() as target, session.connect(*target.address) as stream:
        far = target.take()
        far.sendall(b"part")
        assert stream.receive_exactly(4) == b"part"
        reset(far)
        with pytest.raises(Aborted):
            stream.receive()


@pytest.mark.parametrize("how", ["abort", "fin", "rst", "half-record"])
def test_every_other_end_resets_the_target(session, how):
    with Target() as target:
        stream = session.connect(*target.address)
        far = target.take()
        stream.send(b"part")
        assert read_exactly(far, 4) == b"part"
        if how == "abort":
            stream.abort()
        elif how == "fin":
            stream.close()
        elif how == "rst":
            reset(stream.sock)
        else:
            stream.sock.sendall(stream.sealer.seal(DATA, b"never complete")[:-1])
            stream.close()
        assert ended_with(far) == "reset"


def test_padding_and_empty_records_are_accepted(session, echo):
    with session.connect(*echo) as stream:
        for _ in range(3):
            for _ in range(64):
                stream.send_record(DATA, b"")
            stream.send_record(DATA, b"x", padding=100)
        stream.send_record(DATA, b"y" * 16384)
        stream.half_close()
        assert stream.receive_all() == b"xxx" + b"y" * 16384


def test_records_of_the_node_are_not_larger_than_allowed(session):
    """receive() checks type and size of every record; here it sees ten thousand of them."""
    with Target(lambda sock: [sock.sendall(servers.PATTERN) for _ in range(40)]) as target:
        with session.connect(*target.address) as stream:
            digest = hashlib.sha256()
            while data := stream.receive():
                assert len(data) <= 16384
                digest.update(data)
    assert digest.hexdigest() == servers.pattern_hash(40 * len(servers.PATTERN))


def test_replay_window(session, echo):
    """Out of order inside the window is fine, twice never, behind the window never."""
    silent = []

    def send(number: int) -> socket.socket:
        sock = session.dial()
        sock.sendall(session.first_flight(Request(Kind.CONNECT, Address(*echo)), number=number).data)
        return sock

    def accepted(number: int) -> None:
        with send(number) as sock:
            assert len(read_exactly(sock, 37)) == 37

    def refused(number: int) -> None:
        silent.append((number, send(number)))

    window = session.hello.window
    top = window + 1000
    accepted(top)
    refused(top)
    accepted(top - 1)
    refused(top - 1)
    accepted(top - window + 1)  # the last one inside
    refused(top - window)       # the first one outside
    refused(0)
    accepted(top + 1)           # moves the window by one
    refused(top - window + 1)
    accepted(2**40)
    refused(top + 2)
    time.sleep(1)
    for number, sock in silent:
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
            pytest.fail(f"number {number} was answered")
        sock.close()


def test_session_outlives_its_control_connection(shared, key, echo):
    session = Session(shared.exit.tunnel, key, shared.exit.id)
    with session.connect(*echo) as running:
        session.close()
        time.sleep(0.2)
        running.send(b"x")
        assert running.receive_exactly(1) == b"x"
        with session.connect(*echo) as stream:
            stream.send(b"y")
            assert stream.receive_exactly(1) == b"y"


def test_two_sessions_of_one_client_live_side_by_side(shared, key, echo):
    """Renewal: the new session takes new streams, the old one's streams go on."""
    identity = Identity.generate()
    with Session(shared.exit.tunnel, key, shared.exit.id, identity) as old:
        with old.connect(*echo) as stream, Session(shared.exit.tunnel, key, shared.exit.id, identity) as new:
            assert old.secrets.session_id != new.secrets.session_id
            with new.connect(*echo) as other:
                for each in (stream, other):
                    each.send(b"x")
                    assert each.receive_exactly(1) == b"x"


def test_provisional_sessions_do_not_replace_a_confirmed_one(shared, key, echo):
    """A client that handshakes over and over without confirming: its confirmed session keeps working."""
    identity = Identity.generate()
    with Session(shared.exit.tunnel, key, shared.exit.id, identity) as confirmed:
        others = []
        for _ in range(5):
            try:
                others.append(Session(shared.exit.tunnel, key, shared.exit.id, identity, confirm=False, timeout=3))
            except (NoAnswer, Refused):
                pass
        confirmed.connect(*echo).close()
        for other in others:
            other.close()


def test_session_confirmed_by_a_stream_alone(shared, key, echo):
    with Session(shared.exit.tunnel, key, shared.exit.id, confirm=False) as session:
        session.connect(*echo).close()
        session.control.ping()


@pytest.mark.long
@pytest.mark.parametrize("why, alive, gone", [("provisional", 24, 33), ("control-lost", 52, 65)])
def test_end_of_a_session(shared, key, echo, why, alive, gone):
    """A session that was never confirmed ends after 30 s; one whose control connection ended after 60 s more."""
    sessions = [Session(shared.exit.tunnel, key, shared.exit.id, confirm=why != "provisional") for _ in range(2)]
    for session in sessions:
        if why == "control-lost":
            session.close()
    started = time.monotonic()
    time.sleep(alive)
    sessions[0].connect(*echo).close()
    time.sleep(started + gone - time.monotonic())
    session = sessions[1]
    session.timeout = 2
    with pytest.raises(socket.timeout):
        session.connect(*echo)


def test_wrong_keys_get_no_answer(shared, key):
    for wrong_key, node_id in ((NetworkKey.generate(), shared.exit.id), (key, Identity.generate().id)):
        with pytest.raises(NoAnswer):
            Session(shared.exit.tunnel, wrong_key, node_id, timeout=2)


@pytest.mark.parametrize("suites, park", [("1", False), ("2", False), ("3", False), ("1,2,3", True)])
def test_fetch_command(shared, web, suites, park):
    script = Path(__file__).resolve().parents[1] / "peer" / "qanat_peer.py"
    done = subprocess.run(["/usr/bin/python3", script, "fetch", "--key", shared.key, "--node", shared.exit.address,
                           "--suites", suites, *(["--park"] if park else []), "http://%s:%d/bytes/1000000" % web],
                          capture_output=True, timeout=30, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout).hexdigest() == servers.pattern_hash(1_000_000)


# =============================================================================== the real client and the Python node

@pytest.fixture
def python_node(network):
    """Makes Python nodes that hold the key of this test's network."""
    made = []

    def make(**options):
        node = Node(NetworkKey.load(network.key), **options)
        made.append(node)
        return node

    yield make
    for node in made:
        node.close()


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES.keys())
def test_client_with_every_suite(network, python_node, loop, suite):
    client = network.client(python_node(suites=(suite,)).address)
    echo = loop.serve(servers.echo)
    blob = os.urandom(2 << 20)
    with dial(client.socks, echo) as app:
        threading.Thread(target=lambda: (app.send(blob), app.sock.shutdown(socket.SHUT_WR)), daemon=True).start()
        assert hashlib.sha256(app.receive_all()).digest() == hashlib.sha256(blob).digest()


def test_client_without_aes_on_the_node(network, python_node, echo):
    node = python_node(aes=False)
    dial(network.client(node.address).socks, echo).close()
    assert {session.secrets.suite for session in node.sessions.values()} == {3}


def test_suites_of_the_configuration(network, python_node, echo):
    for name, suite in SUITES.items():
        node = python_node()
        client = network.client(node.address, config={"data_plane": {"suites": [name]}})
        dial(client.socks, echo).close()
        assert {session.secrets.suite for session in node.sessions.values()} == {suite}, name
        client.terminate()


def test_client_uses_one_connection_for_stream_after_stream(network, python_node, echo):
    node = python_node()
    client = network.client(node.address)
    for number in range(30):
        with dial(client.socks, echo) as app:
            app.send(b"%d" % number)
            app.sock.shutdown(socket.SHUT_WR)
            assert app.receive_all() == b"%d" % number
        wait_until(lambda number=number: client.status()["streams"]["ended"]["completed"] == number + 1, 5, "the end")
    assert len(node.requests) == 30
    assert len({number for number, _ in node.requests}) <= 2, "one for each engine"


def test_client_answers_a_challenge(network, python_node, echo):
    client = network.client(python_node(challenge=True).address)
    dial(client.socks, echo).close()


REPLIES = {Status.GENERAL: 1, Status.DENIED: 2, Status.NETWORK_UNREACHABLE: 3, Status.HOST_UNREACHABLE: 4,
           Status.REFUSED: 5, Status.TIMED_OUT: 6, Status.KIND: 7, Status.ADDRESS_TYPE: 8, Status.NO_SUCH_NAME: 4,
           Status.NOT_RESOLVED: 4, Status.CAPACITY: 1, Status.DRAINING: 1}


def test_status_to_reply_code(network, python_node):
    """The table of section 4.2. The port that is asked for is the status to answer with."""
    node = python_node(handler=lambda stream, request: stream.respond(
        Response(request.address.port, tlvs={1: "weil es so ist".encode()})))
    client = network.client(node.address)
    got = {status: reply_of(client.socks, ("target.example", int(status))) for status in REPLIES}
    assert got == REPLIES


def test_unknown_status_is_a_failure(network, python_node):
    node = python_node(handler=lambda stream, request: stream.respond(Response(99)))
    client = network.client(node.address)
    assert reply_of(client.socks, ("target.example", 80)) != 0


def test_the_name_reaches_the_node_as_it_was_asked_for(network, python_node):
    node = python_node(handler=lambda stream, request: stream.respond(Response(Status.REFUSED)))
    client = network.client(node.address)
    for host in ("Some.Name.example", "192.0.2.1", "2001:db8::1", "x" * 255):
        reply_of(client.socks, (host, 443))
        wait_until(lambda host=host: Address(host, 443) in [request.address for _, request in node.requests], 5, host)
    assert len({number for number, _ in node.requests}) >= 4


@pytest.mark.parametrize("how, expected", [("close", "eof"), ("abort", "reset"), ("fin", "reset"), ("rst", "reset"),
                                           ("forged", "reset"), ("half-record", "reset"), ("bad-type", "reset"),
                                           ("control", "reset"), ("empties", "reset"), ("plain", "reset"),
                                           ("unknown-alert", "reset")])
def test_how_a_stream_ends_at_the_application(network, python_node, how, expected):
    release = threading.Event()

    def handler(stream, request):
        stream.respond(Response(Status.OK))
        stream.send(b"all that came")
        seal = stream.sealer.seal
        if how == "close":
            stream.half_close()
        elif how == "abort":
            stream.abort()
        elif how == "fin":
            stream.sock.shutdown(socket.SHUT_WR)
        elif how == "rst":
            time.sleep(0.2)  # a reset may overtake data; this one is not about that
            reset(stream.sock)
        elif how == "forged":
            stream.sock.sendall(seal(DATA, b"x" * 50)[:-1] + b"\0")
        elif how == "half-record":
            stream.sock.sendall(seal(DATA, b"x" * 50)[:-1])
            stream.sock.shutdown(socket.SHUT_WR)
        elif how == "bad-type":
            stream.sock.sendall(seal(99, b"x"))
        elif how == "control":
            stream.sock.sendall(seal(CONTROL, b"x"))
        elif how == "empties":
            stream.sock.sendall(b"".join(seal(DATA, b"") for _ in range(65)))
        elif how == "plain":
            stream.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" * 10)
        else:
            stream.sock.sendall(seal(ALERT, b"\x02\x28"))
        release.wait(15)

    node = python_node(handler=handler)
    client = network.client(node.address)
    with dial(client.socks, ("target.example", 80)) as app:
        assert app.receive(13) == b"all that came"
        assert app.end() == expected
    release.set()


@pytest.mark.parametrize("how, expected", [("close", CLOSE_NOTIFY), ("reset", ABORT)])
def test_how_the_client_ends_a_stream(network, python_node, how, expected):
    seen = []

    def handler(stream, request):
        stream.respond(Response(Status.OK))
        try:
            while True:
                content_type, content = stream.receive_record()
                seen.append((content_type, content))
                if content_type == ALERT:
                    return
        except StreamError as error:
            seen.append((0, repr(error)))

    node = python_node(handler=handler)
    client = network.client(node.address)
    app = dial(client.socks, ("target.example", 80))
    app.send(b"data")
    wait_until(lambda: (DATA, b"data") in seen, 5, "the data")
    if how == "close":
        app.sock.shutdown(socket.SHUT_WR)
    else:
        reset(app.sock)
    wait_until(lambda: seen[-1] == (ALERT, expected), 5, f"the alert; seen: {seen}")
    app.close()


def test_response_and_data_in_one_segment_and_byte_by_byte(network, python_node):
    def handler(stream, request):
        content = Response(Status.OK, Address("192.0.2.9", 999)).encode()
        server_random = os.urandom(32)
        start = b""
        if stream.sealer is None:
            stream.sealer = stream.keys.node_to_client(server_random)
            start = NODE_PREAMBLE + server_random
        whole = start + stream.sealer.seal_to(CONTROL, content, block_size(len(start), len(content), 256))
        whole += stream.sealer.seal(DATA, b"banner") + stream.sealer.seal(DATA, b"", 30)
        whole += stream.sealer.seal(DATA, b"2") + stream.sealer.seal(ALERT, CLOSE_NOTIFY, 9)
        if request.address.port == 1:
            stream.sock.sendall(whole)
        else:
            for byte in whole:
                stream.sock.sendall(bytes([byte]))
        stream.sock.shutdown(socket.SHUT_WR)
        assert stream.receive_all() == b"client data"

    node = python_node(handler=handler)
    client = network.client(node.address)
    for port in (1, 2):
        with dial(client.socks, ("target.example", port)) as app:
            assert app.bound == ("192.0.2.9", 999)
            app.send(b"client data")
            assert app.receive_all() == b"banner2"
    assert not [failure for failure in node.failures if "Assertion" in failure]


def test_first_flight_of_the_client_fills_whole_blocks(network, python_node):
    """And it carries no application data before the RESPONSE: the stream could still move to another node."""
    sizes = []

    def handler(stream, request):
        stream.sock.settimeout(0.5)
        try:
            sizes.append(len(stream.sock.recv(1000, socket.MSG_PEEK)))
        except socket.timeout:
            sizes.append(0)
        stream.sock.settimeout(None)
        stream.respond(Response(Status.OK))
        stream.half_close()

    client = network.client(python_node(handler=handler).address)
    with Connection(client.socks) as app:
        app.send(b"\x05\x01\x00" + b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50" + b"early data")
        app.receive(2)
        assert app.receive_reply()[0] == 0
    assert sizes == [0]


@pytest.mark.parametrize("status", [Status.CAPACITY, Status.DRAINING])
def test_another_node_is_tried(network, python_node, echo, status):
    """A node that is full or draining answers so; the application never sees it as long as another node works."""
    full = python_node(handler=lambda stream, request: stream.respond(Response(status)))
    good = python_node()
    client = network.client(full.address, good.address, config={"routing": {"strategy": "round-robin"}})
    wait_until(lambda: full.sessions and good.sessions, 5, "both sessions")
    for _ in range(6):
        with dial(client.socks, echo) as app:
            app.send(b"x")
            assert app.receive(1) == b"x"


@pytest.mark.parametrize("how", ["reset", "fin", "silent", "refused-connect"])
def test_failing_node_is_left_before_any_byte_was_released(network, python_node, echo, how):
    def handler(stream, request):
        if how == "reset":
            reset(stream.sock)
        elif how == "silent":
            time.sleep(8)

    bad, good = python_node(handler=handler), python_node()
    client = network.client(bad.address, good.address,
                            config={"routing": {"strategy": "round-robin", "timeout": "2s"}})
    wait_until(lambda: bad.sessions and good.sessions, 5, "both sessions")
    if how == "refused-connect":
        bad.close()
    for _ in range(3):
        with dial(client.socks, echo) as app:
            app.send(b"x")
            assert app.receive(1) == b"x"


def test_node_that_never_answers_is_a_failure_in_time(network, python_node):
    node = python_node(handler=lambda stream, request: time.sleep(20))
    client = network.client(node.address, config={"routing": {"timeout": "1s"}})
    started = time.monotonic()
    assert reply_of(client.socks, ("target.example", 80)) in (1, 6)
    assert time.monotonic() - started < 8 * TIME_SCALE


def test_lost_control_connection_makes_a_new_session(network, python_node, echo):
    node = python_node()
    client = network.client(node.address)
    with dial(client.socks, echo) as running:
        before = set(node.sessions)
        for control in list(node.controls):
            control.channel.sock.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: set(node.sessions) - before, 10, "a new session")
        running.send(b"x")
        assert running.receive(1) == b"x", "running streams are not touched"
        dial(client.socks, echo).close()


def test_forgotten_session_is_replaced(network, python_node, echo):
    """A node that lost its sessions (a crash and a quick restart on the same port)."""
    node = python_node(silent_seconds=(0.5, 0.5))
    client = network.client(node.address)
    dial(client.socks, echo).close()
    node.sessions.clear()
    node.header_key = os.urandom(32)
    node.cut_all()

    def works():
        try:
            dial(client.socks, echo, timeout=5).close()
            return True
        except (SocksError, OSError, Exception):
            return False

    wait_until(works, 15, "a stream on a new session")


def test_draining_node_gets_no_new_stream(network, python_node, echo):
    leaving, staying = python_node(), python_node()
    client = network.client(leaving.address, staying.address, config={"routing": {"strategy": "round-robin"}})
    wait_until(lambda: leaving.controls and staying.controls, 5, "both sessions")
    dial(client.socks, echo).close()
    leaving.drain()

    def moved():
        before = count(leaving)
        for _ in range(4):
            dial(client.socks, echo).close()
        return count(leaving) == before

    def count(node):
        return len([1 for _, request in node.requests if request.kind == Kind.CONNECT])

    wait_until(moved, 5, "new streams only at the other node")


@pytest.mark.parametrize("status", [1, 2, 3, 4])
def test_refused_session(network, python_node, status):
    """The client says so and goes on trying; it is not ready meanwhile."""
    node = python_node(status=status)
    client = network.client(node.address, wait=False)
    wait_until(lambda: node.handshakes, 10, "a handshake")
    wait_until(client.status, 10, "the status")
    assert client.running() and not client.connected()
    node.status = 0
    client.wait_ready(timeout=40)


def test_impostor_gets_nothing(network, python_node):
    """Same network key, another static key: the client must not take it for the node it was told to use."""
    impostor = python_node(identity=Identity.generate(), silent_seconds=(0.5, 0.5))
    client = network.client(f"{Identity.generate().id}@127.0.0.1:{impostor.port}", wait=False)
    wait_until(lambda: impostor.failures, 15, "an attempt")
    time.sleep(0.5)
    assert not client.connected() and impostor.handshakes == 0


@pytest.mark.parametrize("answer", [b"", b"\x02\x01\x00\xfc" + bytes(252), os.urandom(256),
                                    b"\x03\x01\x00\x20" + bytes(32),
                                   b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x02\x01\x00\xfc"],
                         ids=["closes", "zeros", "random", "challenge", "http", "short"])
def test_node_that_talks_nonsense(network, answer):
    """The client neither dies nor believes it; it tells what may be wrong."""
    listener = socket.create_server(("127.0.0.1", 0))
    attempts = []

    def serve(sock):
        attempts.append(sock.recv(512))
        sock.sendall(answer)

    with Target(serve, listener=listener) as target:
        client = network.client(f"{Identity.generate().id}@127.0.0.1:{target.address[1]}", wait=False)
        wait_until(lambda: attempts, 10, "an attempt")
        wait_until(client.status, 10, "the status")
        assert client.running() and not client.connected()
        wait_until(lambda: "network key" in client.log(), 25, "an explanation")


def test_a_short_lifetime_is_renewed(network, python_node, echo):
    """At 75 % of the lifetime a new session takes over; no stream fails meanwhile, running ones are not touched."""
    node = python_node(lifetime=4)
    client = network.client(node.address)
    with dial(client.socks, echo) as running:
        deadline = time.monotonic() + 7
        while time.monotonic() < deadline:
            dial(client.socks, echo).close()
            time.sleep(0.05)
        running.send(b"x")
        assert running.receive(1) == b"x"
    assert 2 <= node.handshakes <= 6


def test_download_through_a_python_node(network, python_node, web):
    """A whole download with the Python node as exit."""
    client = network.client(python_node().address)
    with dial(client.socks, web) as app:
        app.send(b"GET /bytes/5000000 HTTP/1.1\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += app.receive(1)
        assert hashlib.sha256(app.receive(5_000_000)).hexdigest() == servers.pattern_hash(5_000_000)

