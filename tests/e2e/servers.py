"""Targets: what the exit connects to. An event loop in a thread for what must scale, threads for what must be exact."""

import asyncio
import hashlib
import random
import socket
import struct
import threading
import time
from pathlib import Path

PATTERN = bytes((n * 31 + (n >> 8) * 7) & 0xFF for n in range(1 << 18))


def paused_download(size: int):
    """For a Target: sends one PATTERN, then the rest, whole PATTERNs up to size, once the event is set."""
    go_on = threading.Event()

    def send(sock):
        for at in range(0, size, len(PATTERN)):
            sock.sendall(PATTERN)
            if at == 0:
                go_on.wait(20)

    return send, go_on


def pattern_hash(size: int) -> str:
    """SHA-256 of the first size bytes of the repeated pattern, what GET /bytes/SIZE sends."""
    digest = hashlib.sha256()
    for at in range(0, size, len(PATTERN)):
        digest.update(PATTERN[:min(len(PATTERN), size - at)])
    return digest.hexdigest()


def reset(sock: socket.socket) -> None:
    """Close with a TCP reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Loop:
    """asyncio servers in one background thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._servers: list[asyncio.base_events.Server] = []
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def serve(self, handler, host: str = "127.0.0.1", listener: socket.socket | None = None) -> tuple[str, int]:
        """Address of a new server. handler(reader, writer) is a coroutine function."""
        async def guarded(reader, writer):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await handler(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        where = {"sock": listener} if listener else {"host": host, "port": 0}
        server = self.call(asyncio.start_server(guarded, backlog=4096, limit=1 << 20, **where))
        self._servers.append(server)
        return server.sockets[0].getsockname()[:2]

    def close(self) -> None:
        async def stop():
            for server in self._servers:
                server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.call(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def echo(reader, writer):
    while data := await reader.read(1 << 17):
        writer.write(data)
        await writer.drain()


def http(root: Path | None = None):
    """GET /bytes/N: N bytes of the pattern. PUT or POST: size and SHA-256 of the body. GET of anything else: root."""
    async def handler(reader, writer):
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            except asyncio.IncompleteReadError:
                return
            method, path, _ = head.split("\r\n")[0].split(" ")
            fields = {name.lower(): value.strip() for name, _, value in
                      (line.partition(":") for line in head.split("\r\n")[1:])}
            if method in ("PUT", "POST"):
                await answer(writer, (await upload(reader, writer, fields)).encode())
            elif path.startswith("/bytes/"):
                await download(writer, int(path[len("/bytes/"):]))
            elif root and (file := root / path.split("?")[0].lstrip("/")).is_file():
                await answer(writer, file.read_bytes())
            else:
                await answer(writer, b"no such thing", "404 Not Found")
            if fields.get("connection") == "close":
                return

    async def upload(reader, writer, fields) -> str:
        if "100-continue" in fields.get("expect", ""):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        left, size, digest = int(fields["content-length"]), 0, hashlib.sha256()
        while left:
            data = await reader.read(min(left, 1 << 18))
            if not data:
                raise ConnectionError("a short upload")
            digest.update(data)
            size, left = size + len(data), left - len(data)
        return f"{size} {digest.hexdigest()}\n"

    async def download(writer, size: int):
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for at in range(0, size, len(PATTERN)):
            writer.write(PATTERN[:min(len(PATTERN), size - at)])
            await writer.drain()

    async def answer(writer, body: bytes, status: str = "200 OK"):
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    return handler


class Target:
    """A listener whose every connection is handed to function(sock) in a thread of its own."""

    def __init__(self, function=None, host: str = "127.0.0.1", listener: socket.socket | None = None,
                 receive_buffer: int | None = None):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = listener or socket.socket(family)
        if listener is None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if receive_buffer:
                self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self._listener.bind((host, 0))
            self._listener.listen(1024)
        self.address = self._listener.getsockname()[:2]
        self.function = function
        self.accepted = 0
        self.failures: list[str] = []
        self._queue: list[socket.socket] = []
        self._arrived = threading.Condition()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(30)
            self._open.add(sock)
            with self._arrived:
                self.accepted += 1
                if self.function is None:
                    self._queue.append(sock)
                self._arrived.notify_all()
            if self.function:
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            self.function(sock)
        except Exception as error:  # shown by the test that looks at it
            self.failures.append(repr(error))
        finally:
            sock.close()

    def take(self, timeout: float = 10) -> socket.socket:
        """The next connection, for a test that plays the target itself."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._queue, timeout):
                raise AssertionError("nobody connected to the target")
            return self._queue.pop(0)

    def close(self) -> None:
        for sock in (self._listener, *self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Forwarder:
    """A TCP forwarder between client and node: it can be cut, ended, fragmented and damaged."""

    def __init__(self, destination: tuple[str, int]):
        self.destination = destination
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.piece_max: int | None = None  # cut what passes into pieces of random size up to this
        self.change_down = None  # function(index of the pair, bytes) -> bytes, for damage in flight
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self.destination)
            except OSError:
                return
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            index = len(self.pairs)
            self.pairs.append((near, far))
            threading.Thread(target=self._pump, args=(index, near, far, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(index, far, near, False), daemon=True).start()

    def _pump(self, index: int, source: socket.socket, sink: socket.socket, is_up: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if not is_up and self.change_down:
                    data = self.change_down(index, data)
                while data:
                    size = random.randint(1, self.piece_max) if self.piece_max else len(data)
                    sink.sendall(data[:size])
                    data = data[size:]
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def reset_all(self) -> None:
        """Both sides of every connection see a reset."""
        for pair in self.pairs:
            for sock in pair:
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.shutdown(socket.SHUT_RD)  # wakes the pump, whose reference would keep the socket open
                    sock.close()
                except OSError:
                    pass

    def end_all(self) -> None:
        """Both sides of every connection see a clean TCP end, without any record."""
        for pair in self.pairs:
            for sock in pair:
                try:
                    sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass

    def close(self) -> None:
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self.end_all()
        self.reset_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def full_listener(host: str = "127.0.0.1"):
    """A listening socket whose accept queue is full: the kernel drops further SYNs."""
    listener = socket.socket()
    listener.bind((host, 0))
    listener.listen(0)
    fillers = []
    for _ in range(8):
        sock = socket.socket()
        sock.setblocking(False)
        try:
            sock.connect(listener.getsockname())
        except BlockingIOError:
            pass
        fillers.append(sock)
    time.sleep(0.05)
    return listener, fillers


def drain_listener(listener: socket.socket) -> None:
    listener.listen(64)
    listener.settimeout(0.1)
    try:
        while True:
            listener.accept()[0].close()
    except socket.timeout:
        pass
