"""The Python client against the Python node, so that a failure against the real programs means something."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from listener import listener  # noqa: E402
from qanatpeer.client import NoAnswer, Refused, Session  # noqa: E402
from qanatpeer.control import ControlMessage  # noqa: E402
from qanatpeer.handshake import Initiator, Responder  # noqa: E402
from qanatpeer.keys import Identity, Malformed, NetworkKey, decode_id, encode_id, expand_label  # noqa: E402
from qanatpeer.messages import (Address, ClientHello, Control, Kind, NodeHello, Punch, Request,  # noqa: E402
                                Response, Status, decode_tlvs)
from qanatpeer.node import Node, ReplayWindow, reset  # noqa: E402
from qanatpeer.records import DATA, Aborted, Cut, ProtocolError, RecordCipher, read_exactly  # noqa: E402
from qanatpeer.stream_keys import block_size  # noqa: E402


@contextmanager
def echo_server():
    """Sends back what comes; after the end of input it sends "bye" and ends."""
    def serve(sock):
        with sock:
            try:
                while data := sock.recv(65536):
                    sock.sendall(data)
                sock.sendall(b"bye")
            except OSError:
                pass

    with listener(serve) as address:
        yield address


@pytest.fixture
def key():
    return NetworkKey.generate()


@pytest.fixture
def target():
    with echo_server() as address:
        yield address


def open_session(node: Node, key: NetworkKey, **options) -> Session:
    return Session((node.host, node.port), key, node.identity.public, **options)


def test_expand_label_is_that_of_tls_with_another_prefix():
    # RFC 8448 section 3: client handshake "key", computed with "tls13 " in place of "qanat1 ".
    from qanatpeer.keys import expand
    secret = bytes.fromhex("b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21")
    info = (16).to_bytes(2, "big") + bytes([9]) + b"tls13 key" + b"\0"
    assert expand(secret, info, 16).hex() == "dbfaa693d1762c5b666af5d950258d01"
    assert expand_label(secret, "key", b"", 16) == expand(secret, info.replace(b"\x09tls13 ", b"\x0aqanat1 "), 16)


def test_id_round_trip_and_check_sum():
    identity = Identity.generate()
    assert len(identity.id) == 56 and identity.id == identity.id.lower()
    assert decode_id(identity.id) == identity.public
    wrong = ("a" if identity.id[0] != "a" else "b") + identity.id[1:]
    with pytest.raises(Malformed):
        decode_id(wrong)
    assert encode_id(identity.public) == identity.id


def test_key_file_round_trip(tmp_path, key):
    key.save(tmp_path / "network.key")
    assert (tmp_path / "network.key").stat().st_mode & 0o777 == 0o600
    assert NetworkKey.load(tmp_path / "network.key").psk == key.psk


@pytest.mark.parametrize("message", [
    Request(Kind.CONNECT, Address("192.0.2.1", 80)), Request(Kind.CONNECT, Address("2001:db8::1", 65535)),
    Request(Kind.CONNECT, Address("a" * 255, 1)), Request(Kind.PARK),
    Response(0, Address("127.0.0.1", 8)), Response(5, tlvs={1: b"refused"})])
def test_messages_round_trip(message):
    assert type(message).decode(message.encode()) == message
    for cut in range(len(message.encode())):
        with pytest.raises(Malformed):
            type(message).decode(message.encode()[:cut])


def test_unknown_critical_tlv_is_an_error_others_are_skipped():
    assert decode_tlvs(b"\x12\x34\x00\x01x\0\0\0\0") == {0x1234: b"x"}
    with pytest.raises(Malformed):
        decode_tlvs(b"\x92\x34\x00\x01x")


def test_first_flight_sizes():
    for content in range(0, 1200):
        assert (53 + block_size(53, content, 512)) % 512 == 0
        assert block_size(53, content, 512) >= 5 + content + 1 + 16


def test_replay_window_is_exact():
    window = ReplayWindow(64)
    assert window.accept(100)
    assert not window.accept(100)
    assert window.accept(37) and not window.accept(37)
    assert not window.accept(36)
    assert window.accept(1000) and not window.accept(936) and window.accept(937)


def test_handshake_rejects_every_flipped_bit(key):
    node, client = Identity.generate(), Identity.generate()
    hello = ClientHello(1, (1,), os.urandom(16))
    message = Initiator(key, node.public, client, hello).msg1()
    assert len(message) == 512
    assert Responder(key, node, message).tag_matches()
    for at in range(0, 512, 7):
        wrong = bytearray(message)
        wrong[at] ^= 1 << at % 8
        try:
            assert not Responder(key, node, bytes(wrong)).tag_matches()
        except Malformed:
            assert at < 4


def test_handshake_secrets_agree_and_wrong_node_fails(key):
    node, client = Identity.generate(), Identity.generate()
    initiator = Initiator(key, node.public, client, ClientHello(1, (2, 1), os.urandom(16)))
    responder = Responder(key, node, initiator.msg1())
    assert responder.read_msg1().suites == (2, 1) and responder.client_public == client.public
    msg2, node_secrets = responder.write_msg2(NodeHello(0, 2, 1, 77, 3600, 64, os.urandom(32)))
    assert len(msg2) == 256
    assert initiator.read_msg2(msg2)[1] == node_secrets
    other = Initiator(key, Identity.generate().public, client, ClientHello(1, (1,), os.urandom(16)))
    assert not Responder(key, node, other.msg1()).tag_matches()


@pytest.mark.parametrize("suite", [1, 2, 3])
def test_streams_of_every_suite(key, target, suite):
    with Node(key) as node, open_session(node, key, suites=(suite,)) as session:
        assert session.secrets.suite == suite
        with session.connect(*target) as stream:
            stream.send(b"hello")
            assert stream.receive_exactly(5) == b"hello"
            blob = os.urandom(1 << 20)
            sender = threading.Thread(target=lambda: (stream.send(blob), stream.half_close()))
            sender.start()
            assert hashlib.sha256(stream.receive_all()).digest() == hashlib.sha256(blob + b"bye").digest()
            sender.join()


def test_suite_choice(key):
    with Node(key, suites=(3, 2)) as node:
        assert open_session(node, key, suites=(1, 2, 3)).secrets.suite == 2
        assert open_session(node, key, suites=(1, 2, 3), aes=False).secrets.suite == 3
        with pytest.raises(Refused) as refused:
            open_session(node, key, suites=(1,))
        assert refused.value.status == 1


def test_park_then_connect(key, target):
    with Node(key) as node, open_session(node, key) as session:
        with session.connect_parked(session.park(), *target) as stream:
            stream.send(b"x")
            assert stream.receive_exactly(1) == b"x"


def test_streams_one_after_the_other_on_one_connection(key, target):
    with Node(key) as node, open_session(node, key) as session:
        stream = session.connect(*target, keep=True)
        for number in range(600):
            text = b"stream %d" % number
            stream.send(text)
            assert stream.receive_exactly(len(text)) == text
            stream.half_close()
            assert stream.receive_all() == b"bye"
            session.connect_parked(stream, *target, keep=True)
        stream.close()
        assert len({number for number, _ in node.requests}) == 1


def test_early_data(key, target):
    with Node(key) as node, open_session(node, key) as session:
        with session.connect(*target, early=b"early") as stream:
            assert stream.receive_exactly(5) == b"early"


def test_challenge(key, target):
    with Node(key, challenge=True) as node, open_session(node, key) as session:
        assert session.challenged
        session.connect(*target).close()


def test_ping(key):
    with Node(key) as node, open_session(node, key) as session:
        for _ in range(10):
            session.control.ping()


def test_draining_reaches_the_client(key):
    with Node(key) as node, open_session(node, key) as session:
        node.drain()
        session.control.receive()
        assert session.control.draining


def test_observe(key):
    with Node(key) as node, open_session(node, key) as session:
        stream = session.start(Request(Kind.OBSERVE)).require(Status.OK)
        assert (stream.response.address.host, stream.response.address.port) == stream.sock.getsockname()[:2]
        stream.close()


def test_punch_is_answered(key):
    with Node(key) as node, open_session(node, key) as session:
        session.control.send_message(ControlMessage(Control.PUNCH, 3, address=Address("203.0.113.5", 40000)))
        answer = session.control.receive_message()
        assert (answer.kind, answer.token, answer.status) == (Control.PUNCH_ANSWER, 3, Punch.IMPOSSIBLE)


@pytest.mark.parametrize("message", [
    ControlMessage(Control.PUNCH, 1, address=Address("203.0.113.5", 40000), delay_ms=1000),
    ControlMessage(Control.PUNCH, 1, address=Address("2001:db8::1", 1)),
    ControlMessage(Control.PUNCH_ANSWER, 1, address=Address("203.0.113.5", 40000), status=Punch.READY),
    ControlMessage(Control.PUNCH_ANSWER, 1, status=Punch.BUSY)])
def test_punch_messages_at_every_size(message):
    data = message.encode()
    decoded = ControlMessage.decode(data)
    assert decoded.encode() == data
    for wrong in [data[:size] for size in range(len(data))] + [data + b"\0"]:
        with pytest.raises(Malformed):
            ControlMessage.decode(wrong)


def test_refused_target(key):
    with Node(key) as node, open_session(node, key) as session:
        free = socket.create_server(("127.0.0.1", 0))
        address = free.getsockname()
        free.close()
        with pytest.raises(Refused) as refused:
            session.connect(*address)
        assert refused.value.status == Status.REFUSED


def test_replayed_first_flight_is_met_with_silence(key, target):
    with Node(key, silent_seconds=(0.3, 0.3)) as node, open_session(node, key) as session:
        flight = session.first_flight(Request(Kind.CONNECT, Address(*target)))
        first, second = session.dial(), session.dial()
        first.sendall(flight.data)
        assert read_exactly(first, 37)
        second.sendall(flight.data)
        assert second.recv(1) == b""
        assert len(node.requests) == 1


def test_replayed_msg1_and_wrong_key_are_met_with_silence(key):
    with Node(key, silent_seconds=(0.3, 0.3)) as node, open_session(node, key) as session:
        again = socket.create_connection(session.address)
        again.sendall(session.initiator.msg1())
        assert again.recv(1) == b""
        with pytest.raises(NoAnswer):
            open_session(node, NetworkKey.generate())


def test_ends_of_a_stream(key):
    def handler(stream, request):
        stream.respond(Response(Status.OK))
        stream.send(b"data")
        how = request.address.port
        if how == 1:
            stream.abort()
        elif how == 2:
            stream.close()
        elif how == 3:
            reset(stream.sock)
        elif how == 4:
            record = bytearray(stream.sealer.seal(DATA, b"forged"))
            record[-1] ^= 1
            stream.sock.sendall(record)

    with Node(key, handler=handler) as node, open_session(node, key) as session:
        for how, error in ((1, Aborted), (2, Cut), (4, ProtocolError)):
            with session.connect("192.0.2.1", how) as stream:
                assert stream.receive_exactly(4) == b"data"
                with pytest.raises(error):
                    stream.receive()
        with session.connect("192.0.2.1", 3) as stream, pytest.raises(Cut):
            stream.receive_all()


def test_record_padding_and_empty_records():
    sealer, opener = RecordCipher(3, b"s" * 32), RecordCipher(3, b"s" * 32)
    for padding in (0, 1, 255):
        record = sealer.seal(DATA, b"x", padding)
        assert opener.open(record[:5], record[5:]) == (DATA, b"x")
    record = sealer.seal(0, b"", 3)
    with pytest.raises(ProtocolError):
        opener.open(record[:5], record[5:])


def test_command(tmp_path, key):
    key.save(tmp_path / "network.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        sock, _ = listener.accept()
        with sock:
            sock.recv(4096)
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nfound")

    threading.Thread(target=serve, daemon=True).start()
    with Node(key) as node:
        script = Path(__file__).with_name("qanat_peer.py")
        done = subprocess.run(["/usr/bin/python3", script, "fetch", "--key", tmp_path / "network.key", "--node",
                               node.address, f"http://127.0.0.1:{listener.getsockname()[1]}/"],
                              capture_output=True, timeout=20, check=False)
    listener.close()
    assert (done.returncode, done.stdout) == (0, b"found"), done.stderr
