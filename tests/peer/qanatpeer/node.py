"""The node side on sockets: one thread per connection and direction. For tests, not for load."""

import errno
import ipaddress
import os
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Callable

from .control import FROM_CLIENT, ControlConnection, ControlMessage, Policy
from .handshake import Responder, SessionSecrets, challenge, new_session_id
from .keys import Identity, Malformed, NetworkKey
from .messages import (CAPABILITY_AES, KEEP, KEPT, MSG1_SIZE, NO_ADDRESS, Address, Control, Kind, NodeHello, Punch,
                       Request, Response, SessionStatus, Status, UnknownAddressType)
from .records import (ABORT, ALERT, CONTENT_MAX, CONTROL, Cut, ProtocolError, RecordChannel,
                      RecordCipher, StreamError, check_header, read_exactly)
from .stream_keys import (CLIENT_BLOCK, CLIENT_PREAMBLE, CLIENT_PREAMBLE_SIZE, NODE_BLOCK, NODE_PREAMBLE,
                          StreamKeys, block_size, read_client_preamble)


class ReplayWindow:
    """Exact: of the numbers in [top - size + 1, top] each is accepted once, older ones never."""

    def __init__(self, size: int):
        self.size = size
        self._top = -1
        self._seen: set[int] = set()
        self._lock = threading.Lock()

    def may_accept(self, number: int) -> bool:
        with self._lock:
            return number > self._top - self.size and number not in self._seen

    def accept(self, number: int) -> bool:
        with self._lock:
            if number <= self._top - self.size or number in self._seen:
                return False
            self._seen.add(number)
            if number > self._top:
                self._top = number
                self._seen = {seen for seen in self._seen if seen > number - self.size}
            return True


@dataclass
class NodeSession:
    secrets: SessionSecrets
    window: ReplayWindow
    client_public: bytes
    confirmed: bool = False


class NodeStream(RecordChannel):
    """A stream as the node sees it, after its first record was opened."""

    def __init__(self, sock: socket.socket, keys: StreamKeys, opener: RecordCipher, number: int, member: bytes):
        super().__init__(sock, None, opener)
        self.accepting = True
        self.keys = keys
        self.number = number
        self.member = member  # static key of the client

    def respond(self, response: Response) -> None:
        content, start = response.encode(), b""
        if self.sealer is None:
            server_random = os.urandom(32)
            self.sealer = self.keys.node_to_client(server_random)
            start = NODE_PREAMBLE + server_random
        size = block_size(len(start), len(content), NODE_BLOCK)
        self.sock.sendall(start + self.sealer.seal_to(CONTROL, content, size))
        if response.status not in (Status.OK, Status.PARKED):
            self.half_close()

    def next_request(self) -> Request:
        """The REQUEST of a parked connection, or of one whose stream has ended."""
        self.read_closed = self.write_closed = self.keep = self.parked = False
        header = read_exactly(self.sock, 5)
        body = read_exactly(self.sock, check_header(header))
        if (5 + len(body)) % CLIENT_BLOCK:
            raise ProtocolError(f"a REQUEST of {5 + len(body)} bytes")
        content_type, content = self.opener.open(header, body)
        if content_type != CONTROL:
            raise ProtocolError(f"type {content_type} where a REQUEST was due")
        request = Request.decode(content)
        if request.kind == Kind.PARK:
            raise ProtocolError("PARK twice")
        return request


def reset(sock: socket.socket) -> None:
    """Close with a TCP reset."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    sock.close()


def drain(sock: socket.socket, seconds: float = 2) -> None:
    """Reads and drops until the far side ends too: closing over unread bytes would reset the connection, and the
    reset would overtake what was said last."""
    deadline = time.monotonic() + seconds
    try:
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            if not sock.recv(65536):
                return
    except OSError:
        pass


def status_of(error: OSError | UnicodeError) -> int:
    if isinstance(error, UnicodeError):  # a name that the resolver cannot even encode
        return Status.NO_SUCH_NAME
    if isinstance(error, socket.gaierror):
        missing = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
        return Status.NO_SUCH_NAME if error.errno in missing else Status.NOT_RESOLVED
    if isinstance(error, socket.timeout):
        return Status.TIMED_OUT
    return {errno.ECONNREFUSED: Status.REFUSED, errno.ENETUNREACH: Status.NETWORK_UNREACHABLE,
            errno.EHOSTUNREACH: Status.HOST_UNREACHABLE, errno.ETIMEDOUT: Status.TIMED_OUT}.get(error.errno,
                                                                                                Status.GENERAL)


def policy_of_resolver(address: Address) -> tuple[int, str]:
    """Everything that has an address may be connected to."""
    try:
        socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return status_of(error), ""
    return Status.OK, "no rule forbids it"


def source_of(peer) -> bytes:
    """An address as 16 bytes, IPv4 mapped."""
    ip = ipaddress.ip_address(peer[0])
    return ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed


# Called with the stream and its request instead of connecting, in the stream's own thread: the stream ends with it.
Handler = Callable[[NodeStream, Request], None]


@dataclass
class Node:
    """A node on host:port. Every knob that a test turns is a field."""

    key: NetworkKey
    identity: Identity = field(default_factory=Identity.generate)
    host: str = "127.0.0.1"
    port: int = 0
    suites: tuple[int, ...] = (1, 2, 3)
    aes: bool = True
    window: int = 8192
    lifetime: int = 3600
    challenge: bool = False
    status: int = SessionStatus.OK
    silent_seconds: tuple[float, float] = (5, 10)
    connect_timeout: float = 10
    handler: Handler | None = None
    relay: Handler | None = None  # for FORWARD and OFFER; without it the node does not relay
    policy: Policy = policy_of_resolver
    load: int = 0  # in PONG

    def __post_init__(self):
        self.header_key, self.cookie_key = os.urandom(32), os.urandom(32)
        self.sessions: dict[int, NodeSession] = {}
        self.controls: list[ControlConnection] = []
        self.requests: list[tuple[int, Request]] = []
        self.handshakes = 0
        self.failures: list[str] = []
        self._ephemerals: set[bytes] = set()
        self._sockets: set[socket.socket] = set()
        self._silence = random.uniform(*self.silent_seconds)
        self._listener = socket.create_server((self.host, self.port), backlog=512,
                                              family=socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"{self.identity.id}@{self.host}:{self.port}"

    def close(self) -> None:
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self.cut_all()

    def cut_all(self) -> None:
        """Reset every connection, as a crash would."""
        for sock in list(self._sockets):
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def drain(self) -> None:
        for control in self.controls:
            control.send(Control.DRAINING)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.serve(sock, source_of(peer))

    def serve(self, sock: socket.socket, source: bytes) -> None:
        """A connection as if it had been accepted just now; source: 16 bytes that tell where it comes from."""
        threading.Thread(target=self._serve, args=(sock, source, time.monotonic()), daemon=True).start()

    def _serve(self, sock: socket.socket, source: bytes, accepted: float) -> None:
        self._sockets.add(sock)
        try:
            deadline = accepted + self._silence
            try:
                first = read_exactly(sock, 1, deadline)
                if first == b"\x01":
                    self._control(sock, first + read_exactly(sock, MSG1_SIZE - 1, deadline), source, deadline)
                elif first == b"\x17":
                    self._stream(sock, first + read_exactly(sock, CLIENT_PREAMBLE_SIZE - 1, deadline), deadline)
                else:
                    raise Malformed("unknown first byte")
            except (Malformed, Unauthenticated, Cut, socket.timeout) as error:
                self.failures.append(repr(error))
                self._silent(sock, deadline)
        except (StreamError, OSError) as error:
            self.failures.append(repr(error))
        finally:
            self._sockets.discard(sock)
            sock.close()

    @staticmethod
    def _silent(sock: socket.socket, deadline: float) -> None:
        """Section 8: say nothing, discard, close at the deadline."""
        ended = False
        while (left := deadline - time.monotonic()) > 0:
            if ended:
                time.sleep(left)
                continue
            try:
                sock.settimeout(left)
                ended = not sock.recv(65536)
            except OSError:
                ended = True

    # ------------------------------------------------------------------------------------------------ sessions

    def _control(self, sock: socket.socket, message: bytes, source: bytes, deadline: float) -> None:
        responder = Responder(self.key, self.identity, message)
        cookie = bytes(16)
        if self.challenge:
            if not responder.tag_matches():
                raise Malformed("gate tag")
            answer = challenge(self.key, self.cookie_key, source, message)
            cookie = answer[4:20]
            sock.sendall(answer)
            responder = Responder(self.key, self.identity, read_exactly(sock, MSG1_SIZE, deadline))
        if not responder.tag_matches(cookie):
            raise Malformed("gate tag")
        if responder.ephemeral in self._ephemerals:
            raise Malformed("this MSG1 was seen before")
        hello = responder.read_msg1()
        self._ephemerals.add(responder.ephemeral)
        self.handshakes += 1
        suite = next((s for s in hello.suites if s in self.suites
                      and (s == 3 or (self.aes and hello.capabilities & CAPABILITY_AES))), None)
        status = self.status or (SessionStatus.OK if suite else SessionStatus.NO_SUITE)
        if status != SessionStatus.OK:
            sock.sendall(responder.write_msg2(NodeHello(status))[0])
            return
        answer = NodeHello(0, suite, CAPABILITY_AES if self.aes else 0, new_session_id(), self.lifetime, self.window,
                           self.header_key)
        msg2, secrets = responder.write_msg2(answer)
        session = NodeSession(secrets, ReplayWindow(self.window), responder.client_public)
        self.sessions[secrets.session_id] = session
        sock.sendall(msg2)
        channel = RecordChannel(sock, RecordCipher(suite, secrets.control_node),
                                RecordCipher(suite, secrets.control_client))
        sock.settimeout(None)
        control = ControlConnection(channel, FROM_CLIENT)
        control.load = self.load
        self.controls.append(control)
        try:
            while message := control.receive_any():
                session.confirmed = True
                if message.kind == Control.ASK_POLICY:
                    status, text = self.policy(message.address)
                    control.send_message(ControlMessage(Control.POLICY_ANSWER, message.token, status=status, text=text))
                elif message.kind == Control.PUNCH:  # it does not say that it can
                    control.send_message(ControlMessage(Control.PUNCH_ANSWER, message.token, status=Punch.IMPOSSIBLE))
        finally:
            self.controls.remove(control)

    # ------------------------------------------------------------------------------------------------- streams

    def _stream(self, sock: socket.socket, preamble: bytes, deadline: float) -> None:
        if preamble[:5] != CLIENT_PREAMBLE:
            raise Unauthenticated("preamble header")
        client_random, session_id, number = read_client_preamble(self.header_key, preamble)
        session = self.sessions.get(session_id)
        if session is None:
            raise Unauthenticated("unknown session")
        if not session.window.may_accept(number):
            raise Unauthenticated("stream number seen before")
        keys = StreamKeys(session.secrets, number, client_random)
        opener = keys.client_to_node()
        header = read_exactly(sock, 5, deadline)
        try:
            body = read_exactly(sock, check_header(header), deadline)
            content_type, content = opener.open(header, body)
        except ProtocolError as error:
            raise Unauthenticated(str(error)) from error
        if not session.window.accept(number):
            raise Unauthenticated("replay")
        session.confirmed = True
        sock.settimeout(None)
        stream = NodeStream(sock, keys, opener, number, session.client_public)
        size = CLIENT_PREAMBLE_SIZE + 5 + len(body)
        if content_type != CONTROL or size % CLIENT_BLOCK:
            raise ProtocolError(f"record 0 has type {content_type}, first flight {size} bytes")
        try:
            self._answer(stream, Request.decode(content))
            while stream.parked:
                try:
                    request = stream.next_request()
                except (Cut, OSError):
                    return stream.close()  # the client does not need the connection any more
                self._answer(stream, request)
        except Malformed as error:
            is_type = isinstance(error, UnknownAddressType)
            stream.respond(Response(Status.ADDRESS_TYPE if is_type else Status.GENERAL, tlvs={1: str(error).encode()}))
        if stream.write_closed and not stream.read_closed:
            drain(sock)

    def _answer(self, stream: NodeStream, request: Request) -> None:
        self.requests.append((stream.number, request))
        if request.flags not in ((0, KEEP) if request.kind == Kind.CONNECT else (0,)):
            raise Malformed("flags")
        if request.kind == Kind.PARK:
            stream.respond(Response(Status.PARKED))
            return self._answer(stream, stream.next_request())
        if request.kind == Kind.OBSERVE:
            stream.respond(Response(Status.OK, Address(*stream.sock.getpeername()[:2])))
            stream.half_close()
        elif self.relay and request.kind in (Kind.FORWARD, Kind.OFFER):
            self.relay(stream, request)
        elif self.handler:
            self.handler(stream, request)
        elif request.kind != Kind.CONNECT:
            stream.respond(Response(Status.KIND))
        else:
            self._connect(stream, request.address, request.flags == KEEP)

    def _connect(self, stream: NodeStream, address: Address, keep: bool) -> None:
        try:
            target = socket.create_connection((address.host, address.port), self.connect_timeout)
        except (OSError, UnicodeError) as error:
            stream.respond(Response(status_of(error), NO_ADDRESS, {1: str(error).encode()[:120]}))
            return
        target.settimeout(None)
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        local = target.getsockname()
        stream.respond(Response(Status.OK, Address(local[0], local[1]), {KEPT: b""} if keep else {}))
        stream.keep = keep
        carry(stream, target)


class Unauthenticated(Exception):
    """A first flight that must be met with silence."""


def carry(stream: RecordChannel, target: socket.socket) -> None:
    """Both directions until both are done or one failed; a failure resets both connections."""
    failed, delivered = threading.Event(), threading.Event()

    def fail() -> None:
        failed.set()
        stream.keep = stream.parked = False
        for sock in (target, stream.sock):
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RD)  # sends nothing, but wakes the other thread; close() then resets
            except OSError:
                pass

    def up() -> None:
        try:
            while data := stream.receive():
                target.sendall(data)
            delivered.set()
            target.shutdown(socket.SHUT_WR)
        except (StreamError, OSError):
            fail()

    upward = threading.Thread(target=up, daemon=True)
    upward.start()
    try:
        while data := target.recv(CONTENT_MAX * 4):
            stream.send(data)
        if not failed.is_set():
            stream.half_close(park=stream.keep and delivered.is_set())
    except OSError:
        if not failed.is_set():
            try:
                stream.send_record(ALERT, ABORT)
            except OSError:
                pass
            stream.sock.close()  # after the alert, without a reset that would overtake it
        fail()
    upward.join(5 if failed.is_set() else None)
    target.close()
    if not stream.parked:
        stream.close()
