"""The SOCKS5 server byte by byte: RFC 1928, RFC 1929, and what clients really send."""

import socket
import time

import pytest

import servers
import socks5
from harness import TIME_SCALE, Program, free_port, wait_until
from servers import drain_listener, full_listener
from socks5 import (ADDRESS_NOT_SUPPORTED, COMMAND_NOT_SUPPORTED, GREETING, NO_ACCEPTABLE, NO_AUTH, SUCCEEDED,
                    USER_PASS, Connection, dial, domain, login, reply_of, request)


# --------------------------------------------------------------------------------------------------------- segmentation

def test_one_byte_at_a_time(proxy, echo):
    with Connection(proxy) as connection:
        for byte in GREETING:
            connection.send(bytes([byte]))
        assert connection.receive(2) == b"\x05\x00"
        for byte in request(*echo):
            connection.send(bytes([byte]))
            time.sleep(0.001)  # its own segment
        assert connection.receive_reply()[0] == SUCCEEDED
        connection.send(b"x")
        assert connection.receive(1) == b"x"


def test_everything_in_one_segment_with_early_data(proxy, echo):
    with Connection(proxy) as connection:
        connection.send(GREETING + request(*echo) + b"early data")
        assert connection.receive(2) == b"\x05\x00"
        assert connection.receive_reply()[0] == SUCCEEDED
        assert connection.receive(10) == b"early data"


def test_every_split_of_the_handshake(proxy, echo):
    whole = GREETING + request(*echo) + b"early"
    for cut in range(1, len(whole)):
        with Connection(proxy) as connection:
            connection.send(whole[:cut])
            time.sleep(0.002)
            connection.send(whole[cut:])
            connection.receive(2)
            assert connection.receive_reply()[0] == SUCCEEDED, f"cut at {cut}"
            assert connection.receive(5) == b"early", f"cut at {cut}"


def test_much_early_data(proxy, echo):
    early = servers.PATTERN[:200_000]
    with Connection(proxy) as connection:
        connection.sock.settimeout(20)
        connection.send(GREETING + request(*echo) + early)
        connection.receive(2)
        assert connection.receive_reply()[0] == SUCCEEDED
        assert connection.receive(len(early)) == early


# ------------------------------------------------------------------------------------------------------------- greeting

@pytest.mark.parametrize("methods", [b"\x00", b"\x02\x00", bytes(range(255)), b"\x80" * 254 + b"\x00"],
                         ids=["one", "two", "255", "255-last"])
def test_methods_with_no_auth_among_them(proxy, echo, methods):
    with Connection(proxy) as connection:
        assert connection.greet(methods) == NO_AUTH
        connection.send(request(*echo))
        assert connection.receive_reply()[0] == SUCCEEDED


@pytest.mark.parametrize("methods", [b"", b"\x01", b"\x01" * 255], ids=["none", "gssapi", "255"])
def test_no_acceptable_method(proxy, methods):
    with Connection(proxy) as connection:
        assert connection.greet(methods) == NO_ACCEPTABLE
        assert connection.is_closed()


@pytest.mark.parametrize("start", [b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                   b"\x16\x03\x01",
                                   b"\x00", b"\xff" * 600], ids=["socks4", "http", "tls", "zero", "ones"])
def test_not_socks5_is_closed_at_once(proxy, start):
    with Connection(proxy, timeout=5 * TIME_SCALE) as connection:
        connection.send(start)
        # Whatever the answer in the foreign protocol would be, it is no SOCKS5 success, and the end comes soon.
        connection.end()


# ---------------------------------------------------------------------------------------------------- user and password

@pytest.fixture
def guarded(network) -> Program:
    """A client that asks for user "u" and password "secret"."""
    return network.client(network.node(), config={"server": {"auth": True, "user": "u", "pass": "secret"}})


def test_password(guarded, echo):
    with Connection(guarded.socks) as connection:
        assert connection.greet(b"\x00\x02") == USER_PASS
        connection.send(login(b"u", b"secret"))
        assert connection.receive(2) == b"\x01\x00"
        connection.send(request(*echo))
        assert connection.receive_reply()[0] == SUCCEEDED

    for byte_by_byte in (False, True):
        with Connection(guarded.socks) as connection:
            whole = b"\x05\x01\x02" + login(b"u", b"secret") + request(*echo) + b"early"
            for piece in ([bytes([byte]) for byte in whole] if byte_by_byte else [whole]):
                connection.send(piece)
            assert connection.receive(4) == b"\x05\x02\x01\x00"
            assert connection.receive_reply()[0] == SUCCEEDED
            assert connection.receive(5) == b"early"

    with Connection(guarded.socks) as connection:
        assert connection.greet(b"\x00") == NO_ACCEPTABLE
        assert connection.is_closed()

    wrong = [(b"u", b"Secret"), (b"u", b"secre"), (b"u", b"secret\0"), (b"", b"secret"), (b"u", b""), (b"", b""),
             (b"us", b"ecret"), (b"U" * 255, b"P" * 255), (b"u" * 255, b"x"), (b"u", b"s" * 255)]
    for user, password in wrong:
        with Connection(guarded.socks) as connection:
            assert connection.greet(b"\x02") == USER_PASS
            connection.send(login(user, password))
            version, status = connection.receive(2)
            assert version == 1 and status != 0, (user, password)
            assert connection.is_closed()

    with Connection(guarded.socks) as connection:
        assert connection.greet(b"\x02") == USER_PASS
        connection.send(b"\x05" + login(b"u", b"secret")[1:])
        assert connection.end() in ("eof", "reset")


def test_longest_user_and_password(network, echo):
    user, password = "u" * 255, "p" * 255
    client = network.client(network.node(), config={"server": {"auth": True, "user": user, "pass": password}})
    with Connection(client.socks) as connection:
        assert connection.greet(b"\x02") == USER_PASS
        connection.send(login(user.encode(), password.encode()))
        assert connection.receive(2) == b"\x01\x00"
        connection.send(request(*echo))
        assert connection.receive_reply()[0] == SUCCEEDED


# ------------------------------------------------------------------------------------------------------------- requests

def ask_raw(proxy, data: bytes) -> int:
    with Connection(proxy) as connection:
        assert connection.greet() == NO_AUTH
        connection.send(data)
        reply = connection.receive_reply()[0]
        if reply != SUCCEEDED:
            assert connection.is_closed()
        return reply


@pytest.mark.parametrize("command", [2, 3, 0, 4, 0x80, 0xFF], ids=["bind", "udp", "0", "4", "80", "ff"])
def test_other_commands(proxy, echo, command):
    assert ask_raw(proxy, request(*echo, command=command)) == COMMAND_NOT_SUPPORTED


@pytest.mark.parametrize("kind", [0, 2, 5, 0xFF])
def test_unknown_address_type(proxy, kind):
    assert ask_raw(proxy, bytes([5, 1, 0, kind]) + b"\x7f\0\0\x01\0\x50") == ADDRESS_NOT_SUPPORTED


def test_reserved_byte_is_not_held_against_the_client(proxy, echo):
    """Some clients leave garbage there; RFC 1928 gives it no meaning. A refusal must be an answer."""
    data = bytearray(request(*echo))
    data[2] = 0x5A
    assert ask_raw(proxy, bytes(data)) in (SUCCEEDED, socks5.GENERAL_FAILURE)


def test_wrong_version_in_the_request(proxy, echo):
    with Connection(proxy) as connection:
        assert connection.greet() == NO_AUTH
        connection.send(b"\x04" + request(*echo)[1:])
        data = b""
        try:
            data = connection.receive_all()
        except ConnectionResetError:
            pass
        assert data[:2] != b"\x05\x00"


def test_address_text_as_name(proxy, echo):
    assert ask_raw(proxy, b"\x05\x01\x00" + domain(b"127.0.0.1", echo[1])) == SUCCEEDED


def test_ipv6_text_as_name(proxy, loop, ipv6):
    port = loop.serve(servers.echo, "::1")[1]
    assert ask_raw(proxy, b"\x05\x01\x00" + domain(b"::1", port)) == SUCCEEDED


def test_ipv6_address(proxy, loop, ipv6):
    target = loop.serve(servers.echo, "::1")
    with dial(proxy, target) as connection:
        connection.send(b"six")
        assert connection.receive(3) == b"six"
        assert connection.bound[0] == "::1"


@pytest.mark.parametrize("name", [b"a" * 255, b".".join([b"a" * 62] * 4) + b".invalid"[:3], b"nul\0byte.invalid",
                                  b"\xc3\xa4\xff.invalid", b"no-such-name.invalid", b"a..b", b".", b"-", b"*.invalid",
                                  b"%s%n.invalid"],
                         ids=["255", "four-labels", "nul", "not-ascii", "missing", "dots", "dot", "dash", "star",
                              "percent"])
def test_names_that_do_not_resolve(proxy, name):
    reply = ask_raw(proxy, b"\x05\x01\x00" + domain(name, 80))
    assert reply in (socks5.HOST_UNREACHABLE, socks5.GENERAL_FAILURE, ADDRESS_NOT_SUPPORTED)
    if name == b"no-such-name.invalid":
        assert reply == socks5.HOST_UNREACHABLE


def test_empty_name(proxy):
    with Connection(proxy) as connection:
        assert connection.greet() == NO_AUTH
        connection.send(b"\x05\x01\x00" + domain(b"", 80))
        assert connection.receive_reply()[0] in (socks5.GENERAL_FAILURE, socks5.HOST_UNREACHABLE, ADDRESS_NOT_SUPPORTED)
        assert connection.is_closed()


def test_port_zero(proxy):
    assert ask_raw(proxy, request("127.0.0.1", 0)) != SUCCEEDED


# ---------------------------------------------------------------------------------------------------------- reply codes

def test_refused(proxy, nobody_listens):
    assert reply_of(proxy, nobody_listens) == socks5.REFUSED


def test_success_carries_the_bound_address_of_the_exit(proxy):
    with servers.Target() as target, dial(proxy, target.address) as connection:
        taken = target.take()
        assert connection.bound == taken.getpeername()[:2]


def test_success_comes_only_after_the_exit_connected(proxy):
    """The target is listening but its accept queue is full, so the exit's connection does not stand yet."""
    listener, fillers = full_listener()
    try:
        with Connection(proxy) as connection:
            assert connection.greet() == NO_AUTH
            connection.send(request(*listener.getsockname()))
            connection.sock.settimeout(1)
            with pytest.raises(socket.timeout):
                connection.sock.recv(1)
            connection.sock.settimeout(30)
            drain_listener(listener)
            assert connection.receive_reply()[0] == SUCCEEDED
    finally:
        for sock in (listener, *fillers):
            sock.close()


def test_timeout(network):
    """An address that swallows every SYN: reply 06, and not before the connection timeout."""
    client = network.client(network.node(), config={"routing": {"timeout": "30s"}})
    listener, fillers = full_listener()
    try:
        started = time.monotonic()
        assert reply_of(client.socks, listener.getsockname(), timeout=60) == socks5.TTL_EXPIRED
        assert 2 < time.monotonic() - started < 30 * TIME_SCALE
    finally:
        for sock in (listener, *fillers):
            sock.close()


def test_no_node_is_a_general_failure(network, echo):
    """The only node does not exist: the client runs, says so, and answers 01."""
    _, node_id = network.identity("absent")
    client = network.client(f"{node_id}@127.0.0.1:{free_port()}", wait=False)
    wait_until(lambda: client.running() and listens(client.socks), 10, "the SOCKS port")
    assert reply_of(client.socks, echo, timeout=40) == socks5.GENERAL_FAILURE


def listens(address) -> bool:
    try:
        socket.create_connection(address, 1).close()
        return True
    except OSError:
        return False


def test_policy_denies(network, echo):
    """Nothing allowed: loopback, link-local, the metadata address, private ranges and the exit's own addresses."""
    node = network.node(allow=())
    client = network.client(node)
    for host in ("127.0.0.1", "127.8.9.10", "0.0.0.0", "169.254.169.254", "169.254.1.1", "10.0.0.1", "172.16.0.1",
                 "192.168.1.1", "100.64.0.1", "::1", "::", "fe80::1", "fd00::1", "::ffff:127.0.0.1",
                 "::ffff:169.254.169.254", "224.0.0.1", "255.255.255.255"):
        assert reply_of(client.socks, (host, echo[1])) == socks5.NOT_ALLOWED, host


def test_policy_is_checked_on_the_resolved_address(network, echo):
    client = network.client(network.node(allow=()))
    assert reply_of(client.socks, ("localhost", echo[1])) == socks5.NOT_ALLOWED


def test_policy_allows_what_it_names_and_no_more(network, echo):
    client = network.client(network.node(allow=("--allow", "127.0.0.1/32")))
    assert reply_of(client.socks, echo) == SUCCEEDED
    assert reply_of(client.socks, ("127.0.0.2", echo[1])) == socks5.NOT_ALLOWED


def test_name_with_two_addresses_of_which_one_listens(shared, loop, ipv6):
    """Happy Eyeballs: whatever localhost resolves to, the listener on 127.0.0.1 is found, and no try takes long."""
    target = loop.serve(servers.echo)
    started = time.monotonic()
    with dial(shared.entry.socks, ("localhost", target[1])) as connection:
        connection.send(b"x")
        assert connection.receive(1) == b"x"
    assert time.monotonic() - started < 3 * TIME_SCALE


# ------------------------------------------------------------------------------------------------------------ deadlines

def test_idle_and_dripping_handshakes_are_dropped(network, echo):
    """Connections that never finish the SOCKS handshake go at a deadline, also when they send a byte now and then."""
    client = network.client(network.node())
    idle = [Connection(client.socks) for _ in range(50)]
    dripping = Connection(client.socks)
    started = time.monotonic()
    sent = 0
    whole = b"\x05\xff" + bytes(range(255))
    deadline = started + 60 * TIME_SCALE
    dripping.sock.settimeout(0.25)
    while time.monotonic() < deadline:
        try:
            dripping.send(whole[sent:sent + 1])
            sent += 1
            if dripping.sock.recv(1) == b"":
                break
        except socket.timeout:
            continue
        except (ConnectionResetError, BrokenPipeError):
            break
    else:
        pytest.fail("the dripping connection was still there after a minute")
    assert time.monotonic() - started > 1
    for connection in idle:
        connection.sock.settimeout(10 * TIME_SCALE)
        assert connection.is_closed()
        connection.close()
    assert reply_of(client.socks, echo) == SUCCEEDED
