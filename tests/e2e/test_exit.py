"""What the exit connects to when a name has several addresses: /etc/hosts of the node says which."""

import socket
import subprocess
import time

import pytest

import servers
from harness import ALLOW_LOOPBACK, TIME_SCALE, wait_until
from servers import Target, full_listener
from socks5 import dial, reply_of

pytestmark = pytest.mark.root


@pytest.fixture
def named(network):
    """Makes a client whose node has these names: named({"name": ["address", …]}, allow=…)."""
    try:
        subprocess.run(["unshare", "--mount", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no mount namespaces")

    def make(names: dict[str, list[str]], allow=ALLOW_LOOPBACK):
        hosts = network.directory / "hosts"
        hosts.write_text("".join(f"{address} {name}\n" for name, addresses in names.items() for address in addresses))
        return network.client(network.node(hosts=hosts, allow=allow))

    return make


@pytest.mark.parametrize("listening", ["127.0.0.1", "::1"])
def test_one_family_listens(named, loop, ipv6, listening):
    client = named({"both.test": ["::1", "127.0.0.1"]})
    target = loop.serve(servers.echo, listening)
    started = time.monotonic()
    with dial(client.socks, ("both.test", target[1])) as app:
        app.send(b"x")
        assert app.receive(1) == b"x"
        assert app.bound[0] == listening
    assert time.monotonic() - started < 2 * TIME_SCALE


def test_one_address_swallows_everything(named):
    """The first address never answers: the second one is tried after a short while, not after a timeout."""
    client = named({"half.test": ["127.0.0.2", "127.0.0.1"]})
    listener, fillers = full_listener("127.0.0.2")
    port = listener.getsockname()[1]
    try:
        with Target(listener=listening_on("127.0.0.1", port)) as target:
            started = time.monotonic()
            dial(client.socks, ("half.test", port)).close()
            assert time.monotonic() - started < 3 * TIME_SCALE
            assert target.accepted <= 1
    finally:
        for sock in (listener, *fillers):
            sock.close()


def listening_on(host: str, port: int):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen()
    return listener


def test_nobody_listens_anywhere(named, ipv6, nobody_listens):
    client = named({"both.test": ["::1", "127.0.0.1"]})
    assert reply_of(client.socks, ("both.test", nobody_listens[1])) == 5


def test_denied_address_among_allowed_ones(named, loop):
    """Only the allowed one is dialled, whatever the order; the listener on the denied one is never reached."""
    allowed = loop.serve(servers.echo, "127.0.0.1")
    with Target(listener=listening_on("127.0.0.3", allowed[1])) as forbidden:
        client = named({"mixed.test": ["127.0.0.3", "127.0.0.1"], "denied.test": ["127.0.0.3"],
                        "meta.test": ["169.254.169.254"]}, allow=("--allow", "127.0.0.1/32"))
        for _ in range(5):
            with dial(client.socks, ("mixed.test", allowed[1])) as app:
                app.send(b"x")
                assert app.receive(1) == b"x"
        assert reply_of(client.socks, ("denied.test", allowed[1])) == 2
        assert reply_of(client.socks, ("meta.test", 80)) == 2
        assert forbidden.accepted == 0


@pytest.mark.parametrize("name", ["case.test", "CASE.Test", "localhost", "case.test.", "localhost.", "LOCALHOST"])
def test_name_in_any_case_and_with_a_final_dot(named, loop, name):
    """Host names have no case, and a final dot only says that the name is complete."""
    target = loop.serve(servers.echo)
    client = named({"case.test": ["127.0.0.1"]})
    dial(client.socks, (name, target[1])).close()


def test_many_addresses(named, loop):
    """Fourteen addresses where nobody listens, and one where somebody does."""
    addresses = [f"127.0.1.{number}" for number in range(1, 15)] + ["127.0.0.1"]
    client = named({"many.test": addresses})
    target = loop.serve(servers.echo)
    started = time.monotonic()
    dial(client.socks, ("many.test", target[1])).close()
    assert time.monotonic() - started < 5 * TIME_SCALE


def test_200_names_at_once(named, loop):
    from concurrent.futures import ThreadPoolExecutor
    target = loop.serve(servers.echo)
    client = named({f"name{number}.test": ["127.0.0.1"] for number in range(200)})

    def one(number):
        with dial(client.socks, (f"name{number}.test", target[1]), timeout=30) as app:
            app.send(b"x")
            return app.receive(1)

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(one, range(200))) == {b"x"}
    wait_until(lambda: client.status()["streams"]["active"] == 0, 5, "no active stream")
