"""The record layer: PROTOCOL.md section 5, and the key schedule of records."""

import socket
import time

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from .keys import expand_label

AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305 = 1, 2, 3
SUITES = {AES_128_GCM: (AESGCM, 16), AES_256_GCM: (AESGCM, 32), CHACHA20_POLY1305: (ChaCha20Poly1305, 32)}

ALERT, CONTROL, DATA = 21, 22, 23
CLOSE_NOTIFY, CLOSE_AND_PARK, ABORT = b"\x01\x00", b"\x01\x01", b"\x02\x5a"
CONTENT_MAX = 16384
LENGTH_MIN, LENGTH_MAX = 17, 16401
EMPTY_RECORDS_MAX = 64


class StreamError(Exception):
    """The stream ended in a way that must reach the application as a reset."""


class ProtocolError(StreamError):
    """A record was forged, malformed or not allowed here."""


class Cut(StreamError):
    """The TCP connection ended without an authenticated close."""


class Aborted(StreamError):
    """The far side sent an authenticated abort."""


class RecordCipher:
    """One direction: key, iv and the sequence number."""

    def __init__(self, suite: int, secret: bytes):
        algorithm, key_size = SUITES[suite]
        self._aead = algorithm(expand_label(secret, "key", b"", key_size))
        self._iv = int.from_bytes(expand_label(secret, "iv", b"", 12), "big")
        self.sequence = 0

    def _nonce(self) -> bytes:
        nonce = (self._iv ^ self.sequence).to_bytes(12, "big")
        self.sequence += 1
        return nonce

    def seal(self, content_type: int, content: bytes, padding: int = 0) -> bytes:
        """One record. No limit is checked here, so that tests can send what is not allowed."""
        inner = content + bytes([content_type]) + bytes(padding)
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        return header + self._aead.encrypt(self._nonce(), inner, header)

    def seal_to(self, content_type: int, content: bytes, size: int) -> bytes:
        """One record of exactly `size` bytes, header and tag included."""
        padding = size - 5 - 16 - 1 - len(content)
        if padding < 0:
            raise ValueError("the content does not fit")
        return self.seal(content_type, content, padding)

    def open(self, header: bytes, body: bytes) -> tuple[int, bytes]:
        try:
            inner = self._aead.decrypt(self._nonce(), body, header)
        except InvalidTag:
            raise ProtocolError("a record does not authenticate") from None
        content = inner.rstrip(b"\0")
        if not content:
            raise ProtocolError("a record without a type")
        return content[-1], content[:-1]


def check_header(header: bytes) -> int:
    """Length of the body, or ProtocolError."""
    length = int.from_bytes(header[3:5], "big")
    if header[:3] != b"\x17\x03\x03" or not LENGTH_MIN <= length <= LENGTH_MAX:
        raise ProtocolError(f"not a record header: {header.hex()}")
    return length


def read_exactly(sock: socket.socket, size: int, deadline: float | None = None) -> bytes:
    """deadline: of time.monotonic(), for all of it; else the socket's own timeout, for each piece."""
    data = bytearray()
    while len(data) < size:
        if deadline is not None:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            piece = sock.recv(size - len(data))
        except (ConnectionResetError, BrokenPipeError) as error:
            raise Cut(f"reset after {len(data)} of {size} bytes") from error
        if not piece:
            raise Cut(f"end after {len(data)} of {size} bytes")
        data += piece
    return bytes(data)


class RecordChannel:
    """Records on a socket, both directions, with close semantics (section 4.3)."""

    def __init__(self, sock: socket.socket, sealer: RecordCipher, opener: RecordCipher | None):
        self.sock = sock
        self.sealer = sealer
        self.opener = opener
        self.read_closed = False
        self.write_closed = False
        # Section 4.4. keep: the client's close_notify leaves the TCP direction open, and the node's may park the connection.
        self.keep = self.parked = False
        self.accepting = False  # the node's side
        self._empty_in_a_row = 0

    def send_record(self, content_type: int, content: bytes, padding: int = 0) -> None:
        self.sock.sendall(self.sealer.seal(content_type, content, padding))

    def receive_record(self) -> tuple[int, bytes]:
        header = read_exactly(self.sock, 5)
        content_type, content = self.opener.open(header, read_exactly(self.sock, check_header(header)))
        if content_type not in (ALERT, CONTROL, DATA):
            raise ProtocolError(f"unknown record type {content_type}")
        if len(content) > CONTENT_MAX:
            raise ProtocolError("content too long")
        if not content:
            if content_type != DATA:
                raise ProtocolError("empty content is for data only")
            self._empty_in_a_row += 1
            if self._empty_in_a_row > EMPTY_RECORDS_MAX:
                raise ProtocolError("too many empty records")
        else:
            self._empty_in_a_row = 0
        return content_type, content

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        burst = bytearray()
        for start in range(0, len(view), CONTENT_MAX):
            burst += self.sealer.seal(DATA, bytes(view[start:start + CONTENT_MAX]))
            if len(burst) > 1 << 18:
                self.sock.sendall(burst)
                burst.clear()
        if burst:
            self.sock.sendall(burst)

    def receive(self) -> bytes:
        """Application bytes, b"" after close_notify; raises StreamError for every other end."""
        while not self.read_closed:
            content_type, content = self.receive_record()
            if content_type == DATA:
                if content:
                    return content
            elif content_type == ALERT and content == CLOSE_NOTIFY:
                self.read_closed = True
                if not self.accepting:
                    self.keep = False  # the node does not park it
            elif content_type == ALERT and content == CLOSE_AND_PARK and self.keep and self.write_closed:
                self.read_closed = self.parked = True
            elif content_type == ALERT and content == ABORT:
                raise Aborted("aborted by the far side")
            else:
                raise ProtocolError(f"record type {content_type} {content.hex()} is not allowed here")
        return b""

    def receive_all(self) -> bytes:
        data = bytearray()
        while piece := self.receive():
            data += piece
        return bytes(data)

    def receive_exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.receive()
            if not piece:
                raise ProtocolError(f"closed after {len(data)} of {size} bytes")
            data += piece
        if len(data) > size:
            raise ProtocolError(f"{len(data)} bytes where {size} were expected")
        return bytes(data)

    def half_close(self, park: bool = False) -> None:
        self.send_record(ALERT, CLOSE_AND_PARK if park else CLOSE_NOTIFY)
        self.write_closed, self.parked = True, park
        if self.accepting and not park:
            self.keep = False
        if self.keep:
            return
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def abort(self) -> None:
        try:
            self.send_record(ALERT, ABORT)
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
