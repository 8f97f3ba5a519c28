"""Fixtures of the end-to-end tests, and logs of every program in the report of a failed test."""

import os
import resource
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peer"))

import harness  # noqa: E402
import servers  # noqa: E402
from topology import Topology  # noqa: E402

_live: list[harness.Network] = []


def pytest_configure(config):
    config.addinivalue_line("markers", "root: needs to run as root")
    config.addinivalue_line("markers", "netns: needs to make network namespaces (root)")
    config.addinivalue_line("markers", "long: only with QANAT_TEST_LONG=1")
    # Tests hold both ends of every stream.
    wanted = 65536
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, hard),) * 2)
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # A killed run must not leave programs behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        if item.get_closest_marker("long") and not os.environ.get("QANAT_TEST_LONG"):
            item.add_marker(pytest.mark.skip(reason="set QANAT_TEST_LONG=1"))


def pytest_sessionstart(session):
    if not harness.QANAT.exists():
        pytest.exit(f"{harness.QANAT} does not exist: build first, or set QANAT_BIN", returncode=2)


def pytest_sessionfinish(session, exitstatus):
    left = harness.kill_leftovers()
    if left:
        print(f"\nprocesses that were left behind: {', '.join(left)}")
        session.exitstatus = 1


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for network in _live:
            for name, log in network.logs():
                report.sections.append((f"log of {name}", log[-12000:]))


def _open_network() -> harness.Network:
    network = harness.Network()
    _live.append(network)
    return network


def _close_network(network: harness.Network) -> None:
    _live.remove(network)
    network.close()


@pytest.fixture
def network(request):
    """A network of this test alone."""
    opened = _open_network()
    yield opened
    complaints = opened.complaints()
    logs = opened.logs() if complaints else []
    _close_network(opened)
    if complaints:
        pytest.fail("\n".join(complaints) + "".join(f"\n--- {name}\n{log[-8000:]}" for name, log in logs))


class Shared:
    """A node and a client that several tests use one after the other; made anew when one of them breaks it."""

    def __init__(self):
        self.network = None

    def ensure(self):
        if self.network and self.network.complaints():
            self.close()
        if self.network is None:
            self.network = _open_network()
            self.network.exit = self.network.node(name="exit")
            self.network.entry = self.network.client(self.network.exit, name="entry")
        return self.network

    def close(self):
        if self.network:
            _close_network(self.network)
            self.network = None


@pytest.fixture(scope="session")
def _shared():
    shared = Shared()
    yield shared
    shared.close()


@pytest.fixture
def shared(_shared):
    """A running node and client (shared.exit, shared.entry) whose exit may reach loopback."""
    ready = _shared.ensure()
    yield ready
    complaints = ready.complaints()
    if complaints:
        pytest.fail("\n".join(complaints))


@pytest.fixture
def proxy(shared):
    """Address of the shared client's SOCKS port."""
    return shared.entry.socks


@pytest.fixture
def loop():
    opened = servers.Loop()
    yield opened
    opened.close()


@pytest.fixture
def echo(loop):
    """Address of an echo server."""
    return loop.serve(servers.echo)


@pytest.fixture
def web(loop):
    """Address of an HTTP server, see servers.http()."""
    return loop.serve(servers.http())


@pytest.fixture
def namespaces():
    """Two network namespaces joined by a cable; skipped where the kernel does not let us make them."""
    try:
        made = harness.Namespaces()
    except (OSError, FileNotFoundError) as error:
        pytest.skip(f"no network namespaces: {error}")
    yield made
    made.close()


@pytest.fixture
def topology():
    """Hosts, delayed lines and NAT boxes as the test asks for them; skipped as above."""
    try:
        made = Topology()
    except (OSError, FileNotFoundError) as error:
        pytest.skip(f"no network namespaces: {error}")
    yield made
    made.close()


@pytest.fixture
def ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as error:
        pytest.skip(f"no IPv6 on loopback: {error}")


@pytest.fixture
def nobody_listens():
    """An address where a connection is refused: bound, never listening."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


@pytest.fixture(autouse=True)
def _no_stray_threads():
    """A test whose helper thread died of an exception has not passed."""
    failures = []
    previous = threading.excepthook
    threading.excepthook = lambda arguments: failures.append(repr(arguments.exc_value))
    yield
    threading.excepthook = previous
    assert not failures, failures
