"""The client side on sockets: sessions, streams, and the raw material for attacks on a node."""

import os
import socket
import threading
from dataclasses import dataclass

from .handshake import Initiator
from .keys import Identity, Malformed, NetworkKey, decode_id
from .messages import (CAPABILITY_AES, CHALLENGE_SIZE, MSG2_SIZE, Address, ClientHello, Control, Kind, Request,
                       Response, SessionStatus, Status)
from .records import CONTROL, Cut, ProtocolError, RecordChannel, RecordCipher, check_header, read_exactly
from .stream_keys import (CLIENT_BLOCK, CLIENT_PREAMBLE_SIZE, NODE_BLOCK, NODE_PREAMBLE, NODE_PREAMBLE_SIZE, StreamKeys,
                          block_size, client_preamble)

DEFAULT_SUITES = (1, 2, 3)
CONTROL_RECORD_SIZE = 128


class NoAnswer(Exception):
    """The node said nothing: wrong network key, wrong node id, or not a Qanat node."""


class Refused(Exception):
    """An authenticated answer other than OK."""

    def __init__(self, status: int, reason: str = ""):
        super().__init__(f"status {status} {reason}".rstrip())
        self.status = status
        self.reason = reason


def control_body(message: int, token: int = 0) -> bytes:
    return bytes([message]) + (b"" if message == Control.DRAINING else token.to_bytes(8, "big"))


class ControlConnection:
    """Control records after MSG2 (section 3.2)."""

    def __init__(self, channel: RecordChannel):
        self.channel = channel
        self.draining = False
        self._lock = threading.Lock()

    def send(self, message: int, token: int = 0) -> None:
        with self._lock:
            self.channel.sock.sendall(
                self.channel.sealer.seal_to(CONTROL, control_body(message, token), CONTROL_RECORD_SIZE))

    def receive(self) -> tuple[int, int]:
        """The next message that is not a PING; PINGs are answered."""
        while True:
            content_type, content = self.channel.receive_record()
            if content_type != CONTROL:
                raise ProtocolError(f"type {content_type} on the control connection")
            message, token = content[0], int.from_bytes(content[1:9], "big")
            if message == Control.PING:
                self.send(Control.PONG, token)
            elif message == Control.DRAINING:
                self.draining = True
                return message, 0
            else:
                return message, token

    def ping(self, token: int | None = None) -> None:
        token = int.from_bytes(os.urandom(8), "big") if token is None else token
        self.send(Control.PING, token)
        answer = self.receive()
        if answer != (Control.PONG, token):
            raise ProtocolError(f"PING answered with {answer}")


class Stream(RecordChannel):
    """One stream after its first flight; `response` is None until await_response()."""

    def __init__(self, sock: socket.socket, keys: StreamKeys, sealer: RecordCipher):
        super().__init__(sock, sealer, None)
        self._keys = keys
        self.response: Response | None = None

    def await_response(self) -> Response:
        fixed = 0
        if self.opener is None:
            preamble = read_exactly(self.sock, NODE_PREAMBLE_SIZE)
            if preamble[:5] != NODE_PREAMBLE:
                raise ProtocolError(f"not a node preamble: {preamble[:5].hex()}")
            self.opener = self._keys.node_to_client(preamble[5:])
            fixed = NODE_PREAMBLE_SIZE
        header = read_exactly(self.sock, 5)
        body = read_exactly(self.sock, check_header(header))
        if (fixed + 5 + len(body)) % NODE_BLOCK:
            raise ProtocolError(f"RESPONSE fills {fixed + 5 + len(body)} bytes, not a multiple of {NODE_BLOCK}")
        content_type, content = self.opener.open(header, body)
        if content_type != CONTROL:
            raise ProtocolError(f"record 0 has type {content_type}")
        self.response = Response.decode(content)
        return self.response

    def request(self, request: Request) -> None:
        """A REQUEST as the next record: on a parked stream."""
        content = request.encode()
        self.sock.sendall(self.sealer.seal_to(CONTROL, content, block_size(0, len(content), CLIENT_BLOCK)))

    def require(self, status: int) -> "Stream":
        response = self.await_response()
        if response.status != status:
            self.close()
            raise Refused(response.status, response.reason)
        return self


@dataclass
class FirstFlight:
    """Preamble and record 0 as bytes, with the keys to go on."""

    data: bytes
    keys: StreamKeys
    sealer: RecordCipher
    number: int


class Session:
    """A session with one node. Stream numbers count up from 0."""

    def __init__(self, address: tuple[str, int], key: NetworkKey, node_id: str | bytes,
                 identity: Identity | None = None, suites: tuple[int, ...] = DEFAULT_SUITES, aes: bool = True,
                 window: int = 0, timeout: float = 10, confirm: bool = True):
        self.address = address
        self.timeout = timeout
        self.challenged = False
        self._next_number = 0
        self._lock = threading.Lock()
        node_public = node_id if isinstance(node_id, bytes) else decode_id(node_id)
        hello = ClientHello(CAPABILITY_AES if aes else 0, suites, os.urandom(16), window)
        self.initiator = Initiator(key, node_public, identity or Identity.generate(), hello)
        self.sock = socket.create_connection(address, timeout)
        try:
            self._handshake()
            if confirm:
                self.control.ping()
        except BaseException:
            self.sock.close()
            raise

    def _handshake(self) -> None:
        self.sock.sendall(self.initiator.msg1())
        try:
            start = read_exactly(self.sock, 4)
            if start[0] == 3:
                cookie = self.initiator.read_challenge(start + read_exactly(self.sock, CHALLENGE_SIZE - 4))
                self.challenged = True
                self.sock.sendall(self.initiator.msg1(cookie))
                start = read_exactly(self.sock, 4)
            self.hello, self.secrets = self.initiator.read_msg2(start + read_exactly(self.sock, MSG2_SIZE - 4))
        except (Cut, Malformed, socket.timeout) as error:
            raise NoAnswer(f"wrong network key, wrong node id, or not a Qanat node ({error})") from error
        if self.hello.status != SessionStatus.OK:
            raise Refused(self.hello.status)
        suite = self.secrets.suite
        self.control = ControlConnection(RecordChannel(self.sock, RecordCipher(suite, self.secrets.control_client),
                                                       RecordCipher(suite, self.secrets.control_node)))

    def take_number(self) -> int:
        with self._lock:
            self._next_number += 1
            return self._next_number - 1

    def first_flight(self, request: Request, number: int | None = None, client_random: bytes | None = None,
                     session_id: int | None = None) -> FirstFlight:
        number = self.take_number() if number is None else number
        client_random = client_random or os.urandom(32)
        session_id = self.secrets.session_id if session_id is None else session_id
        keys = StreamKeys(self.secrets, number, client_random)
        sealer = keys.client_to_node()
        content = request.encode()
        record = sealer.seal_to(CONTROL, content, block_size(CLIENT_PREAMBLE_SIZE, len(content), CLIENT_BLOCK))
        preamble = client_preamble(self.hello.header_key, client_random, session_id, number)
        return FirstFlight(preamble + record, keys, sealer, number)

    def dial(self) -> socket.socket:
        sock = socket.create_connection(self.address, self.timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def start(self, request: Request, early: bytes = b"", **options) -> Stream:
        """First flight and early data in one segment; the RESPONSE is not awaited."""
        flight = self.first_flight(request, **options)
        sock = self.dial()
        stream = Stream(sock, flight.keys, flight.sealer)
        sock.sendall(flight.data)
        if early:
            stream.send(early)
        return stream

    def connect(self, host: str, port: int, early: bytes = b"") -> Stream:
        return self.start(Request(Kind.CONNECT, Address(host, port)), early).require(Status.OK)

    def park(self) -> Stream:
        return self.start(Request(Kind.PARK)).require(Status.PARKED)

    def connect_parked(self, stream: Stream, host: str, port: int) -> Stream:
        stream.request(Request(Kind.CONNECT, Address(host, port)))
        return stream.require(Status.OK)

    def close(self) -> None:
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
