"""The systems under test. To add one: write a class with a name, the programs it needs, and start(); list it in ALL.

A plain hop is one proxy that carries bytes as they are; a chain is two, with an encrypted line between them. The line of
a chain, or the way to a plain hop, can be made long: Site.through() puts a delay hop in front of a port when asked to.
"""

import json
import secrets
import subprocess
from pathlib import Path

from . import machine, processes


class Site:
    """What a system needs to come up: a folder, ports, the core, the target, and the delay to put on its line."""

    def __init__(self, folder: Path, binaries: Path, core: int, loadgen_core: int, one_way_ms: float = 0):
        self.folder = folder
        self.binaries = binaries
        self.core = core
        self.loadgen_core = loadgen_core
        self.one_way_ms = one_way_ms
        self.roots: list[tuple[str, subprocess.Popen]] = []    # label, process: counted
        self.helpers: list[tuple[str, subprocess.Popen]] = []  # not counted
        self._next_port = 21000 + secrets.randbelow(400) * 20  # below the ephemeral ports
        self.target = self.port()  # of the load generator's server

    def port(self) -> int:
        taken = processes.listening_ports()
        while True:
            self._next_port += 1
            if self._next_port not in taken:
                return self._next_port

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def start(self, label: str, command: list, log: bool = True) -> None:
        path = self.folder / f"{label}.log" if log else Path("/dev/null")
        self.roots.append((label, processes.start(command, self.core, path)))

    def assist(self, label: str, command: list) -> None:
        """A program that belongs to the workload and not to the system: beside the load generator, not counted."""
        self.helpers.append((label, processes.start(command, self.loadgen_core, self.folder / f"{label}.log")))

    def wait_port(self, port: int) -> None:
        processes.wait_for(lambda: port in processes.listening_ports(), f"listening on port {port}",
                           self.roots + self.helpers, self.folder)

    def through(self, port: int) -> int:
        """A port that leads to `port`, over the delayed line when there is one."""
        if self.one_way_ms == 0:
            return port
        near = self.port()
        label = f"delay{len(self.helpers)}"
        self.helpers.append((label, processes.start(
            [self.binaries / "qanat-loadgen", "delay", "--listen", f"127.0.0.1:{near}", "--to", f"127.0.0.1:{port}",
             "--delay-ms", self.one_way_ms], self.loadgen_core, self.folder / f"{label}.log")))
        processes.wait_for(lambda: near in processes.listening_ports(), "the delay hop", self.helpers, self.folder)
        return near

    def close(self) -> None:
        processes.end_all(self.roots + self.helpers)


class System:
    name = ""
    title = ""
    programs: tuple[str, ...] = ()
    kind = "chain"            # or "plain"
    streams_max = 10_000      # more than that it cannot do, or takes too long to
    quick = False             # measured with --quick
    # Only these measurements make sense; empty: all.
    only: tuple[str, ...] = ()

    def start(self, site: Site) -> str:
        """Brings it up; the --via for the load generator."""
        raise NotImplementedError


class Direct(System):
    """No hop: the load generator's client and server, joined by loopback. The rest of every other round trip."""

    name, title, kind = "direct", "no hop", "plain"
    only = ("round-trip", "round-trip-spin")

    def start(self, _site: Site) -> str:
        return "direct"


class HAProxy(System):
    name, title, programs, kind, quick = "haproxy-tcp", "HAProxy, TCP mode, copying", ("haproxy",), "plain", True
    splice = ""

    def start(self, site: Site) -> str:
        port = site.port()
        streams = min(30_000, processes.streams_possible() - 100)
        config = site.write("haproxy.cfg", f"""
global
    nbthread 1
    maxconn {streams}
    maxpipes 100
defaults
    mode tcp
    maxconn {streams}
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    {self.splice}
listen hop
    bind 127.0.0.1:{port}
    server target 127.0.0.1:{site.target}
""")
        site.start("haproxy", [machine.which("haproxy"), "-db", "-f", config])
        site.wait_port(port)
        return f"tcp=127.0.0.1:{site.through(port)}"


class HAProxySplice(HAProxy):
    name, title = "haproxy-tcp-splice", "HAProxy, TCP mode, splice"
    splice = "option splice-request\n    option splice-response"


class Microsocks(System):
    name, title, programs, kind = "microsocks", "microsocks", ("microsocks",), "plain"

    def start(self, site: Site) -> str:
        port = site.port()
        site.start("microsocks", [machine.which("microsocks"), "-i", "127.0.0.1", "-p", port],
                   log=False)  # a line per connection
        site.wait_port(port)
        return f"socks5=127.0.0.1:{site.through(port)}"


class Dante(System):
    name, title, programs, kind = "dante", "Dante", ("danted",), "plain"
    streams_max = 1000

    def start(self, site: Site) -> str:
        port = site.port()
        config = site.write("danted.conf", f"""
logoutput: {site.folder}/danted-own.log
errorlog: {site.folder}/danted-own.log
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 log: error }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 log: error }}
""")
        site.start("dante", [machine.which("danted"), "-f", config, "-p", site.folder / "danted.pid"])
        site.wait_port(port)
        return f"socks5=127.0.0.1:{site.through(port)}"


class Shadowsocks(System):
    name, title = "shadowsocks-chacha20", "shadowsocks-libev, ChaCha20-Poly1305"
    programs, quick = ("ss-server", "ss-local"), True
    method = "chacha20-ietf-poly1305"

    def start(self, site: Site) -> str:
        server, local = site.port(), site.port()
        common = ["-k", secrets.token_hex(16), "-m", self.method, "-t", 3600, "--no-delay"]
        site.start("server", [machine.which("ss-server"), "-s", "127.0.0.1", "-p", server, *common])
        site.wait_port(server)
        site.start("client", [machine.which("ss-local"), "-s", "127.0.0.1", "-p", site.through(server), "-b", "127.0.0.1",
                              "-l", local, *common])
        site.wait_port(local)
        return f"socks5=127.0.0.1:{local}"


class ShadowsocksAes(Shadowsocks):
    name, title, quick = "shadowsocks-aes128", "shadowsocks-libev, AES-128-GCM", False
    method = "aes-128-gcm"


class Stunnel(System):
    name, title, programs = "stunnel", "stunnel, TLS 1.3 with a pre-shared key", ("stunnel4",)
    streams_max = 1000

    def start(self, site: Site) -> str:
        server, local = site.port(), site.port()
        keys = site.write("psk.txt", f"one:{secrets.token_hex(32)}\n", 0o600)
        for label, is_client, accept, connect in (("server", "no", server, lambda: site.target),
                                                  ("client", "yes", local, lambda: site.through(server))):
            config = site.write(f"stunnel-{label}.conf", f"""
foreground = yes
syslog = no
debug = 3
pid =
[line]
client = {is_client}
accept = 127.0.0.1:{accept}
connect = 127.0.0.1:{connect()}
PSKsecrets = {keys}
""")
            site.start(label, [machine.which("stunnel4"), config])
            site.wait_port(accept)
        return f"tcp=127.0.0.1:{local}"


class Spiped(System):
    name, title, programs = "spiped", "spiped", ("spiped",)
    streams_max = 100  # its handshakes take milliseconds, and it gives up on those that wait for long

    def start(self, site: Site) -> str:
        server, local = site.port(), site.port()
        key = site.folder / "spiped.key"
        key.write_bytes(secrets.token_bytes(32))
        common = ["-F", "-k", key, "-n", 0]
        site.start("server", [machine.which("spiped"), "-d", "-s", f"[127.0.0.1]:{server}", "-t",
                              f"[127.0.0.1]:{site.target}", *common])
        site.wait_port(server)
        site.start("client", [machine.which("spiped"), "-e", "-s", f"[127.0.0.1]:{local}", "-t",
                              f"[127.0.0.1]:{site.through(server)}", *common])
        site.wait_port(local)
        return f"tcp=127.0.0.1:{local}"


class Ssh(System):
    name, title, programs = "ssh-D", "OpenSSH, ssh -D", ("ssh", "sshd")
    streams_max = 1000

    def start(self, site: Site) -> str:
        server, local = site.port(), site.port()
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", site.folder / name], check=True,
                           stdin=subprocess.DEVNULL)
        authorized = site.write("authorized", (site.folder / "user.pub").read_text(), 0o600)
        config = site.write("sshd_config", f"""
ListenAddress 127.0.0.1
Port {server}
HostKey {site.folder}/host
AuthorizedKeysFile {authorized}
StrictModes no
UsePAM no
PermitRootLogin yes
PidFile none
LogLevel ERROR
""")
        try:
            Path("/run/sshd").mkdir(exist_ok=True)  # where sshd wants to chroot to
        except OSError:
            pass
        site.start("server", [machine.which("sshd"), "-D", "-e", "-f", config])
        site.wait_port(server)
        site.start("client", [machine.which("ssh"), "-N", "-F", "none", "-D", f"127.0.0.1:{local}", "-p",
                              site.through(server), "-i", site.folder / "user", "-o", "IdentitiesOnly=yes", "-o",
                              "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
                              "LogLevel=ERROR", "127.0.0.1"])
        site.wait_port(local)
        return f"socks5=127.0.0.1:{local}"


class QanatChain(System):
    name, title, quick = "qanat-chain", "Qanat, client and exit node", True
    extra: tuple[str, ...] = ()

    def start(self, site: Site) -> str:
        ids = self.make_keys(site, "node", "client")
        tunnel, socks = site.port(), site.port()
        site.start("node", self.command(site, "node", site.core, "--listen", f"127.0.0.1:{tunnel}",
                                        "--allow", "127.0.0.0/8"))
        site.wait_port(tunnel)
        site.start("client", self.command(site, "client", site.core, "--socks", f"127.0.0.1:{socks}",
                                          "--node", f"{ids['node']}@127.0.0.1:{site.through(tunnel)}"))
        self.wait_for_session(site, socks)
        return f"socks5=127.0.0.1:{socks}"

    @staticmethod
    def make_keys(site: Site, *names: str) -> dict[str, str]:
        """A network key and identities; the ids by name."""
        qanat = site.binaries / "qanat"
        subprocess.run([qanat, "keygen", "--out", site.folder / "network.key"], check=True, stdout=subprocess.DEVNULL)
        return {name: subprocess.run([qanat, "id", "--identity", site.folder / f"{name}.key"], check=True, text=True,
                                     stdout=subprocess.PIPE).stdout.strip() for name in names}

    def command(self, site: Site, name: str, core: int, *arguments) -> list:
        role = "client" if name == "client" else "node"
        return [site.binaries / "qanat", role, "--identity", site.folder / f"{name}.key", "--key",
                site.folder / "network.key", "--admin", site.folder / f"{name}.sock", "--cores", core, *self.extra,
                *arguments]

    @staticmethod
    def wait_for_session(site: Site, socks: int) -> None:
        site.wait_port(socks)

        def has_session() -> bool:
            done = processes.run_on(site.core, [site.binaries / "qanat", "status", "--json", "--admin",
                                                site.folder / "client.sock"], 5)
            return done.returncode == 0 and json.loads(done.stdout).get("sessions", {}).get("active", 0) > 0

        processes.wait_for(has_session, "a session between client and node", site.roots + site.helpers, site.folder)


class QanatRelay(QanatChain):
    """The relay alone is the system. Client and exit run beside the load generator, which takes from the speed but not
    from the cost."""

    name, title, quick, kind = "qanat-relay", "Qanat, relay alone", True, "plain"
    only = ("bulk-down-4", "bulk-up-4", "crr-16", "round-trip", "idle-1000", "active-1000")

    def start(self, site: Site) -> str:
        ids = self.make_keys(site, "relay", "exit", "client")
        inside, socks = site.port(), site.port()
        exit_arguments, node = self.start_relay(site, ids, inside)
        own = QanatChain()  # without what is special about this relay
        site.assist("exit", own.command(site, "exit", site.loadgen_core, "--listen", f"127.0.0.1:{inside}",
                                        "--allow", "127.0.0.0/8", *exit_arguments))
        config = site.write("client.json", json.dumps({"nodes": [{"id": ids["exit"], **node}]}), 0o600)
        site.assist("client", own.command(site, "client", site.loadgen_core, "--socks", f"127.0.0.1:{socks}",
                                          "--config", config))
        self.wait_for_session(site, socks)
        return f"socks5=127.0.0.1:{socks}"

    def start_relay(self, site: Site, ids: dict[str, str], _inside: int) -> tuple[list, dict]:
        """What the exit has to be told of the relay, and the client."""
        tunnel = site.port()
        relay = f"{ids['relay']}@127.0.0.1:{tunnel}"
        site.start("relay", self.command(site, "relay", site.core, "--listen", f"127.0.0.1:{tunnel}", "--relay-mode"))
        site.wait_port(tunnel)
        return ["--connect-relay", relay], {"relay": relay}


class QanatRelayBusyPoll(QanatRelay):
    name, title, quick = "qanat-relay-busy-poll", "Qanat, relay alone, busy polling", False
    extra = ("--busy-poll",)
    only = ("bulk-down-4", "bulk-up-4", "round-trip")


class QanatWithoutRelay(QanatRelay):
    """Client and exit beside the load generator and no relay between them. A round trip is what those of `qanat-relay`
    contain besides the relay's hop: the difference is the hop alone."""

    name, title, quick = "qanat-without-relay", "Qanat, what surrounds the relay", False
    only = ("round-trip",)

    def start_relay(self, site: Site, ids: dict[str, str], inside: int) -> tuple[list, dict]:
        return [], {"addrs": [f"127.0.0.1:{inside}"]}


class QanatBusyPoll(QanatChain):
    name, title, quick = "qanat-busy-poll", "Qanat, client and exit node, busy polling", False
    extra = ("--busy-poll",)
    # A core that spins is always busy: CPU per operation would say nothing.
    only = ("bulk-down-4", "bulk-up-4", "round-trip", "round-trip-spin", "mixed-paced")


ALL: list[type[System]] = [HAProxy, HAProxySplice, Microsocks, Dante, Shadowsocks, ShadowsocksAes, Stunnel, Spiped, Ssh,
                           QanatChain, QanatBusyPoll, QanatRelay, QanatRelayBusyPoll, QanatWithoutRelay, Direct]
REFERENCE = HAProxy.name
