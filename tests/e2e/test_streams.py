"""What happens to the bytes, and to the ends, of a stream."""

import hashlib
import os
import random
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import servers
from harness import TIME_SCALE, address, free_port, resident_mib, run, wait_until
from servers import Forwarder, Target, full_listener, reset
from socks5 import Connection, dial, request


def ended_with(sock: socket.socket) -> str:
    """"eof" or "reset", after whatever data comes first."""
    try:
        while sock.recv(1 << 17):
            pass
        return "eof"
    except (ConnectionResetError, BrokenPipeError):
        return "reset"


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"closed after {len(data)} of {size} bytes"
        data += piece
    return bytes(data)


# ------------------------------------------------------------------------------------------------------ both directions

def test_client_first(proxy):
    with Target() as target, dial(proxy, target.address) as app:
        far = target.take()
        app.send(b"request")
        assert read_exactly(far, 7) == b"request"
        far.sendall(b"answer")
        assert app.receive(6) == b"answer"


def test_server_first(proxy):
    """The banner is sent the moment the connection stands: no byte of it may be lost or come before the reply."""
    def banner(sock):
        sock.sendall(b"220 ready\r\n")
        sock.recv(1)

    with Target(banner) as target:
        for _ in range(50):
            with dial(proxy, target.address) as app:
                assert app.receive(11) == b"220 ready\r\n"


def test_half_close_by_the_application(proxy):
    with Target() as target, dial(proxy, target.address) as app:
        far = target.take()
        app.send(b"question")
        app.sock.shutdown(socket.SHUT_WR)
        assert read_exactly(far, 8) == b"question"
        assert far.recv(1) == b""
        answer = servers.PATTERN * 4
        threading.Thread(target=lambda: (far.sendall(answer), far.close()), daemon=True).start()
        assert app.receive_all() == answer


def test_half_close_by_the_target(proxy):
    with Target() as target, dial(proxy, target.address) as app:
        far = target.take()
        far.sendall(b"all I have")
        far.shutdown(socket.SHUT_WR)
        assert app.receive_all() == b"all I have"
        data = servers.PATTERN * 4
        sender = threading.Thread(target=lambda: (app.send(data), app.sock.shutdown(socket.SHUT_WR)), daemon=True)
        sender.start()
        assert read_exactly(far, len(data)) == data
        assert far.recv(1) == b""
        sender.join()


def test_half_close_long_before_the_other_direction_ends(proxy):
    """A direction that closed does not put the other one on a clock."""
    with Target() as target, dial(proxy, target.address) as app:
        far = target.take()
        app.sock.shutdown(socket.SHUT_WR)
        assert far.recv(1) == b""
        for number in range(6):
            time.sleep(0.5)
            far.sendall(bytes([number]))
            assert app.receive(1) == bytes([number])
        far.close()
        assert app.end() == "eof"


@pytest.mark.parametrize("first", ["application", "target", "both"])
def test_stream_without_a_byte(proxy, first):
    with Target() as target, dial(proxy, target.address) as app:
        far = target.take()
        if first in ("application", "both"):
            app.sock.shutdown(socket.SHUT_WR)
        if first in ("target", "both"):
            far.shutdown(socket.SHUT_WR)
        if first == "application":
            assert far.recv(1) == b""
            far.shutdown(socket.SHUT_WR)
        assert app.end() == "eof"
        app.sock.shutdown(socket.SHUT_WR) if first == "target" else None
        assert far.recv(1) == b""


def test_early_half_close(proxy, echo):
    """Greeting, request, data and end of input in one go, as `nc -N` sends them."""
    with Connection(proxy) as app:
        app.send(b"\x05\x01\x00" + request(*echo) + b"all at once")
        app.sock.shutdown(socket.SHUT_WR)
        app.receive(2)
        assert app.receive_reply()[0] == 0
        assert app.receive_all() == b"all at once"


@pytest.mark.parametrize("size", [1, 255, 16383, 16384, 16385, 65536, 1 << 20, (1 << 20) + 1])
def test_sizes_around_record_boundaries(proxy, echo, size):
    data = os.urandom(size)
    with dial(proxy, echo) as app:
        threading.Thread(target=lambda: (app.send(data), app.sock.shutdown(socket.SHUT_WR)), daemon=True).start()
        assert hashlib.sha256(app.receive_all()).digest() == hashlib.sha256(data).digest()


def test_both_directions_at_once(proxy):
    """Each side sends 32 MiB while it receives 32 MiB: neither waits for the other."""
    size = 32 << 20
    want = servers.pattern_hash(size)

    def send(sock):
        for _ in range(size // len(servers.PATTERN)):
            sock.sendall(servers.PATTERN)
        sock.shutdown(socket.SHUT_WR)

    def receive(sock, digest):
        while data := sock.recv(1 << 18):
            digest.update(data)

    far_digest, app_digest = hashlib.sha256(), hashlib.sha256()
    with Target() as target, dial(proxy, target.address) as app:
        far = target.take()
        threads = [threading.Thread(target=send, args=(app.sock,)), threading.Thread(target=send, args=(far,)),
                   threading.Thread(target=receive, args=(far, far_digest))]
        for thread in threads:
            thread.start()
        receive(app.sock, app_digest)
        for thread in threads:
            thread.join()
    assert (app_digest.hexdigest(), far_digest.hexdigest()) == (want, want)


def test_small_writes_are_not_delayed(proxy, echo):
    """Ping-pong of one byte, and of two writes in a row (the pattern that a Nagle stall of 40 ms would show)."""
    with dial(proxy, echo) as app:
        rounds = 200
        started = time.monotonic()
        for _ in range(rounds):
            app.send(b"a")
            app.send(b"b")
            assert app.receive(2) == b"ab"
        assert time.monotonic() - started < rounds * 0.02 * TIME_SCALE


# --------------------------------------------------------------------------------------------------------------- resets

def test_reset_by_the_target_resets_the_application(proxy):
    with Target() as target, dial(proxy, target.address) as app:
        far = target.take()
        far.sendall(b"partial")
        assert app.receive(7) == b"partial"
        reset(far)
        assert app.end() == "reset"


def test_reset_by_the_application_resets_the_target(proxy):
    with Target() as target:
        app = dial(proxy, target.address)
        far = target.take()
        app.send(b"partial")
        assert read_exactly(far, 7) == b"partial"
        reset(app.sock)
        assert ended_with(far) == "reset"


def test_application_that_closes_while_data_comes_resets_the_target(proxy):
    """close() with unread data: a program that quits in mid-download must not leave the target sending for ever."""
    ended = []

    def endless(sock):
        try:
            while True:
                sock.sendall(servers.PATTERN)
        except OSError:
            ended.append(True)

    with Target(endless) as target:
        app = dial(proxy, target.address)
        app.receive(1000)
        app.close()
        wait_until(lambda: ended, 10, "the end of the sender")


@pytest.fixture
def cut_network(network):
    """A client that reaches its node only through a forwarder."""
    node = network.node()
    with Forwarder(node.tunnel) as forwarder:
        network.forwarder = forwarder
        network.entry = network.client(f"{node.id}@{address(*forwarder.address)}")
        yield network


@pytest.mark.parametrize("how", ["reset", "end"])
def test_cut_tunnel_is_a_reset_never_a_clean_end(cut_network, how):
    """A tunnel that dies, or ends without an authenticated close, must not look like the end of the data."""
    with Target() as target, dial(cut_network.entry.socks, target.address) as app:
        far = target.take()
        far.sendall(b"half of the file")
        assert app.receive(16) == b"half of the file"
        (cut_network.forwarder.reset_all if how == "reset" else cut_network.forwarder.end_all)()
        assert app.end() == "reset"
        assert ended_with(far) == "reset"


def test_damaged_tunnel_is_a_reset(cut_network):
    """One flipped bit in the middle of a download: what was right is delivered, then a reset, and nothing wrong."""
    data = servers.PATTERN * 8
    passed = {}

    def flip(index, piece):
        # Damages the connection that carries more than any handshake, once, after 300 000 bytes.
        before = passed.get(index, 0)
        passed[index] = before + len(piece)
        if before < 300_000 <= passed[index]:
            piece = bytearray(piece)
            piece[-1] ^= 0x10
            return bytes(piece)
        return piece

    cut_network.forwarder.change_down = flip
    with Target(lambda sock: sock.sendall(data)) as target, dial(cut_network.entry.socks, target.address) as app:
        received = bytearray()
        with pytest.raises(ConnectionResetError):
            while True:
                piece = app.sock.recv(1 << 16)
                assert piece, f"a clean end after {len(received)} of {len(data)} bytes"
                received += piece
        assert data.startswith(bytes(received))


def test_streams_after_a_cut(cut_network, echo):
    """The client notices and new streams work again."""
    cut_network.forwarder.reset_all()

    def works():
        try:
            with dial(cut_network.entry.socks, echo) as app:
                app.send(b"x")
                return app.receive(1) == b"x"
        except Exception:
            return False

    wait_until(works, 10, "a stream after the cut")


def test_application_that_leaves_while_the_exit_connects(network):
    """The target does not answer and the application gives up: both sides forget the stream at once."""
    node = network.node()
    client = network.client(node)
    listener, fillers = full_listener()
    try:
        apps = [Connection(client.socks) for _ in range(5)]
        for app in apps:
            app.greet()
            app.send(request(*listener.getsockname()))
        for program in (client, node):
            wait_until(lambda program=program: program.status()["streams"]["active"] == 5, 5, "five streams")
        for app in apps:
            reset(app.sock)
        for program in (client, node):
            wait_until(lambda program=program: program.status()["streams"]["active"] == 0, 4,
                       f"{program.name} to forget")
    finally:
        for sock in (listener, *fillers):
            sock.close()


def test_tunnel_in_small_and_odd_pieces(cut_network):
    """Between client and node every segment is cut into pieces of random size: records come in any fragments."""
    cut_network.forwarder.piece_max = 700
    size = 2 << 20
    with Target(echo_all) as target, dial(cut_network.entry.socks, target.address) as app:
        def send():
            for _ in range(size // len(servers.PATTERN)):
                app.send(servers.PATTERN)
            app.sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        assert hashlib.sha256(app.receive_all()).hexdigest() == servers.pattern_hash(size)
        sender.join()


def echo_all(sock: socket.socket) -> None:
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def test_chaos(network):
    """Streams of every kind at once, ended in every way: what is delivered is right, and nothing is left behind."""
    node = network.node()
    client = network.client(node)
    size = 300_000

    def serve(sock):
        command = read_exactly(sock, 1)
        if command == b"d":
            sock.sendall((servers.PATTERN * 2)[:size])
        elif command == b"r":
            sock.sendall(servers.PATTERN[:1000])
            reset(sock)
        elif command == b"e":
            echo_all(sock)
        elif command == b"h":
            sock.shutdown(socket.SHUT_WR)
            assert hashlib.sha256(read_exactly(sock, size)).hexdigest() == servers.pattern_hash(size)

    def one(number):
        chance = random.Random(number)
        for _ in range(12):
            kind = chance.choice("dddrehqx")
            with dial(client.socks, target.address, timeout=60) as app:
                if kind == "d":
                    app.send(b"d")
                    digest = hashlib.sha256(app.receive_all()).hexdigest()
                    assert digest == servers.pattern_hash(size)
                elif kind == "r":
                    app.send(b"r")
                    assert app.end() == "reset"
                elif kind == "e":
                    app.send(b"e" + servers.PATTERN[:5000])
                    assert app.receive(5000) == servers.PATTERN[:5000]
                    app.sock.shutdown(socket.SHUT_WR)
                    assert app.end() == "eof"
                elif kind == "h":
                    app.send(b"h" + (servers.PATTERN * 2)[:size])
                    assert app.end() == "eof"
                elif kind == "q":
                    app.send(b"d")
                    app.receive(chance.randrange(1, 100_000))
                    reset(app.sock)

    with Target(serve) as target, ThreadPoolExecutor(40) as pool:
        list(pool.map(one, range(80)))
        unexpected = [failure for failure in target.failures if "Reset" not in failure and "Broken" not in failure
                      and "after 0 of 1" not in failure]
        assert unexpected == []
    for program in (client, node):
        wait_until(lambda program=program: program.status()["streams"]["active"] == 0, 10, f"{program.name} to be idle")


# --------------------------------------------------------------------------------------------------------------- memory

@pytest.mark.parametrize("direction", ["up", "down"])
def test_stopped_reader_bounds_memory(network, direction):
    """20 senders push against readers that read nothing: both processes hold what their buffers hold, not more."""
    node = network.node()
    client = network.client(node)
    streams, sent = [], [0] * 20
    stop = threading.Event()

    def push(index, sock):
        sock.settimeout(0.5)
        try:
            while not stop.is_set():
                try:
                    sent[index] += sock.send(servers.PATTERN)
                except socket.timeout:
                    pass
        except OSError:
            pass

    with Target(receive_buffer=65536) as target:
        before = {pid: resident_mib(pid) for program in (node, client) for pid in program.pids()}
        threads = []
        for index in range(20):
            app = dial(client.socks, target.address)
            far = target.take()
            streams.append((app, far))
            sender = app.sock if direction == "up" else far
            threads.append(threading.Thread(target=push, args=(index, sender), daemon=True))
            threads[-1].start()
        previous = -1
        while sum(sent) != previous:  # until nothing moves any more
            previous = sum(sent)
            time.sleep(1)
        after = {pid: resident_mib(pid) for pid in before}
        stop.set()
        for app, far in streams:
            app.close()
            far.close()
        for thread in threads:
            thread.join()
    growth = {pid: after[pid] - before[pid] for pid in before}
    assert max(growth.values()) < 20 * 4, f"growth in MiB: {growth}"
    assert sum(sent) < 20 * (64 << 20), "the senders were never stopped"


def test_reader_that_pauses_gets_everything(proxy):
    size = 16 << 20
    data_hash = servers.pattern_hash(size)

    def send(sock):
        for _ in range(size // len(servers.PATTERN)):
            sock.sendall(servers.PATTERN)

    with Target(send) as target, dial(proxy, target.address) as app:
        digest, total = hashlib.sha256(), 0
        next_pause = 1 << 20
        while data := app.sock.recv(1 << 16):
            digest.update(data)
            total += len(data)
            if total > next_pause:
                next_pause += 4 << 20
                time.sleep(0.2)
    assert (total, digest.hexdigest()) == (size, data_hash)


# --------------------------------------------------------------------------------------------------------- many streams

@pytest.mark.parametrize("count", [2000, pytest.param(10000, marks=pytest.mark.long)])
def test_many_idle_streams(network, echo, count):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2 * count + 1000:
        pytest.skip("too few descriptors: raise ulimit -n")
    node = network.node()
    client = network.client(node)
    streams = []
    try:
        for _ in range(count):
            streams.append(dial(client.socks, echo))
        for step in (7, 1):
            for app in streams[::step]:
                app.send(b"x")
            for app in streams[::step]:
                assert app.receive(1) == b"x"
    finally:
        for app in streams:
            app.close()
    with dial(client.socks, echo) as app:
        app.send(b"still")
        assert app.receive(5) == b"still"


def test_short_streams_one_after_the_other(proxy, echo):
    """500 streams opened and closed in a row: slots, descriptors and stream numbers come back."""
    for number in range(500):
        with dial(proxy, echo) as app:
            word = number.to_bytes(4, "big")
            app.send(word)
            assert app.receive(4) == word


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_nothing_is_paced_on_one_host(network, echo, host):
    """BBR's timers double what a byte costs, and on loopback they are of no use; also behind a listener on everything."""
    port = free_port()
    node = network.node(listen=(host, port))
    client = network.client(f"{node.id}@127.0.0.1:{port}")
    with dial(client.socks, echo) as app:
        app.send(b"x")
        assert app.receive(1) == b"x"
        for name, where in (("SOCKS", client.socks[1]), ("tunnel", port), ("target", echo[1])):
            side = "dport" if name == "target" else "sport"
            shown = run("ss", "-Htin", "state", "established", f"( {side} = :{where} )").stdout
            details = [line for line in shown.splitlines() if line.startswith("\t")]
            assert details, shown
            assert all(line.startswith("\t reno ") for line in details), f"{name}: {shown}"
