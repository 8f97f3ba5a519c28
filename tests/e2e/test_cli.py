"""The command line as people meet it: what it makes, what it says when something is wrong, its exit status."""

import json
import os
import re
import socket
import stat

import pytest

from harness import QANAT, Network, free_port, qanat, run

ID = re.compile(r"[a-z2-7]{56}")


def one_line(done) -> str:
    """The error: exactly one line, on standard error, as every error of the program looks."""
    assert done.stdout == "", done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("qanat: "), lines[0]
    return lines[0]


# ----------------------------------------------------------------------------------------------------------- keygen, id

def test_keygen_format_and_mode(tmp_path):
    path = tmp_path / "network.key"
    old = os.umask(0)
    try:
        done = qanat("keygen", "--out", path)
    finally:
        os.umask(old)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"/key/swarm/psk/1\.0\.0/\n/base16/\n[0-9a-f]{64}\n", path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().splitlines()[2] not in done.stdout + done.stderr


def test_keygen_in_the_working_directory(tmp_path):
    assert qanat("keygen", cwd=tmp_path).returncode == 0
    assert (tmp_path / "network.key").exists()


def test_keygen_never_overwrites(tmp_path):
    path = tmp_path / "network.key"
    for content in ("", "something precious"):
        path.write_text(content)
        done = qanat("keygen", "--out", path)
        assert done.returncode == 1
        assert str(path) in one_line(done)
        assert path.read_text() == content
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert qanat("keygen", "--out", path).returncode == 1
    assert not (tmp_path / "elsewhere").exists()


def test_keygen_makes_different_keys(tmp_path):
    for name in "ab":
        assert qanat("keygen", "--out", tmp_path / name).returncode == 0
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


def test_keygen_where_nothing_can_be_written(tmp_path):
    done = qanat("keygen", "--out", tmp_path / "missing" / "network.key")
    assert done.returncode == 1
    assert "missing" in one_line(done)


def test_id_is_stable_and_private(tmp_path):
    path = tmp_path / "node.key"
    first = qanat("id", "--identity", path)
    assert first.returncode == 0 and ID.fullmatch(first.stdout.strip()), first.stdout + first.stderr
    assert first.stdout.count("\n") == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert qanat("id", "--identity", path).stdout == first.stdout
    assert qanat("id", "--identity", tmp_path / "other.key").stdout != first.stdout


def test_id_is_what_the_protocol_says(tmp_path):
    """base32(S ‖ SHA256("qanat1 id" ‖ S)[0..3)), by the independent peer."""
    from qanatpeer.keys import decode_id
    assert len(decode_id(qanat("id", "--identity", tmp_path / "node.key").stdout.strip())) == 32


# ----------------------------------------------------------------------------------------------------- version and help

@pytest.mark.parametrize("arguments", [("version",), ("--version",)])
def test_version(arguments):
    done = qanat(*arguments)
    assert done.returncode == 0 and re.search(r"\d+\.\d+\.\d+", done.stdout), done.stdout


@pytest.mark.parametrize("command", [None, "keygen", "id", "node", "client", "status", "version"])
def test_help(command):
    done = qanat(*([command] if command else []), "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert len(done.stdout) > 60
    if command is None:
        for name in ("keygen", "id", "node", "client", "status", "version"):
            assert name in done.stdout
    flags = {"node": ["--listen", "--key", "--identity", "--allow", "--cores", "--admin", "--log-level",
                      "--log-format", "--config"],
             "client": ["--socks", "--node", "--strategy", "--key", "--identity", "--cores", "--admin", "--config"],
             "status": ["--json", "--admin"], "keygen": ["--out"], "id": ["--identity"]}
    for flag in flags.get(command, []):
        assert flag in done.stdout, flag


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("node", "--nonsense"), ("client", "--strategy", "best"),
                                       ("node", "--listen", "nowhere"), ("node", "--listen", "127.0.0.1:99999"),
                                       ("client", "--node", "127.0.0.1:4000"),
                                       ("client", "--node", "abc@127.0.0.1:4000"),
                                       ("node", "--allow", "10.0.0.0/99"), ("node", "--log-level", "loud"),
                                       ("node", "--cores", "0-"), ("status", "extra"), ("keygen", "--out"),
                                       ("client", "--key")],
                         ids=lambda arguments: " ".join(arguments) or "nothing")
def test_wrong_usage_is_status_2(arguments):
    done = qanat(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.strip()
    if arguments:
        one_line(done)


def test_typo_in_a_command_or_flag_gets_a_suggestion():
    assert "client" in one_line(qanat("cleint"))
    assert "--listen" in one_line(qanat("node", "--lisen", "127.0.0.1:0"))


# ----------------------------------------------------------------------------------------------------- errors of set-up

class Setup:
    """A directory with a good key, identity and configuration, each of which a case then spoils."""

    def __init__(self, directory):
        self.directory = directory
        self.key, self.identity = directory / "network.key", directory / "node.key"
        assert qanat("keygen", "--out", self.key).returncode == 0
        self.id = qanat("id", "--identity", self.identity).stdout.strip()
        self.config = {"server": {"listen": f"127.0.0.1:{free_port()}"},
                       "nodes": [{"id": self.id, "addrs": ["127.0.0.1:4000"]}]}

    def run(self, role: str = "client", config=None, extra=()):
        path = self.directory / "config.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config or self.config))
        path.chmod(0o600)
        return qanat(role, "--config", path, "--key", self.key, "--identity", self.identity,
                     "--admin", self.directory / "admin.sock", *extra, timeout=15)


@pytest.fixture
def setup(tmp_path):
    return Setup(tmp_path)


def mentions(line: str, *words: str) -> None:
    for word in words:
        assert word.lower() in line.lower(), f"{word!r} is not in: {line}"


@pytest.mark.parametrize("which", ["key", "identity"])
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o666])
def test_loose_permissions_are_refused(setup, which, mode):
    path = getattr(setup, which)
    path.chmod(mode)
    done = setup.run()
    assert done.returncode == 1
    mentions(one_line(done), str(path), "chmod 600")


@pytest.mark.parametrize("content", ["", "garbage\n", "/key/swarm/psk/1.0.0/\n/base16/\n",
                                     "/key/swarm/psk/1.0.0/\n/base16/\n" + "0" * 63 + "\n",
                                     "/key/swarm/psk/1.0.0/\n/base16/\n" + "g" * 64 + "\n",
                                     "/key/swarm/psk/1.0.0/\n/base64/\n" + "0" * 64 + "\n", "x" * 100_000],
                         ids=["empty", "garbage", "short", "63-digits", "not-hex", "base64", "large"])
def test_malformed_network_key(setup, content):
    setup.key.write_text(content)
    done = setup.run()
    assert done.returncode == 1
    mentions(one_line(done), str(setup.key))
    if "g" * 64 in content or "0" * 63 in content:
        assert content.splitlines()[2] not in done.stderr, "an error must not print key material"


def test_malformed_identity(setup):
    setup.identity.write_text("garbage")
    done = setup.run()
    assert done.returncode == 1
    mentions(one_line(done), str(setup.identity))


def test_missing_network_key(setup):
    setup.key.unlink()
    done = setup.run()
    assert done.returncode == 1
    mentions(one_line(done), str(setup.key), "keygen")


def test_missing_config(setup):
    done = qanat("client", "--config", setup.directory / "nowhere.json", "--key", setup.key)
    assert done.returncode == 1
    mentions(one_line(done), "nowhere.json")


@pytest.mark.parametrize("spoil, words", [
    (lambda c: c.update(sever=c.pop("server")), ["sever", "server"]),
    (lambda c: c.update(routing={"strateggy": "random"}), ["routing.strateggy", "strategy"]),
    (lambda c: c.update(routing={"strategy": "best"}), ["routing.strategy", "best", "fastest"]),
    (lambda c: c.update(routing={"timeout": 10}), ["routing.timeout", "10s"]),
    (lambda c: c.update(routing={"timeout": "10 parsecs"}), ["routing.timeout", "10 parsecs"]),
    (lambda c: c.update(routing={"timeout": "0s"}), ["routing.timeout"]),
    (lambda c: c.update(routing={"health": "-1s"}), ["routing.health"]),
    (lambda c: c.update(server={"auth": "yes"}), ["server.auth", "true"]),
    (lambda c: c.update(server={"auth": True}), ["server.user"]),
    (lambda c: c.update(server={"auth": True, "user": "u" * 256, "pass": "x"}), ["server.user", "255"]),
    (lambda c: c.update(server={"listen": "127.0.0.1"[:5]}), ["server.listen"]),
    (lambda c: c.update(server=[]), ["server"]),
    (lambda c: c["nodes"][0].update(id="abc"), ["nodes[0].id"]),
    (lambda c: c["nodes"][0].update(addrs=[]), ["nodes[0].addrs"]),
    (lambda c: c["nodes"][0].update(addrs=["host:port"]), ["nodes[0].addrs[0]"]),
    (lambda c: c["nodes"].append(c["nodes"][0]), ["nodes[1]"]),
    (lambda c: c.update(data_plane={"max_streams": 0}), ["data_plane.max_streams"]),
    (lambda c: c.update(data_plane={"cores": "zero"}), ["data_plane.cores"]),
    (lambda c: c.update(log={"level": "loud"}), ["log.level", "warn"]),
    (lambda c: c.update(node={"exit_policy": {"allow": ["everything"]}}), ["node.exit_policy.allow"]),
], ids=["root-key", "key", "strategy", "duration-type", "duration", "duration-zero", "duration-negative", "bool",
        "auth-without-user", "long-user", "listen", "object", "node-id", "no-address", "bad-address", "same-node-twice",
        "max-streams", "cores", "log-level", "policy"])
def test_wrong_configuration(setup, spoil, words):
    spoil(setup.config)
    done = setup.run()
    assert done.returncode == 1
    mentions(one_line(done), str(setup.directory / "config.json"), *words)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"key": }', '{"server": {}, "server": {}}', "{" * 5000,
                                  "\0\xff\xfe"],
                         ids=["empty", "open", "list", "null", "hole", "twice", "deep", "binary"])
def test_configuration_that_is_not_json(setup, text):
    done = setup.run(config=text)
    assert done.returncode == 1
    mentions(one_line(done), "config.json")


def test_client_without_a_node(setup):
    setup.config["nodes"] = []
    done = setup.run()
    assert done.returncode in (1, 2)
    mentions(one_line(done), "--node")


@pytest.mark.parametrize("role", ["client", "node"])
def test_port_in_use(setup, role):
    """Also by a program that has set SO_REUSEPORT: two nodes on one port would share the clients between them."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        where = "127.0.0.1:%d" % holder.getsockname()[1]
        done = setup.run(role, extra=("--socks", where) if role == "client" else ("--listen", where))
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("qanat: ")]
    assert len(errors) == 1, done.stderr
    mentions(errors[0], where, "in use")


def test_address_that_is_not_ours(setup):
    where = "203.0.113.77:4000"
    done = setup.run("node", extra=("--listen", where))
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("qanat: ")]
    assert len(errors) == 1, done.stderr
    mentions(errors[0], where)


def test_status_without_a_program(tmp_path):
    done = qanat("status", "--admin", tmp_path / "nobody.sock")
    assert done.returncode == 1
    mentions(one_line(done), "nobody.sock")


def test_data_plane_that_is_missing(tmp_path):
    """The program is copied away from its data plane: an error that says so."""
    import shutil
    (tmp_path / "qanat").write_bytes(QANAT.read_bytes())
    (tmp_path / "qanat").chmod(0o755)
    setup = Setup(tmp_path)
    done = run(tmp_path / "qanat", "node", "--key", setup.key, "--identity", setup.identity, "--listen",
               f"127.0.0.1:{free_port()}", "--admin", tmp_path / "admin.sock", timeout=15,
               env={"PATH": "/nonexistent"})
    assert shutil.which("qanat-dataplane", path="/nonexistent") is None
    assert done.returncode == 1
    mentions(done.stderr.splitlines()[-1], "qanat-dataplane")


# --------------------------------------------------------------------------------------------------- ways to be started

def test_everything_from_the_file(network: Network, echo):
    """A node and a client without a flag but --config and --admin; comments are allowed, files are relative to it."""
    from harness import Program
    from socks5 import dial
    node_id = network.identity("node")[1]
    network.identity("client")
    tunnel, socks = free_port(), free_port()
    (network.directory / "node.json").write_text(
        f'{{ // a comment\n "key": "network.key", "identity": "node.key",\n'
        f'"node": {{"listen": ["127.0.0.1:{tunnel}"], "exit_policy": {{"allow": ["private"]}}}} }}')
    (network.directory / "client.json").write_text(
        f'{{ "key": "network.key", "identity": "client.key", /* another */\n'
        f'"server": {{"listen": "127.0.0.1:{socks}"}},\n'
        f'"nodes": [{{"id": "{node_id}", "addrs": ["127.0.0.1:{tunnel}"]}}]}}')
    for role in ("node", "client"):
        program = Program(network, role, role, ["--config", network.directory / f"{role}.json"])
        network.programs.append(program)
        program.start().wait_ready()
    with dial(("127.0.0.1", socks), echo) as app:
        app.send(b"x")
        assert app.receive(1) == b"x"


def test_flags_beat_the_file(network: Network, echo):
    from socks5 import dial
    node = network.node()
    client = network.client(node, config={"server": {"listen": "127.0.0.1:1"},
                                          "nodes": [{"id": network.identity("x")[1], "addrs": ["127.0.0.1:1"]}]})
    with dial(client.socks, echo) as app:
        app.send(b"x")
        assert app.receive(1) == b"x"


def test_multiaddr(network: Network, echo):
    from socks5 import dial
    node = network.node()
    client = network.client(f"/ip4/127.0.0.1/tcp/{node.tunnel[1]}/p2p/{node.id}")
    dial(client.socks, echo).close()


def test_ipv6_tunnel_and_socks(network: Network, echo, ipv6):
    from socks5 import dial
    node = network.node(listen=("::1", free_port("::1")))
    client = network.client(node, socks=("::1", free_port("::1")))
    dial(client.socks, echo).close()


def test_json_log(network: Network):
    node = network.node("--log-format", "json")
    lines = [line for line in node.log().splitlines() if not line.startswith("$ ")]
    assert lines
    for line in lines:
        assert isinstance(json.loads(line), dict), line


@pytest.mark.parametrize("flags", [("--cores", "0"), ("--cores", "0", "--busy-poll"), ("--cores", "auto")],
                         ids=["one-core", "busy-poll", "auto"])
def test_cores_and_busy_polling(network: Network, echo, flags):
    from socks5 import dial
    node = network.node(*flags)
    client = network.client(node, arguments=flags)
    for _ in range(20):
        with dial(client.socks, echo) as app:
            app.send(b"x")
            assert app.receive(1) == b"x"
    for program in (client, node):
        assert program.terminate() == 0


def test_names_cannot_forge_log_lines(network: Network):
    """What an application asks for is printed, at most, as one field of one line."""
    import socks5
    flags = ("--log-format", "json", "--log-level", "debug")
    node = network.node(*flags)
    client = network.client(node, arguments=flags)
    for name in (b'a\n{"level":"error","message":"forged"}', b"\x1b[2J", b'"}', b"\xff\xfe", b"nul\0"):
        with socks5.Connection(client.socks) as app:
            app.greet()
            app.send(b"\x05\x01\x00" + socks5.domain(name, 80))
            assert app.receive_reply()[0] != 0
    for program in (node, client):
        for line in program.log().splitlines()[1:]:
            assert json.loads(line).get("message") != "forged", line
            assert "\x1b" not in line


def test_no_secret_in_arguments_or_log(network: Network, echo):
    from pathlib import Path
    from socks5 import dial
    node = network.node("--log-level", "debug")
    client = network.client(node, arguments=("--log-level", "debug"))
    dial(client.socks, echo).close()
    secrets = [network.key.read_text().splitlines()[2]] + [program.identity.read_text().splitlines()[1]
                                                           for program in (node, client)]
    for program in (node, client):
        shown = program.log()
        for pid in program.pids():
            shown += Path(f"/proc/{pid}/cmdline").read_text()
            if os.access(f"/proc/{pid}/environ", os.R_OK):
                shown += Path(f"/proc/{pid}/environ").read_text()
        for secret in secrets:
            assert secret not in shown
