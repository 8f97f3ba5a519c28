"""`qanat status`: what it shows, to whom, and that its numbers are true."""

import os
import stat

import pytest
import socket

from harness import qanat, wait_until
from socks5 import SocksError, dial, reply_of


def test_fields(network, echo):
    node = network.node()
    client = network.client(node)
    with dial(client.socks, echo):
        for program, role in ((node, "node"), (client, "client")):
            status = program.status()
            assert status["role"] == role and status["ready"] is True
            assert status["id"] == program.id
            assert status["version"] in qanat("version").stdout
            assert status["uptime_seconds"] >= 0
            assert len(status["engines"]) == status["data_plane"]["engines"] >= 1
            assert status["streams"]["active"] == 1
            assert status["streams"]["total"] >= 1
            assert status["sessions"]["active"] == 1
            assert status["limits"]["streams"] >= status["streams"]["max"] > 0  # descriptors may allow fewer
            for engine in status["engines"]:
                assert {"active", "total", "ended"} <= set(engine["streams"]) and {"up", "down"} <= set(engine["bytes"])
            text = qanat("status", "--admin", program.admin)
            assert text.returncode == 0 and role in text.stdout and program.id in text.stdout


def test_counters_are_true(network, echo, nobody_listens):
    node = network.node()
    client = network.client(node)
    size = 100_000
    for _ in range(3):
        with dial(client.socks, echo) as app:
            app.send(bytes(size))
            app.receive(size)
            app.sock.shutdown(socket.SHUT_WR)
            assert app.end() == "eof"
    with pytest.raises(SocksError):
        dial(client.socks, nobody_listens)

    def counted(program):
        status = program.status()
        return (status["streams"]["active"] == 0 and status["streams"]["ended"]["completed"] == 3
                and status["bytes"]["up"] == 3 * size and status["bytes"]["down"] == 3 * size)

    for program in (client, node):
        wait_until(lambda program=program: counted(program), 5, f"the counters of {program.name}")
    wait_until(lambda: client.status()["streams"]["ended"]["exit_refused"] == 1, 5, "exit_refused")
    wait_until(lambda: node.status()["streams"]["ended"]["connect_failed"] == 1, 5, "connect_failed")


def test_policy_denial_is_counted(network, echo):
    node = network.node(allow=())
    client = network.client(node)
    assert reply_of(client.socks, echo) == 2
    wait_until(lambda: node.status()["streams"]["ended"]["policy_denied"] == 1, 5, "policy_denied")


def test_socket_mode(network):
    node = network.node()
    mode = node.admin.stat()
    assert stat.S_ISSOCK(mode.st_mode) and stat.S_IMODE(mode.st_mode) == 0o600
    assert mode.st_uid == os.geteuid()


def test_no_secret_is_shown(network, echo):
    node = network.node()
    client = network.client(node)
    dial(client.socks, echo).close()
    shown = "".join(qanat("status", *form, "--admin", program.admin).stdout
                    for program in (node, client) for form in ((), ("--json",)))
    for secret in (network.key.read_text().splitlines()[2], node.identity.read_text().splitlines()[1]):
        assert secret not in shown


def test_admin_socket_survives_nonsense(network):
    node = network.node()
    for data in (b"", b"\0" * 1000, b"GET / HTTP/1.1\r\n\r\n", os.urandom(100_000)):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(2)
            sock.connect(str(node.admin))
            try:
                sock.sendall(data)
            except OSError:
                pass
    held = []
    for _ in range(50):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(node.admin))
        held.append(sock)
    for sock in held:
        sock.close()
    wait_until(lambda: (node.status() or {}).get("ready"), 5, "an answer after the nonsense")


def test_uptime_counts(network):
    node = network.node()

    first = node.status()["uptime_seconds"]
    wait_until(lambda: node.status()["uptime_seconds"] > first, 5, "a later uptime")
