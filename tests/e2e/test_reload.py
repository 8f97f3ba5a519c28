"""`qanat reload` and SIGHUP: what changes at once, what is named for the next start, and that a mistake changes nothing."""

import json
import os
import signal

import pytest

from harness import Program, free_port, qanat, wait_until
from socks5 import USER_PASS, Connection, SocksError, dial, login, request


class ConfigFile:
    """A configuration file that a test rewrites."""

    def __init__(self, network, name: str, **fields):
        self.path = network.directory / f"{name}.json"
        self.fields = fields
        self.write()

    def write(self, **changes) -> None:
        for name, value in changes.items():
            if value is None:
                self.fields.pop(name, None)
            else:
                self.fields[name] = value
        self.path.write_text(json.dumps(self.fields))
        self.path.chmod(0o600)


def reload(program: Program) -> dict:
    done = qanat("reload", "--json", "--admin", program.admin)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def entry(node) -> dict:
    return {"addrs": [node.address]}


def passes(app) -> bool:
    app.send(b"ping")
    return app.receive(4) == b"ping"


def test_nothing_changed(shared):
    assert reload(shared.entry) == {"applied": [], "needs_restart": []}
    done = qanat("reload", "--admin", shared.exit.admin)
    assert (done.returncode, done.stdout) == (0, "reloaded: nothing has changed\n")


def test_strategy(network, echo):
    """From "random" to "round-robin": from then on each node gets its turn, and an open stream goes on."""
    nodes = [network.node() for _ in range(3)]
    config = ConfigFile(network, "c", nodes=[entry(node) for node in nodes], data_plane={"cores": "0"})
    client = network.client(arguments=("--config", config.path))
    wait_until(lambda: client.status()["sessions"]["active"] == 3, 10, "all sessions")
    with dial(client.socks, echo) as app:
        config.write(routing={"strategy": "round-robin"})
        assert reload(client) == {"applied": ["routing.strategy"], "needs_restart": []}
        wait_until(lambda: client.status()["strategy"] == "round-robin", 5, "the new strategy")
        before = [node.status()["streams"]["total"] for node in nodes]
        for _ in range(30):
            dial(client.socks, echo).close()
        taken = [node.status()["streams"]["total"] - total for node, total in zip(nodes, before)]
        assert min(taken) >= 8, taken
        assert passes(app)


def test_nodes_come_and_go(network, echo):
    """A node that leaves the configuration gets no new stream and keeps those that it has; one that comes is used."""
    first, second = network.node(), network.node()
    config = ConfigFile(network, "c", nodes=[entry(first)])
    client = network.client(arguments=("--config", config.path))
    with dial(client.socks, echo) as app:
        config.write(nodes=[entry(second)])
        assert reload(client) == {"applied": ["nodes"], "needs_restart": []}

        def uses_the_second():
            total = second.status()["streams"]["total"]
            try:
                dial(client.socks, echo).close()
            except SocksError:
                return False
            return second.status()["streams"]["total"] == total + 1

        wait_until(uses_the_second, 10, "a stream through the new node")
        total = first.status()["streams"]["total"]
        for _ in range(10):
            dial(client.socks, echo).close()
        assert first.status()["streams"]["total"] == total
        assert passes(app)
    shown = [node["id"] for node in client.status()["nodes"] if node["state"] == "up"]
    assert shown == [second.id]


def test_users(network, echo):
    config = ConfigFile(network, "c", nodes=[entry(network.node())])
    client = network.client(arguments=("--config", config.path))

    def accepts(user: bytes, password: bytes) -> bool:
        with Connection(client.socks) as app:
            if app.greet(b"\x02") != USER_PASS:
                return False
            app.send(login(user, password))
            if app.receive(2) != b"\x01\x00":
                return False
            app.send(request(*echo))
            return app.receive_reply()[0] == 0

    with dial(client.socks, echo) as app:
        config.write(server={"auth": True, "user": "me", "pass": "pass-eins"})
        assert set(reload(client)["applied"]) == {"server.auth", "server.user", "server.pass"}
        wait_until(lambda: accepts(b"me", b"pass-eins"), 5, "the new login")
        assert not accepts(b"me", b"pass-zwei")
        config.write(server={"auth": True, "user": "me", "pass": "pass-zwei"})
        assert reload(client)["applied"] == ["server.pass"]
        wait_until(lambda: accepts(b"me", b"pass-zwei"), 5, "the new password")
        assert not accepts(b"me", b"pass-eins")
        assert passes(app)
    assert "pass-" not in client.log()


def test_exit_policy(network, echo):
    config = ConfigFile(network, "n")
    node = network.node("--config", config.path, allow=())
    client = network.client(node)
    with pytest.raises(SocksError) as refused:
        dial(client.socks, echo)
    assert refused.value.reply == 2
    config.write(node={"exit_policy": {"allow": ["127.0.0.0/8"]}})
    assert reload(node) == {"applied": ["node.exit_policy"], "needs_restart": []}

    def is_allowed():
        try:
            dial(client.socks, echo).close()
            return True
        except SocksError:
            return False

    wait_until(is_allowed, 5, "the new policy")
    with dial(client.socks, echo) as app:
        config.write(node=None)
        assert reload(node)["applied"] == ["node.exit_policy"]
        wait_until(lambda: not is_allowed(), 5, "the old policy")
        assert passes(app)


def test_log_level_and_format(network):
    config = ConfigFile(network, "c", nodes=[entry(network.node())])
    client = network.client(arguments=("--config", config.path))
    assert " debug " not in client.log()
    config.write(log={"level": "debug"})
    assert reload(client) == {"applied": ["log.level"], "needs_restart": []}
    assert client.status()["ready"]
    wait_until(lambda: " debug control: asked on the admin socket" in client.log(), 5, "a line of level debug")
    config.write(log={"level": "info", "format": "json"})
    assert reload(client)["applied"] == ["log.level", "log.format"]
    last = client.log().splitlines()[-1]
    assert json.loads(last)["message"] == "reloaded: log.level, log.format"


def test_each_stream_is_logged_at_debug(network, echo):
    config = ConfigFile(network, "c", nodes=[entry(network.node())])
    client = network.client(arguments=("--config", config.path))
    dial(client.socks, echo).close()
    config.write(log={"level": "debug"})
    reload(client)

    def logged():
        dial(client.socks, echo).close()
        return any(f"{echo[0]}:{echo[1]}" in line for line in client.log().splitlines())

    wait_until(logged, 5, "a line about a stream")


@pytest.mark.parametrize("how", ["reload", "SIGHUP"])
def test_a_mistake_changes_nothing(network, echo, how):
    """Refused as a whole: what was right in it is not applied either."""
    config = ConfigFile(network, "c", nodes=[entry(network.node())])
    client = network.client(arguments=("--config", config.path))
    good = dict(config.fields)
    for fields, expected in (
            ({"routing": {"strategy": "fastest"}, "log": {"level": "loud"}}, "log.level"),
            ({"routing": {"strategy": "fastest"}, "nodes": []}, "no exit node"),
            ({"routing": {"strategy": "fastest"}, "metrics": {"listen": "0.0.0.0:1"}}, "metrics.listen"),
            ({"routing": {"strategy": "fastest"}, "nodse": []}, "nodse")):
        config.fields = {**good, **fields}
        config.write()
        seen = len(client.log())
        if how == "reload":
            done = qanat("reload", "--admin", client.admin)
            assert (done.returncode, done.stdout) == (1, "")
            assert expected in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
        else:
            os.kill(client.pid, signal.SIGHUP)
            wait_until(lambda: "not reloaded" in client.log()[seen:], 5, "the refusal in the log")
            assert expected in client.log()[seen:]
        assert client.status()["strategy"] == "random"
        with dial(client.socks, echo) as app:
            assert passes(app)
    config.path.unlink()
    assert qanat("reload", "--admin", client.admin).returncode == 1
    config.fields = good
    config.write()
    assert reload(client) == {"applied": [], "needs_restart": []}


def test_a_port_that_is_taken_changes_nothing(network, nobody_listens):
    config = ConfigFile(network, "n")
    node = network.node("--config", config.path)
    config.write(metrics={"listen": f"127.0.0.1:{nobody_listens[1]}"}, log={"level": "debug"})
    done = qanat("reload", "--admin", node.admin)
    assert done.returncode == 1 and "metrics.listen" in done.stderr and str(nobody_listens[1]) in done.stderr
    assert "metrics" not in node.status() and " debug " not in node.log()


def test_sighup_applies(network):
    config = ConfigFile(network, "c", nodes=[entry(network.node())])
    client = network.client(arguments=("--config", config.path))
    config.write(routing={"strategy": "fastest"})
    os.kill(client.pid, signal.SIGHUP)
    wait_until(lambda: "reloaded: routing.strategy" in client.log(), 5, "the new strategy")
    assert client.status()["strategy"] == "fastest"


def test_a_flag_still_beats_the_file(network):
    config = ConfigFile(network, "c", nodes=[entry(network.node())])
    client = network.client(arguments=("--config", config.path, "--strategy", "fastest"))
    config.write(routing={"strategy": "round-robin", "health": "1s"})
    assert reload(client) == {"applied": ["routing.health"], "needs_restart": []}
    assert client.status()["strategy"] == "fastest"


def test_what_needs_a_restart_is_named_until_then(network, echo):
    config = ConfigFile(network, "c", nodes=[entry(network.node())], key=str(network.key))
    client = network.client(arguments=("--config", config.path))
    with dial(client.socks, echo) as app:
        config.write(data_plane={"max_streams": 1000, "shutdown_grace": "2s"}, limits={"unauthenticated": 5})
        waits = ["data_plane.max_streams", "limits.unauthenticated"]
        assert reload(client) == {"applied": ["data_plane.shutdown_grace"], "needs_restart": waits}
        assert reload(client) == {"applied": [], "needs_restart": waits}
        done = qanat("reload", "--admin", client.admin)
        assert done.stdout == f"reloaded: nothing to apply; these need a restart: {', '.join(waits)}\n"
        config.write(data_plane=None, limits=None)
        assert reload(client) == {"applied": ["data_plane.shutdown_grace"], "needs_restart": []}
        assert passes(app)


def test_a_new_network_key_needs_a_restart(network):
    node = network.node()
    old = network.key.read_text()
    network.key.unlink()
    assert qanat("keygen", "--out", network.key).returncode == 0
    try:
        assert reload(node) == {"applied": [], "needs_restart": ["key"]}
        network.key.write_text("damaged")
        done = qanat("reload", "--admin", node.admin)
        assert done.returncode == 1 and str(network.key) in done.stderr
    finally:
        network.key.write_text(old)
    assert reload(node) == {"applied": [], "needs_restart": []}


def test_metrics_come_and_go(network):
    config = ConfigFile(network, "n")
    node = network.node("--config", config.path)
    port = free_port()
    config.write(metrics={"listen": f"127.0.0.1:{port}"})
    assert reload(node)["applied"] == ["metrics.listen"]
    assert node.status()["metrics"] == f"127.0.0.1:{port}"
    config.write(metrics=None)
    assert reload(node)["applied"] == ["metrics.listen"]
    assert "metrics" not in node.status()
