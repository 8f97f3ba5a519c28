"""Starts real nodes and clients in a directory of their own, waits for them, and leaves nothing behind.

A Network owns one network key and any number of programs. Every process gets an environment variable that names this
test run, so that whatever it starts can be found and ended even when the test, or the program, went wrong.
"""

import ctypes
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("QANAT_BIN", ROOT / "build" / "bin"))
QANAT = BIN / "qanat"

# Sanitizer builds and loaded machines: every bound on time is multiplied by this.
TIME_SCALE = float(os.environ.get("QANAT_TEST_TIME_SCALE", "1"))
RUN_MARK = f"QANAT_TEST_RUN={os.getpid()}-{random.getrandbits(32):08x}"
ALLOW_LOOPBACK = ("--allow", "127.0.0.0/8", "--allow", "::1/128")


def wait_until(condition, timeout: float = 10, what: str = "the condition"):
    """The first true value of condition(); fails after timeout seconds."""
    deadline = time.monotonic() + timeout * TIME_SCALE
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout * TIME_SCALE:g} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


_handed_out: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody uses, outside the ephemeral range so that no outgoing connection takes it meanwhile."""
    for _ in range(2000):
        port = random.randrange(18000, 32000)
        if port in _handed_out:
            continue
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        _handed_out.add(port)
        return port
    raise RuntimeError("no free port")


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def run(*command, timeout: float = 30, **options) -> subprocess.CompletedProcess:
    options.setdefault("env", environment())
    options.setdefault("errors", "replace")
    return subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          timeout=timeout * TIME_SCALE, check=False, **options)


def qanat(*arguments, **options) -> subprocess.CompletedProcess:
    return run(QANAT, *arguments, **options)


def environment(**extra) -> dict[str, str]:
    name, _, value = RUN_MARK.partition("=")
    return {**os.environ, name: value, **extra}


def marked_processes() -> list[int]:
    """Every process of this test run, the test itself not included."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                if RUN_MARK.encode() in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    found.append(int(entry))
            except OSError:
                pass
    # The environment of a process that cannot be dumped is hidden from everybody but root; its parent's is not.
    for pid in found:
        found += [child for child in children(pid) if child not in found]
    return found


def kill_leftovers() -> list[str]:
    """Ends what is left of this run; the names of what there was."""
    names = []
    for pid in marked_processes():
        try:
            names.append(f"{process_name(pid)}[{pid}]")
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    return names


def process_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def process_state(pid: int) -> str | None:
    """One letter, or None when the process does not exist. Zombies count as gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
    return None if state == "Z" else state


def children(pid: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry))
    return found


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def proportional_kib(pid: int) -> float:
    """What the process has in memory, shared pages by their share. Of one that cannot be dumped: for root only."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    return 0.0


def open_files(pid: int) -> list[str]:
    found = []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{entry}"))
        except OSError:
            pass
    return found


class Program:
    """One `qanat node` or `qanat client` with its data plane."""

    def __init__(self, network: "Network", role: str, name: str, arguments: list, netns: str | None = None,
                 nofile: int | None = None, memlock: int | None = None, hosts: Path | None = None):
        self.network = network
        self.role = role
        self.name = name
        self.netns = netns
        self.admin = network.directory / f"{name}.sock"
        self.log_path = network.directory / f"{name}.log"
        self.arguments = [QANAT, role, *arguments, "--admin", self.admin]
        self.limits = {resource.RLIMIT_NOFILE: nofile, resource.RLIMIT_MEMLOCK: memlock}
        self.hosts = hosts
        self.process: subprocess.Popen | None = None
        self.expected_to_end = False
        self._data_plane_seen: int | None = None

    def start(self) -> "Program":
        command = [str(part) for part in self.arguments]
        if self.netns:
            command = ["ip", "netns", "exec", self.netns, *command]
        if self.hosts:
            # A mount namespace of its own with another /etc/hosts; exec keeps the process id.
            script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", script, "sh", str(self.hosts), *command]
        limits = {what: limit for what, limit in self.limits.items() if limit is not None}

        def set_limits():
            for what, limit in limits.items():
                resource.setrlimit(what, (limit, limit))

        with open(self.log_path, "ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, env=environment(),
                                            preexec_fn=set_limits if limits else None)
        self.expected_to_end = False
        self._data_plane_seen = None
        return self

    @property
    def pid(self) -> int:
        return self.process.pid

    def data_plane(self) -> int | None:
        found = [pid for pid in children(self.pid) if process_name(pid) == "qanat-dataplane"]
        return found[0] if found else None

    def pids(self) -> list[int]:
        data_plane = self.data_plane()
        return [self.pid] + ([data_plane] if data_plane else [])

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def status(self) -> dict | None:
        """`status --json`, or None while it does not answer."""
        done = qanat("status", "--json", "--admin", self.admin)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def connected(self) -> bool:
        """Of a client: it has a session with a node."""
        return ((self.status() or {}).get("sessions") or {}).get("active", 0) > 0

    def wait_ready(self, timeout: float = 10) -> "Program":
        """A node that listens; a client that listens and has a session."""
        def ready():
            if not self.running():
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log()}")
            if not self.admin.exists() or not (self.status() or {}).get("ready"):
                return False
            return self.role == "node" or self.connected()

        wait_until(ready, timeout, f"readiness of {self.name}")
        self._data_plane_seen = self.data_plane()
        return self

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def signal(self, number: int) -> None:
        self.expected_to_end = True
        os.kill(self.pid, number)

    def wait_exit(self, timeout: float = 10) -> int:
        try:
            return self.process.wait(timeout * TIME_SCALE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs {timeout * TIME_SCALE:g} s later") from None

    def terminate(self, timeout: float = 10) -> int:
        self.signal(signal.SIGTERM)
        return self.wait_exit(timeout)

    def kill(self) -> None:
        """SIGKILL to both planes at once."""
        self.expected_to_end = True
        if self.process is None:
            return
        for pid in reversed(self.pids()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(10)

    def restarted_data_plane(self) -> None:
        """The test replaced the data plane on purpose."""
        self._data_plane_seen = self.data_plane()

    def complaint(self) -> str | None:
        """What went wrong behind the test's back, if anything did."""
        if self.process is None or self.expected_to_end:
            return None
        if not self.running():
            return f"{self.name} ended on its own with status {self.process.returncode}"
        if self._data_plane_seen and self._data_plane_seen != self.data_plane():
            return f"the data plane of {self.name} was replaced behind the test's back"
        return None


class Network:
    """A network key, nodes and clients, and the directory with their files."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="qanat-e2e-"))
        self.key = self.directory / "network.key"
        self.programs: list[Program] = []
        done = qanat("keygen", "--out", self.key)
        assert done.returncode == 0, f"keygen failed: {done.stdout}{done.stderr}"

    def identity(self, name: str) -> tuple[Path, str]:
        """Identity file and id."""
        path = self.directory / f"{name}.key"
        done = qanat("id", "--identity", path)
        assert done.returncode == 0, f"id failed: {done.stdout}{done.stderr}"
        return path, done.stdout.strip()

    def _add(self, role: str, name: str | None, arguments: list, start: bool, **options) -> Program:
        name = name or f"{role}{len(self.programs)}"
        identity, node_id = self.identity(name)
        program = Program(self, role, name, [*arguments, "--key", self.key, "--identity", identity], **options)
        program.identity, program.id = identity, node_id
        self.programs.append(program)
        if start:
            program.start()
        return program

    def node(self, *arguments, allow=ALLOW_LOOPBACK, listen: tuple[str, int] | None = None, config: dict | None = None,
             name=None, start: bool = True, wait: bool = True, **options) -> Program:
        """options: those of Program. config: the contents of a config file."""
        host, port = listen or ("127.0.0.1", free_port())
        extra = [*arguments, *self._config(config)]
        program = self._add("node", name, ["--listen", address(host, port), *allow, *extra], start, **options)
        program.tunnel = (host, port)
        program.address = f"{program.id}@{address(host, port)}"
        return program.wait_ready() if start and wait else program

    def client(self, *nodes, arguments=(), socks: tuple[str, int] | None = None, config: dict | None = None,
               name=None, start: bool = True, wait: bool = True, **options) -> Program:
        """nodes: Programs or address strings."""
        host, port = socks or ("127.0.0.1", free_port())
        extra = [*arguments, *self._config(config)]
        for node in nodes:
            extra += ["--node", node if isinstance(node, str) else node.address]
        program = self._add("client", name, ["--socks", address(host, port), *extra], start, **options)
        program.socks = (host, port)
        return program.wait_ready() if start and wait else program

    def _config(self, config: dict | None) -> list:
        if config is None:
            return []
        path = self.directory / f"config{len(self.programs)}.json"
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return ["--config", path]

    def logs(self) -> list[tuple[str, str]]:
        return [(program.name, program.log()) for program in self.programs]

    def complaints(self) -> list[str]:
        found = [complaint for program in self.programs if (complaint := program.complaint())]
        for name, log in self.logs():
            for sign in ("AddressSanitizer", "ThreadSanitizer", "runtime error:", "LeakSanitizer"):
                if sign in log:
                    found.append(f"{name}: {sign} in its log")
        return found

    def close(self) -> None:
        for program in reversed(self.programs):
            program.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


# --------------------------------------------------------------------------------------------------- network namespaces

_libc = ctypes.CDLL(None, use_errno=True)


def in_namespace(name: str, function):
    """function() with the calling thread in a network namespace; a socket made there stays there."""
    result: list = []

    def body():
        try:
            with open(f"/run/netns/{name}", encoding="ascii") as handle:
                if _libc.setns(handle.fileno(), 0x40000000) != 0:  # CLONE_NEWNET
                    raise OSError(ctypes.get_errno(), "setns")
            result.append(function())
        except BaseException as error:  # handed to the caller
            result.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


class Namespaces:
    """Two hosts, client and node, joined by one cable.

        client 10.211.0.1, fd21::1  ────────  10.211.0.2, fd21::2 node
    """

    CLIENT_IP, NODE_IP = "10.211.0.1", "10.211.0.2"
    NODE_IP6 = "fd21::2"

    def __init__(self):
        tag = f"q{os.getpid() % 100000}{random.getrandbits(12):03x}"
        self.client, self.node = f"{tag}c", f"{tag}n"
        self._made: list[str] = []
        try:
            for name in (self.client, self.node):
                self._ip("netns", "add", name)
                self._made.append(name)
                self._ip("-n", name, "link", "set", "lo", "up")
            self._ip("link", "add", "tunnel", "netns", self.client, "type", "veth",
                     "peer", "name", "tunnel", "netns", self.node)
            for name, ip, ip6 in ((self.client, self.CLIENT_IP, "fd21::1"), (self.node, self.NODE_IP, self.NODE_IP6)):
                self._ip("-n", name, "addr", "add", f"{ip}/24", "dev", "tunnel")
                self._ip("-n", name, "addr", "add", f"{ip6}/64", "dev", "tunnel", "nodad")
                self._ip("-n", name, "link", "set", "tunnel", "up")
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _ip(*arguments) -> None:
        done = run("ip", *arguments)
        if done.returncode != 0:
            raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")

    def ip(self, name: str, *arguments) -> None:
        self._ip("-n", name, *arguments)

    def close(self) -> None:
        for name in self._made:
            run("ip", "netns", "delete", name)
