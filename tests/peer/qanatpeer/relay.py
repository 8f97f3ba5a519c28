"""A relay: PROTOCOL.md section 6. It plugs into a Node as its `relay`."""

import os
import socket
import threading
import time
from dataclasses import dataclass, field

from .client import TAKEN_RECORD_SIZE, NoAnswer, Refused, Session
from .keys import Identity, NetworkKey, mac16
from .messages import Kind, Request, Response, Status, Taken
from .node import NodeStream, reset
from .records import CONTROL, StreamError


class Offer:
    """A connection that waits to be taken. Its own thread keeps it open until whoever took it is done."""

    def __init__(self, stream: NodeStream):
        self.stream = stream
        self.done = threading.Event()

    def alive(self) -> bool:
        """Nothing may come on it before TAKEN: bytes are as wrong as the end."""
        self.stream.sock.setblocking(False)
        try:
            self.stream.sock.recv(1, socket.MSG_PEEK)
            return False
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.stream.sock.setblocking(True)


@dataclass
class Relay:
    """known: where nodes are, by static key. hold: seconds that a FORWARD waits for an offered connection."""

    key: NetworkKey
    identity: Identity = field(default_factory=Identity.generate)
    known: dict[bytes, tuple[str, int]] = field(default_factory=dict)
    hold: float = 5
    connect_timeout: float = 5
    retry_after: float = 5

    def __post_init__(self):
        self.carried = 0  # streams that were spliced
        self.active = 0
        self._source_key = os.urandom(32)
        self._offers: dict[bytes, list[Offer]] = {}
        self._waiting: dict[bytes, int] = {}
        self._changed = threading.Condition()
        self._proved: set[tuple[bytes, tuple[str, int]]] = set()
        self._failed: dict[tuple[bytes, tuple[str, int]], float] = {}

    def __call__(self, stream: NodeStream, request: Request) -> None:
        if request.kind == Kind.OFFER:
            self.keep(stream)
        else:
            self.forward(stream, request)

    def offers_of(self, node: bytes) -> int:
        with self._changed:
            return len(self._offers.get(node, ()))

    # --------------------------------------------------------------------------------------------- offered connections

    def keep(self, stream: NodeStream) -> None:
        stream.respond(Response(Status.PARKED))
        offer = Offer(stream)
        with self._changed:
            self._offers.setdefault(stream.member, []).append(offer)
            self._changed.notify_all()
        while not offer.done.wait(0.2):
            with self._changed:
                waits = offer in self._offers[stream.member]
                if waits and not offer.alive():
                    self._offers[stream.member].remove(offer)
                    return

    def _take(self, node: bytes) -> tuple[Offer | None, int]:
        """An offered connection, held for until the deadline, and how many other streams wait for one."""
        deadline = time.monotonic() + self.hold
        with self._changed:
            self._waiting[node] = self._waiting.get(node, 0) + 1
            try:
                while True:
                    offers = self._offers[node]
                    while offers:
                        offer = offers.pop(0)
                        if offer.alive():
                            return offer, self._waiting[node] - 1
                        offer.done.set()
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        return None, 0
            finally:
                self._waiting[node] -= 1

    def send_taken(self, offer: Offer, member: bytes, waiting: int) -> None:
        taken = Taken(mac16(self._source_key, member), waiting)
        offer.stream.sock.sendall(offer.stream.sealer.seal_to(CONTROL, taken.encode(), TAKEN_RECORD_SIZE))

    # ------------------------------------------------------------------------------------------------------- forwarding

    def forward(self, stream: NodeStream, request: Request) -> None:
        node = request.next_node
        if node in self._offers:
            offer, waiting = self._take(node)
            if offer:
                try:
                    self.send_taken(offer, stream.member, waiting)
                    self._run(stream, offer.stream.sock)
                finally:
                    offer.done.set()
                return
        address = (request.address.host, request.address.port) if request.address else self.known.get(node)
        if address is None:
            stream.respond(Response(Status.NEXT_UNREACHABLE if node in self._offers else Status.NEXT_UNKNOWN))
            return
        try:
            self._prove(node, address)
            far = socket.create_connection(address, self.connect_timeout)
        except (OSError, NoAnswer, Refused, StreamError) as error:
            stream.respond(Response(Status.NEXT_UNREACHABLE, tlvs={1: str(error).encode()[:120]}))
            return
        with far:
            far.settimeout(None)
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._run(stream, far)

    def _prove(self, node: bytes, address: tuple[str, int]) -> None:
        """A session handshake, once, shows that this member is at that address."""
        where = (node, address)
        if where in self._proved:
            return
        if self._failed.get(where, 0) > time.monotonic():
            raise NoAnswer("it did not answer a moment ago")
        try:
            Session(address, self.key, node, self.identity, timeout=self.connect_timeout).close()
        except (OSError, NoAnswer, Refused, StreamError):
            self._failed[where] = time.monotonic() + self.retry_after
            raise
        self._proved.add(where)

    def _run(self, stream: NodeStream, far: socket.socket) -> None:
        with self._changed:
            self.carried += 1
            self.active += 1
        try:
            self.carry(stream, far)
        finally:
            with self._changed:
                self.active -= 1

    def carry(self, stream: NodeStream, far: socket.socket) -> None:
        """RESPONSE, then raw bytes both ways."""
        stream.respond(Response(Status.OK))
        splice(stream.sock, far)


def splice(near: socket.socket, far: socket.socket) -> None:
    """Raw bytes both ways until both directions ended or one was reset; a half-close and a reset are passed on."""
    failed = threading.Event()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            if not failed.is_set():
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            failed.set()
            reset_both(near, far)

    upward = threading.Thread(target=pump, args=(near, far), daemon=True)
    upward.start()
    pump(far, near)
    upward.join()


def reset_both(near: socket.socket, far: socket.socket) -> None:
    """Both far sides see a reset; a thread that reads from one of the sockets wakes up."""
    for sock in (near, far):
        try:
            sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass
        reset(sock)
