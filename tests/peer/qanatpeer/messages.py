"""Payloads and messages: MSG1 and MSG2 payloads (section 3), REQUEST and RESPONSE (section 4), TAKEN (section 6.2)."""

import ipaddress
from dataclasses import dataclass, field
from enum import IntEnum

from .keys import Malformed

MSG1_SIZE, MSG2_SIZE, CHALLENGE_SIZE = 512, 256, 36
MSG1_HEADER = b"\x01\x01" + (508).to_bytes(2, "big")
MSG2_HEADER = b"\x02\x01" + (252).to_bytes(2, "big")
CHALLENGE_HEADER = b"\x03\x01" + (32).to_bytes(2, "big")
PROLOGUE = b"qanat1 session\x00" + MSG1_HEADER

CAPABILITY_AES, CAPABILITY_PUNCH = 1, 2
KEEP = 1  # flag of a CONNECT
KEPT = 2  # TLV of a RESPONSE


class UnknownAddressType(Malformed):
    """To be answered with status 8."""


class SessionStatus(IntEnum):
    OK = 0
    NO_SUITE = 1
    NOT_A_MEMBER = 2
    TOO_MANY = 3
    DRAINING = 4


class Control(IntEnum):
    PING = 1
    PONG = 2
    DRAINING = 3
    ASK_POLICY = 4
    POLICY_ANSWER = 5
    PUNCH = 6
    PUNCH_ANSWER = 7


class Punch(IntEnum):
    """Of PUNCH_ANSWER."""

    READY = 0
    BUSY = 1
    IMPOSSIBLE = 2


class Kind(IntEnum):
    CONNECT = 1
    FORWARD = 2
    UDP = 3
    PARK = 4
    OFFER = 5
    OBSERVE = 6


class Status(IntEnum):
    OK = 0
    GENERAL = 1
    DENIED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    REFUSED = 5
    TIMED_OUT = 6
    KIND = 7
    ADDRESS_TYPE = 8
    NO_SUCH_NAME = 9
    NOT_RESOLVED = 10
    CAPACITY = 11
    DRAINING = 12
    NEXT_UNKNOWN = 13
    NEXT_UNREACHABLE = 14
    RELAY_LIMIT = 15
    PARKED = 32


def encode_tlvs(tlvs: dict[int, bytes]) -> bytes:
    return b"".join(kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value for kind, value in tlvs.items())


def decode_tlvs(data: bytes, known: tuple[int, ...] = ()) -> dict[int, bytes]:
    tlvs, at = {}, 0
    while len(data) - at >= 4:
        kind, size = int.from_bytes(data[at:at + 2], "big"), int.from_bytes(data[at + 2:at + 4], "big")
        if kind == 0:
            return tlvs
        if at + 4 + size > len(data):
            raise Malformed("a TLV is longer than its message")
        if kind & 0x8000 and kind not in known:
            raise Malformed(f"unknown critical TLV {kind:#x}")
        tlvs[kind] = data[at + 4:at + 4 + size]
        at += 4 + size
    if any(data[at:]):
        raise Malformed("a truncated TLV")
    return tlvs


@dataclass
class ClientHello:
    """MSG1 payload."""

    capabilities: int
    suites: tuple[int, ...]
    boot_id: bytes
    window: int = 0
    tlvs: dict[int, bytes] = field(default_factory=dict)

    def encode(self) -> bytes:
        suites = bytes(self.suites)
        data = self.capabilities.to_bytes(4, "big") + bytes([len(suites)]) + suites.ljust(7, b"\0") + self.boot_id
        return (data + self.window.to_bytes(4, "big") + encode_tlvs(self.tlvs)).ljust(396, b"\0")

    @classmethod
    def decode(cls, data: bytes) -> "ClientHello":
        count = data[4]
        if not 1 <= count <= 7 or any(data[5 + count:12]):
            raise Malformed("bad suite list")
        return cls(int.from_bytes(data[:4], "big"), tuple(data[5:5 + count]), data[12:28],
                   int.from_bytes(data[28:32], "big"), decode_tlvs(data[32:]))


@dataclass
class NodeHello:
    """MSG2 payload."""

    status: int
    suite: int = 0
    capabilities: int = 0
    session_id: int = 0
    lifetime: int = 0
    window: int = 0
    header_key: bytes = bytes(32)
    tlvs: dict[int, bytes] = field(default_factory=dict)

    def encode(self) -> bytes:
        data = (bytes([self.status, self.suite, 0, 0]) + self.capabilities.to_bytes(4, "big")
                + self.session_id.to_bytes(8, "big") + self.lifetime.to_bytes(4, "big")
                + self.window.to_bytes(4, "big") + self.header_key)
        return (data + encode_tlvs(self.tlvs)).ljust(204, b"\0")

    @classmethod
    def decode(cls, data: bytes) -> "NodeHello":
        if data[2:4] != b"\0\0":
            raise Malformed("MSG2 bytes 2 and 3 must be zero")
        hello = cls(data[0], data[1], int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:16], "big"),
                    int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), data[24:56])
        if hello.status != SessionStatus.OK:
            if any(data[1:]):
                raise Malformed("MSG2 with a status must be zero after it")
            return hello
        hello.tlvs = decode_tlvs(data[56:])
        if hello.session_id == 0 or hello.window == 0 or hello.window % 64:
            raise Malformed("MSG2: session id or window out of range")
        return hello


@dataclass(frozen=True)
class Address:
    """Host (IP text or a name) and port, SOCKS5 types."""

    host: str
    port: int

    def encode(self) -> bytes:
        port = self.port.to_bytes(2, "big")
        try:
            ip = ipaddress.ip_address(self.host)
        except ValueError:
            name = self.host.encode("latin-1")
            return bytes([3, len(name)]) + name + port
        return bytes([1 if ip.version == 4 else 4]) + ip.packed + port

    @classmethod
    def decode(cls, data: bytes) -> tuple["Address", bytes]:
        """The address and what follows it."""
        if not data:
            raise Malformed("an empty address")
        if data[0] == 3:
            start, size = 2, data[1] if len(data) > 1 else 0
            if size == 0:
                raise Malformed("an empty name")
        elif data[0] in (1, 4):
            start, size = 1, 4 if data[0] == 1 else 16
        else:
            raise UnknownAddressType(f"address type {data[0]}")
        end = start + size
        if len(data) < end + 2:
            raise Malformed("a truncated address")
        raw = data[start:end]
        host = raw.decode("latin-1") if data[0] == 3 else str(ipaddress.ip_address(raw))
        return cls(host, int.from_bytes(data[end:end + 2], "big")), data[end + 2:]


NO_ADDRESS = Address("0.0.0.0", 0)


def decode_endpoint(data: bytes) -> tuple[Address, bytes]:
    """The same, where a name is no answer."""
    address, rest = Address.decode(data)
    if data[0] == 3:
        raise Malformed("a name in place of an address")
    return address, rest


@dataclass
class Request:
    kind: int
    address: Address | None = None  # of CONNECT; of FORWARD where the next node is, if that is said
    flags: int = 0
    tlvs: dict[int, bytes] = field(default_factory=dict)
    next_node: bytes = b""  # of FORWARD: its static key

    def encode(self) -> bytes:
        body = bytes([self.kind, self.flags]) + self.next_node
        if self.kind == Kind.FORWARD:
            body += b"\x01" if self.address else b"\x00"
        body += self.address.encode() if self.address else b""
        body += encode_tlvs(self.tlvs)
        return b"\xf0" + len(body).to_bytes(3, "big") + body

    @classmethod
    def decode(cls, data: bytes) -> "Request":
        body = _body(data, 0xF0)
        if len(body) < 2:
            raise Malformed("REQUEST too short")
        kind, flags, rest = body[0], body[1], body[2:]
        address, next_node = None, b""
        if kind == Kind.FORWARD:
            if len(rest) < 33 or rest[32] > 1:
                raise Malformed("FORWARD too short, or no flag")
            next_node, has_address, rest = rest[:32], rest[32] == 1, rest[33:]
            if has_address and rest[:1] == b"\x03":
                raise Malformed("FORWARD to a name")
        if kind == Kind.CONNECT or (kind == Kind.FORWARD and has_address):
            address, rest = Address.decode(rest)
        return cls(kind, address, flags, decode_tlvs(rest), next_node)


@dataclass
class Response:
    status: int
    address: Address = NO_ADDRESS
    tlvs: dict[int, bytes] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        return self.tlvs.get(1, b"").decode("utf-8")

    def encode(self) -> bytes:
        body = bytes([self.status]) + self.address.encode() + encode_tlvs(self.tlvs)
        return b"\xf1" + len(body).to_bytes(3, "big") + body

    @classmethod
    def decode(cls, data: bytes) -> "Response":
        body = _body(data, 0xF1)
        if not body:
            raise Malformed("RESPONSE too short")
        address, rest = Address.decode(body[1:])
        response = cls(body[0], address, decode_tlvs(rest))
        if len(response.tlvs.get(1, b"")) > 120:
            raise Malformed("the reason is longer than 120 bytes")
        if response.tlvs.get(KEPT):
            raise Malformed("KEPT has no content")
        return response


@dataclass
class Taken:
    source: bytes
    waiting: int = 0
    tlvs: dict[int, bytes] = field(default_factory=dict)

    def encode(self) -> bytes:
        body = self.source + self.waiting.to_bytes(2, "big") + encode_tlvs(self.tlvs)
        return b"\xf2" + len(body).to_bytes(3, "big") + body

    @classmethod
    def decode(cls, data: bytes) -> "Taken":
        body = _body(data, 0xF2)
        if len(body) < 18:
            raise Malformed("TAKEN too short")
        return cls(body[:16], int.from_bytes(body[16:18], "big"), decode_tlvs(body[18:]))


def _body(data: bytes, tag: int) -> bytes:
    if len(data) < 4 or data[0] != tag:
        raise Malformed(f"not a {tag:#x} message: {data[:8].hex()}")
    size = int.from_bytes(data[1:4], "big")
    if size != len(data) - 4:
        raise Malformed(f"message length {size}, record holds {len(data) - 4}")
    return data[4:]
