"""A relay that does what no relay may do. It is a member, so everything up to RESPONSE is right; then it attacks."""

import os
import random
import socket
import threading
import time

from qanatpeer.messages import Response, Status
from qanatpeer.records import DATA, Cut, read_exactly
from qanatpeer.relay import Relay, reset_both

FIN, RST, STALL = "fin", "rst", "stall"
ALERT_SIZE = 24  # of the record that closes a direction


def records(sock):
    """Whole records and handshake messages as they come, until the end; what was cut off by it is dropped."""
    while True:
        try:
            header = read_exactly(sock, 4)
            if header[0] == 0x17:
                header += read_exactly(sock, 1)
            yield header + read_exactly(sock, int.from_bytes(header[-2:], "big"))
        except (Cut, OSError):
            return


def flipped(data: bytes, first: int, last: int) -> bytes:
    """One random bit of data[first..last) is another one."""
    changed = bytearray(data)
    changed[random.randrange(first, last)] ^= 1 << random.randrange(8)
    return bytes(changed)


def swapped_bytes(data: bytes) -> bytes:
    at = next(at for at in range(6, len(data)) if data[at] != data[at - 1])
    return data[:at - 1] + bytes([data[at], data[at - 1]]) + data[at + 1:]


def swap(record, behind, *_):
    later = next(behind, None)
    return [later, record] if later else []


def random_record(size: int) -> bytes:
    return b"\x17\x03\x03" + size.to_bytes(2, "big") + os.urandom(size)


# What may happen to one record: function(record, iterator over those behind it, record before it, the relay's stream)
# → what is sent instead.
DAMAGES = {
    "header-bit": lambda record, *_: [flipped(record, 0, 5)],
    "body-bit": lambda record, *_: [flipped(record, 5, len(record) - 16)],
    "tag-bit": lambda record, *_: [flipped(record, len(record) - 16, len(record))],
    "zeroed": lambda record, *_: [record[:5] + bytes(len(record) - 5)],
    "dropped": lambda *_: [],
    "twice": lambda record, *_: [record, record],
    "swapped": swap,
    "the-one-before-again": lambda record, _, before, __: [before or record, record],
    "byte-dropped": lambda record, *_: [record[:9] + record[10:]],
    "byte-inserted": lambda record, *_: [record[:9] + b"\x5a" + record[9:]],
    "bytes-swapped": lambda record, *_: [swapped_bytes(record)],
    "end-before": lambda *_: [FIN],
    "end-inside": lambda record, *_: [record[:len(record) // 2], FIN],
    "end-inside-header": lambda record, *_: [record[:3], FIN],
    "reset-inside": lambda record, *_: [record[:len(record) // 2], RST],
    "random-record": lambda record, *_: [random_record(64), record],
    "record-of-the-relay": lambda record, _, __, stream: [stream.sealer.seal(DATA, b"a word from the relay"), record],
    "record-without-body": lambda record, *_: [b"\x17\x03\x03\x00\x00", record],
    "endless-record": lambda record, *_: [b"\x17\x03\x03\xff\xff" + record],
    "plain-text": lambda record, *_: [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", record],
}

# Which record of a direction: function(index, record). 0 is the preamble, 1 REQUEST or RESPONSE; 2 is that again on a
# connection that was parked. A number stands for itself.
POSITIONS = {
    "preamble": lambda index, record: index == 0,
    "first": lambda index, record: index == 1,
    "second": lambda index, record: index == 2,
    "data": lambda index, record: index == 3,
    "close": lambda index, record: index > 1 and len(record) == ALERT_SIZE,
}


class Damages:
    """Each of some damages is done once, to whatever record comes to that position first."""

    def __init__(self, direction: str, position: str | int, damages):
        self.direction = direction
        self._is_here = POSITIONS.get(position, lambda index, record: index == position)
        self._left = list(damages)
        self._lock = threading.Lock()

    @property
    def done(self) -> bool:
        return not self._left

    def claim(self, direction: str, index: int, record: bytes):
        """function of DAMAGES, or None."""
        with self._lock:
            if self._left and direction == self.direction and self._is_here(index, record):
                return DAMAGES[self._left.pop(0)]
        return None


class HostileRelay(Relay):
    """After RESPONSE OK, for streams only, or with on_control for control connections only, or with None for both:

    damages: a Damages, looked at when a record passes. attack(stream, far): what is done to a new connection in place
    of carrying it. None: an honest relay.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.damages: Damages | None = None
        self.attack = None
        self.on_control = False
        self.hits = 0
        self._open: dict[socket.socket, bool] = {}  # the client's side of each connection: is it a control connection

    def cut(self, control: bool) -> None:
        """Ends every connection of this kind, parked ones among them, so that new ones come."""
        for sock, is_control in list(self._open.items()):
            if is_control == control:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def carry(self, stream, far):
        stream.respond(Response(Status.OK))
        # What kind it is shows in the first byte behind FORWARD; a client may hold that back until it has our OK.
        try:
            is_control = stream.sock.recv(1, socket.MSG_PEEK) == b"\x01"
        except OSError:
            return
        near = stream.sock
        self._open[near] = is_control
        try:
            if self.attack and self.on_control in (is_control, None):
                self.hits += 1
                self.attack(stream, far)
            else:
                once = threading.Lock()
                pump_all([near, far], [(self._records(stream, near, "up", is_control, once), far),
                                       (self._records(stream, far, "down", is_control, once), near)])
        finally:
            del self._open[near]

    def _records(self, stream, source, direction, is_control, once):
        """once: a lock that is taken by the first damage; what remains of a damaged stream is not worth another."""
        following, before = records(source), None
        for index, record in enumerate(following):
            damages = self.damages if is_control == self.on_control else None
            damage = damages.claim(direction, index, record) if damages and not once.locked() else None
            if damage:
                once.acquire()
                self.hits += 1
                yield from damage(record, following, before, stream)
                yield from following
                return
            yield record
            before = record


def pump_all(sockets, pumps) -> None:
    """pumps: pieces and the socket they go to. A failure of one resets all sockets."""
    def reset_all():
        for sock in sockets:
            reset_both(sock, sock)

    def pump(pieces, sink):
        try:
            for piece in pieces:
                if piece == RST:
                    return reset_all()
                if piece == STALL:
                    return wait_for_end(sink)
                if piece == FIN:
                    break
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
            for _ in pieces:  # the source must not notice by a full buffer
                pass
        except (OSError, ValueError):  # ValueError: closed by another pump
            reset_all()

    threads = [threading.Thread(target=pump, args=each, daemon=True) for each in pumps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def wait_for_end(sock) -> None:
    """Takes everything and says nothing."""
    try:
        while sock.recv(65536):
            pass
    except OSError:
        pass


def stall(stream, _) -> None:
    wait_for_end(stream.sock)


def stall_after(count: int):
    """The direction to the client stops after so many records."""
    def attack(stream, far):
        def some():
            following = records(far)
            for _, record in zip(range(count), following):
                yield record
            yield STALL

        pump_all([stream.sock, far], [(records(stream.sock), far), (some(), stream.sock)])

    return attack


def garbage(stream, _) -> None:
    stream.sock.sendall(os.urandom(5000))
    wait_for_end(stream.sock)


def own_answer(stream, _) -> None:
    """The node's RESPONSE and data, sealed by the relay, who has a session of its own with the client."""
    stream.sealer = None
    stream.respond(Response(Status.OK))
    stream.send_record(DATA, b"you are well connected")
    stream.half_close()
    wait_for_end(stream.sock)


class CrossedAnswers:
    """Two connections at a time, each of which gets what the node says to the other."""

    def __init__(self):
        self._lock = threading.Lock()
        self._waiting = None

    def __call__(self, stream, far):
        done = threading.Event()
        with self._lock:
            partner, self._waiting = self._waiting, None if self._waiting else (stream.sock, far, done)
        if partner is None:
            done.wait(20)
            return
        near, other_near, other_far = stream.sock, *partner[:2]
        try:
            pump_all([near, far, other_near, other_far], [(records(near), far), (records(other_near), other_far),
                                                          (records(far), other_near), (records(other_far), near)])
        finally:
            partner[2].set()


class Recorder:
    """Carries honestly, and keeps the first bytes that went up."""

    def __init__(self, size: int):
        self.size = size
        self.flights: list[bytes] = []

    def __call__(self, stream, far):
        seen = bytearray()

        def kept():
            for record in records(stream.sock):
                if len(seen) < self.size:
                    seen.extend(record)
                yield record

        pump_all([stream.sock, far], [(kept(), far), (records(far), stream.sock)])
        self.flights.append(bytes(seen[:self.size]))


def send_alone(node: tuple[str, int], pieces: list[bytes]) -> bytes:
    """Each of the pieces on a connection of its own; whatever comes back on any of them within a second."""
    socks = []
    for data in pieces:
        sock = socket.create_connection(node, 10)
        sock.sendall(data)
        sock.setblocking(False)
        socks.append(sock)
    time.sleep(1)
    said = b""
    for sock in socks:
        with sock:
            try:
                said += sock.recv(1000)
            except OSError:
                pass
    return said
