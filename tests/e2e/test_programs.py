"""Programs that people use, through the proxy: curl, PySocks, socksify, wget, ssh, git, nc."""

import getpass
import hashlib
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

import servers
from harness import address, environment, free_port, run, wait_until

SIZE = 3 << 20
"""Bytes of an ordinary download."""


def need(program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")


def curl(*arguments):
    return run("curl", "--silent", "--show-error", "--fail", *arguments, timeout=30)


def url(where, path: str = f"/bytes/{SIZE}", host: str | None = None) -> str:
    return f"http://{address(host or where[0], where[1])}{path}"


def downloaded(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("option", ["--socks5", "--socks5-hostname"])
@pytest.mark.parametrize("host", [None, "localhost"])
def test_curl(proxy, web, tmp_path, option, host):
    done = curl(option, "%s:%d" % proxy, "-o", tmp_path / "out", url(web, host=host))
    assert done.returncode == 0, done.stderr
    assert downloaded(tmp_path / "out") == servers.pattern_hash(SIZE)


@pytest.mark.parametrize("option", ["--socks5", "--socks5-hostname"])
def test_curl_ipv6_literal(proxy, loop, tmp_path, option, ipv6):
    web = loop.serve(servers.http(), "::1")
    done = curl(option, "%s:%d" % proxy, "-o", tmp_path / "out", url(web))
    assert done.returncode == 0, done.stderr
    assert downloaded(tmp_path / "out") == servers.pattern_hash(SIZE)


def test_curl_sees_the_true_error(proxy, nobody_listens):
    done = curl("--socks5-hostname", "%s:%d" % proxy, url(nobody_listens))
    assert done.returncode == 97 and "(5)" in done.stderr, done.stderr
    done = curl("--socks5-hostname", "%s:%d" % proxy, "http://no-such-name.invalid/")
    assert done.returncode == 97 and "(4)" in done.stderr, done.stderr


def test_curl_user_and_password(network, web, tmp_path):
    client = network.client(network.node(), config={"server": {"auth": True, "user": "me", "pass": "pass word"}})
    where = "%s:%d" % client.socks
    good = curl("--socks5-basic", "--socks5", where, "--proxy-user", "me:pass word", "-o", tmp_path / "out", url(web))
    assert good.returncode == 0, good.stderr
    assert downloaded(tmp_path / "out") == servers.pattern_hash(SIZE)
    for user in ("me:wrong", "you:pass word", "me:"):
        assert curl("--socks5-basic", "--socks5", where, "--proxy-user", user, url(web)).returncode == 97, user
    assert curl("--socks5", where, url(web)).returncode == 97


def test_curl_in_parallel(proxy, web, tmp_path):
    targets = []
    for number in range(20):
        targets += [url(web, f"/bytes/{100_000 + number}"), "-o", tmp_path / f"{number}"]
    done = curl("--parallel", "--parallel-max", "20", "--socks5", "%s:%d" % proxy, *targets)
    assert done.returncode == 0, done.stderr
    for number in range(20):
        assert downloaded(tmp_path / f"{number}") == servers.pattern_hash(100_000 + number)


def test_pysocks(proxy, echo):
    """In a process of its own, away from the helpers of this folder."""
    script = """
import socks, sys
s = socks.socksocket()
s.set_proxy(socks.SOCKS5, sys.argv[1], int(sys.argv[2]), rdns=True)
s.settimeout(10)
s.connect(("localhost", int(sys.argv[4])))
s.sendall(b"through PySocks")
print(s.recv(100).decode(), s.get_proxy_peername())
"""
    done = run("/usr/bin/python3", "-c", script, *proxy, *echo, cwd="/")
    if "No module named 'socks'" in done.stderr:
        pytest.skip("python3-socks is not installed")
    assert done.returncode == 0 and done.stdout.startswith("through PySocks"), done.stdout + done.stderr


@pytest.mark.parametrize("program", ["curl", "wget"])
def test_socksify(proxy, web, tmp_path, program):
    need("socksify")
    need(program)
    config = tmp_path / "socks.conf"
    config.write_text("resolveprotocol: fake\nroute {\n  from: 0.0.0.0/0 to: 0.0.0.0/0 via: %s port = %d\n"
                      "  proxyprotocol: socks_v5\n  command: connect\n  protocol: tcp\n  method: none\n}\n" % proxy)
    command = {"curl": ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "-o", tmp_path / "out"],
               "wget": ["wget", "--quiet", "--no-proxy", "-O", tmp_path / "out"]}[program]
    done = run("socksify", *command, url(web), env=environment(SOCKS_CONF=str(config)))
    assert done.returncode == 0, done.stderr
    assert downloaded(tmp_path / "out") == servers.pattern_hash(SIZE)


def test_nc(proxy, echo):
    """nc -N ends its direction after the input: the answer must still come."""
    need("nc")
    done = subprocess.run(["nc", "-N", "-X", "5", "-x", "%s:%d" % proxy, echo[0], str(echo[1])], input=b"over nc",
                          capture_output=True, timeout=20, env=environment(), check=False)
    assert (done.returncode, done.stdout) == (0, b"over nc"), done.stderr


# ---------------------------------------------------------------------------------------------------------- ssh and git

@pytest.fixture
def sshd(tmp_path):
    """A private sshd: address and the options that a client needs."""
    server = "/usr/sbin/sshd"
    if pwd.getpwuid(os.geteuid()).pw_shell.endswith(("nologin", "false")):
        pytest.skip("this user has no shell to log in with")
    if not Path(server).exists():
        pytest.skip("sshd is not installed")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        assert run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name).returncode == 0
    (tmp_path / "authorized").write_text((tmp_path / "user.pub").read_text())
    port = free_port()
    (tmp_path / "sshd_config").write_text(f"""
Port {port}
ListenAddress 127.0.0.1
HostKey {tmp_path}/host
PidFile none
AuthorizedKeysFile {tmp_path}/authorized
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
""")
    log = open(tmp_path / "sshd.log", "wb")
    process = subprocess.Popen([server, "-D", "-e", "-f", tmp_path / "sshd_config"], stdout=log, stderr=log,
                               env=environment(), start_new_session=True)
    wait_until(lambda: b"Server listening" in (tmp_path / "sshd.log").read_bytes(), 10, "sshd")
    options = ["-F", "none", "-i", str(tmp_path / "user"), "-o", "StrictHostKeyChecking=no", "-o",
               "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-p", str(port),
               "-l", getpass.getuser()]
    yield options
    process.terminate()
    process.wait(10)
    log.close()


def through(proxy) -> list[str]:
    return ["-o", "ProxyCommand=nc -X 5 -x %s:%d %%h %%p" % proxy]


def test_ssh(proxy, sshd):
    need("ssh")
    need("nc")
    done = run("ssh", *sshd, *through(proxy), "127.0.0.1", "echo from the far side; exit 7")
    assert (done.returncode, done.stdout) == (7, "from the far side\n"), done.stderr


def test_ssh_bulk(proxy, sshd):
    need("ssh")
    need("nc")
    process = subprocess.Popen(["ssh", *sshd, *through(proxy), "127.0.0.1", "head -c 33554432 /dev/zero"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment())
    digest = hashlib.sha256()
    while data := process.stdout.read(1 << 20):
        digest.update(data)
    assert process.wait() == 0
    assert digest.hexdigest() == hashlib.sha256(bytes(33554432)).hexdigest()


@pytest.fixture
def repository(tmp_path):
    """A bare repository, ready for the plain HTTP protocol too."""
    need("git")
    work, bare = tmp_path / "work", tmp_path / "served" / "project.git"
    bare.parent.mkdir()
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "init.defaultBranch=main",
           "-c", "commit.gpgsign=false"]
    assert run(*git, "init", "-q", work).returncode == 0
    (work / "large").write_bytes(os.urandom(2 << 20))
    (work / "small").write_text("text\n")
    for command in (["add", "."], ["commit", "-q", "-m", "one"]):
        done = run(*git, *command, cwd=work)
        assert done.returncode == 0, done.stderr
    assert run(*git, "clone", "-q", "--bare", work, bare).returncode == 0
    assert run(*git, "update-server-info", cwd=bare).returncode == 0
    return bare, work


def test_git_over_http(proxy, loop, repository, tmp_path):
    bare, work = repository
    web = loop.serve(servers.http(bare.parent))
    done = run("git", "-c", "http.proxy=socks5h://%s:%d" % proxy, "clone", "-q", url(web, "/project.git"),
               tmp_path / "clone")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clone" / "large").read_bytes() == (work / "large").read_bytes()


def test_git_over_ssh(proxy, sshd, repository, tmp_path):
    bare, work = repository
    command = " ".join(f"'{part}'" for part in ["ssh", *sshd, *through(proxy)])
    done = run("git", "clone", "-q", f"ssh://127.0.0.1{bare}", tmp_path / "clone", env=environment(
        GIT_SSH_COMMAND=command, GIT_SSH_VARIANT="simple"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clone" / "large").read_bytes() == (work / "large").read_bytes()
