"""A node that cannot be reached offers connections at a relay: PROTOCOL.md section 6.2."""

import socket
import threading

from .client import NoAnswer, Refused, Session
from .keys import Malformed
from .messages import Kind, Request, Status, Taken
from .node import Node
from .records import StreamError

TAKEN_WAITING_MAX = 16


class Offering:
    """Keeps `count` connections ready at a relay, and hands each to the node once it is taken.

    session: with the relay, opened with the node's own identity: under that key the relay gives the connections away.
    """

    def __init__(self, node: Node, session: Session, count: int = 2):
        self.node = node
        self.session = session
        self.taken: list[Taken] = []
        self.failures: list[str] = []
        self._closed = False
        self._ready: set[socket.socket] = set()
        self._changed = threading.Condition()
        for _ in range(count):
            self._open()
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._ready) == count or self.failures, session.timeout):
                raise NoAnswer("the relay does not take what is offered")
        if self.failures:
            raise NoAnswer(self.failures[0])

    def _open(self) -> None:
        threading.Thread(target=self._keep, daemon=True).start()

    def _keep(self) -> None:
        try:
            stream = self.session.start(Request(Kind.OFFER)).require(Status.PARKED)
            stream.sock.settimeout(None)
            self._note(lambda: self._ready.add(stream.sock))
            if self._closed:
                stream.close()
            try:
                taken = stream.await_taken()
            finally:
                self._note(lambda: self._ready.discard(stream.sock))
        except (OSError, StreamError, Refused, Malformed) as error:
            self._note(lambda: None if self._closed else self.failures.append(repr(error)))
            return
        self.taken.append(taken)
        for _ in range(1 + min(taken.waiting, TAKEN_WAITING_MAX)):
            self._open()
        self.node.serve(stream.sock, taken.source)

    def _note(self, change) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    def close(self) -> None:
        self._closed = True
        self.session.close()
        for sock in list(self._ready):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
