"""The client side on sockets: sessions, streams, and the raw material for attacks on a node."""

import os
import socket
import threading
from dataclasses import dataclass

from .control import FROM_NODE, ControlConnection
from .handshake import Initiator
from .keys import Identity, Malformed, NetworkKey, decode_id
from .messages import (CAPABILITY_AES, CHALLENGE_SIZE, KEEP, KEPT, MSG2_SIZE, Address, ClientHello, Kind, Request,
                       Response, SessionStatus, Status, Taken)
from .records import (CONTENT_MAX, CONTROL, DATA, Cut, ProtocolError, RecordChannel, RecordCipher, check_header,
                      read_exactly)
from .stream_keys import (CLIENT_BLOCK, CLIENT_PREAMBLE_SIZE, NODE_BLOCK, NODE_PREAMBLE, NODE_PREAMBLE_SIZE, StreamKeys,
                          block_size, client_preamble)

DEFAULT_SUITES = (1, 2, 3)
TAKEN_RECORD_SIZE = 256


class NoAnswer(Exception):
    """The node said nothing: wrong network key, wrong node id, or not a Qanat node."""


class Refused(Exception):
    """An authenticated answer other than OK."""

    def __init__(self, status: int, reason: str = ""):
        super().__init__(f"status {status} {reason}".rstrip())
        self.status = status
        self.reason = reason


class RelayRefused(Refused):
    """A relay of the path could not go on; `hop` counts from 0."""

    def __init__(self, hop: int, response: Response):
        super().__init__(response.status, response.reason)
        self.hop = hop


def read_response(sock: socket.socket, opener: RecordCipher, fixed: int, may_announce: bool = False) -> Response:
    """A RESPONSE as the next record, behind `fixed` bytes that are part of its block, or behind an announcement."""
    header = read_exactly(sock, 5)
    body = read_exactly(sock, check_header(header))
    if may_announce and len(body) == 17:
        if opener.open(header, body) != (DATA, b""):
            raise ProtocolError("neither a RESPONSE nor its announcement")
        return read_response(sock, opener, fixed)
    if (fixed + 5 + len(body)) % NODE_BLOCK:
        raise ProtocolError(f"RESPONSE fills {fixed + 5 + len(body)} bytes, not a multiple of {NODE_BLOCK}")
    content_type, content = opener.open(header, body)
    if content_type != CONTROL:
        raise ProtocolError(f"record 0 has type {content_type}")
    return Response.decode(content)


def read_first_response(sock: socket.socket, keys: StreamKeys) -> tuple[RecordCipher, Response]:
    preamble = read_exactly(sock, NODE_PREAMBLE_SIZE)
    if preamble[:5] != NODE_PREAMBLE:
        raise ProtocolError(f"not a node preamble: {preamble[:5].hex()}")
    opener = keys.node_to_client(preamble[5:])
    return opener, read_response(sock, opener, NODE_PREAMBLE_SIZE)


@dataclass
class PathFront:
    """What a connection over relays begins with (section 6.1): their first flights, and the keys of their answers."""

    data: bytes = b""
    keys: tuple[StreamKeys, ...] = ()

    def await_relays(self, sock: socket.socket) -> None:
        """Every relay's preamble and RESPONSE, in the order of the path."""
        for hop, keys in enumerate(self.keys):
            _, response = read_first_response(sock, keys)
            if response.status != Status.OK:
                raise RelayRefused(hop, response)
        self.keys = ()


class Stream(RecordChannel):
    """One stream after its first flight; `response` is None until await_response()."""

    def __init__(self, sock: socket.socket, keys: StreamKeys, sealer: RecordCipher, front: PathFront | None = None,
                 keep: bool = False):
        super().__init__(sock, sealer, None)
        self._keys = keys
        self._front = front or PathFront()
        self._asked_to_keep = keep
        self.response: Response | None = None

    def await_response(self) -> Response:
        self._front.await_relays(self.sock)
        if self.opener is None:
            self.opener, self.response = read_first_response(self.sock, self._keys)
        else:
            self.response = read_response(self.sock, self.opener, 0, may_announce=True)
        self.keep = self._asked_to_keep and KEPT in self.response.tlvs
        return self.response

    def await_taken(self) -> Taken:
        """Of an offered connection (section 6.2); what comes behind it is not this stream's any more."""
        header = read_exactly(self.sock, 5)
        body = read_exactly(self.sock, check_header(header))
        if 5 + len(body) != TAKEN_RECORD_SIZE:
            raise ProtocolError(f"TAKEN of {5 + len(body)} bytes")
        content_type, content = self.opener.open(header, body)
        if content_type != CONTROL:
            raise ProtocolError(f"type {content_type} where TAKEN was due")
        return Taken.decode(content)

    def request(self, request: Request) -> None:
        """A REQUEST as the next record: on a parked stream, or on one that is kept and has ended in both directions."""
        if self.read_closed or self.write_closed:
            assert self.parked
            self.read_closed = self.write_closed = self.parked = False
        self._asked_to_keep = bool(request.flags & KEEP)
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
    """A session with one node. Stream numbers count up from 0.

    through: the session with the last relay before the node. `address` is then what that relay is told, and may be
    None for a node that offers connections to it.
    """

    def __init__(self, address: tuple[str, int] | None, key: NetworkKey, node_id: str | bytes,
                 identity: Identity | None = None, suites: tuple[int, ...] = DEFAULT_SUITES, aes: bool = True,
                 window: int = 0, timeout: float = 10, confirm: bool = True, through: "Session | None" = None):
        self.address = address
        self.through = through
        self.timeout = timeout
        self.challenged = False
        self._next_number = 0
        self._lock = threading.Lock()
        self.node_public = node_id if isinstance(node_id, bytes) else decode_id(node_id)
        hello = ClientHello(CAPABILITY_AES if aes else 0, suites, os.urandom(16), window)
        self.initiator = Initiator(key, self.node_public, identity or Identity.generate(), hello)
        self.sock = self.dial()
        try:
            self._handshake()
            if confirm:
                self.control.ping()
        except BaseException:
            self.sock.close()
            raise

    def _handshake(self) -> None:
        front = self.path_front()
        self.sock.sendall(front.data + self.initiator.msg1())
        try:
            front.await_relays(self.sock)
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
                                                       RecordCipher(suite, self.secrets.control_node)), FROM_NODE)

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

    def path_front(self) -> PathFront:
        if self.through is None:
            return PathFront()
        before = self.through.path_front()
        address = Address(*self.address) if self.address else None
        flight = self.through.first_flight(Request(Kind.FORWARD, address, next_node=self.node_public))
        return PathFront(before.data + flight.data, (*before.keys, flight.keys))

    def dial(self) -> socket.socket:
        """A connection to the first hop."""
        first = self
        while first.through:
            first = first.through
        sock = socket.create_connection(first.address, self.timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def start(self, request: Request, early: bytes = b"", **options) -> Stream:
        """One flight, that of the relays in front of it, and early data; no RESPONSE is awaited."""
        flight, front = self.first_flight(request, **options), self.path_front()
        sock = self.dial()
        stream = Stream(sock, flight.keys, flight.sealer, front, bool(request.flags & KEEP))
        data = [early[at:at + CONTENT_MAX] for at in range(0, len(early), CONTENT_MAX)]
        sock.sendall(front.data + flight.data + b"".join(flight.sealer.seal(DATA, piece) for piece in data))
        return stream

    def connect(self, host: str, port: int, early: bytes = b"", keep: bool = False) -> Stream:
        return self.start(Request(Kind.CONNECT, Address(host, port), KEEP * keep), early).require(Status.OK)

    def park(self) -> Stream:
        return self.start(Request(Kind.PARK)).require(Status.PARKED)

    def connect_parked(self, stream: Stream, host: str, port: int, keep: bool = False) -> Stream:
        """Over a connection that is parked, or kept after its stream has ended (section 4.4)."""
        stream.request(Request(Kind.CONNECT, Address(host, port), KEEP * keep))
        return stream.require(Status.OK)

    def close(self) -> None:
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
