"""A SOCKS5 client that sends exactly the bytes it is told to (RFC 1928, RFC 1929)."""

import ipaddress
import socket

NO_AUTH, USER_PASS, NO_ACCEPTABLE = 0, 2, 0xFF
CONNECT, BIND, UDP_ASSOCIATE = 1, 2, 3
(SUCCEEDED, GENERAL_FAILURE, NOT_ALLOWED, NETWORK_UNREACHABLE, HOST_UNREACHABLE, REFUSED, TTL_EXPIRED,
 COMMAND_NOT_SUPPORTED, ADDRESS_NOT_SUPPORTED) = range(9)
GREETING = b"\x05\x01\x00"


class SocksError(Exception):
    def __init__(self, reply: int):
        super().__init__(f"SOCKS reply {reply:02x}")
        self.reply = reply


def encode_address(host: str, port: int) -> bytes:
    try:
        ip = ipaddress.ip_address(host)
        return bytes([1 if ip.version == 4 else 4]) + ip.packed + port.to_bytes(2, "big")
    except ValueError:
        return domain(host.encode(), port)


def domain(name: bytes, port: int) -> bytes:
    return bytes([3, len(name)]) + name + port.to_bytes(2, "big")


def request(host: str, port: int, command: int = CONNECT) -> bytes:
    return bytes([5, command, 0]) + encode_address(host, port)


def login(user: bytes, password: bytes) -> bytes:
    return b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password


class Ended(Exception):
    """The proxy closed cleanly where bytes were due."""


class Connection:
    """A connection to a SOCKS port."""

    def __init__(self, proxy: tuple[str, int], timeout: float = 20):
        self.sock = socket.create_connection(proxy, timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise Ended(f"closed after {bytes(data).hex()} ({len(data)} of {size} bytes)")
            data += piece
        return bytes(data)

    def receive_all(self) -> bytes:
        data = bytearray()
        while piece := self.sock.recv(1 << 17):
            data += piece
        return bytes(data)

    def receive_reply(self) -> tuple[int, tuple[str, int]]:
        """Reply code and bound address."""
        version, reply, reserved, kind = self.receive(4)
        assert (version, reserved) == (5, 0), f"malformed reply {version} {reply} {reserved} {kind}"
        assert kind in (1, 4), f"a reply must carry an IP address, this one has type {kind}"
        ip = ipaddress.ip_address(self.receive(4 if kind == 1 else 16))
        return reply, (str(ip), int.from_bytes(self.receive(2), "big"))

    def greet(self, methods: bytes = b"\x00") -> int:
        self.send(bytes([5, len(methods)]) + methods)
        version, method = self.receive(2)
        assert version == 5
        return method

    def ask(self, host: str, port: int, command: int = CONNECT) -> tuple[int, tuple[str, int]]:
        """Greeting and request, each after the answer to the one before."""
        assert self.greet() == NO_AUTH
        self.send(request(host, port, command))
        return self.receive_reply()

    def is_closed(self) -> bool:
        """Waits for the end; True also for a reset, False when bytes come first."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def end(self) -> str:
        """How the connection ends: "eof" or "reset". Bytes before it are dropped."""
        try:
            while self.sock.recv(1 << 17):
                pass
            return "eof"
        except (ConnectionResetError, BrokenPipeError):
            return "reset"

    def close(self) -> None:
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def dial(proxy: tuple[str, int], target: tuple[str, int], timeout: float = 20) -> Connection:
    """A stream to target, or SocksError."""
    connection = Connection(proxy, timeout)
    try:
        reply, connection.bound = connection.ask(*target)
        if reply != SUCCEEDED:
            raise SocksError(reply)
        return connection
    except BaseException:
        connection.close()
        raise


def reply_of(proxy: tuple[str, int], target: tuple[str, int], timeout: float = 30) -> int:
    """The reply code to a CONNECT."""
    with Connection(proxy, timeout) as connection:
        return connection.ask(*target)[0]
