"""Networks of several hosts on this machine, made of network namespaces: a public segment, delayed lines, NAT boxes.

    public 10.77.0.0/24   ── host ── host ── … ── box (NAT) 10.77.0.x
                                                    └── 10.78.n.0/24 ── host

A delay is added frame by frame by a small process of ours: the kernels we test on have no netem.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

from harness import environment, in_namespace, run, wait_until

DELAY = Path(__file__).with_name("delay_line.py")


def _ip(*arguments) -> None:
    done = run("ip", *arguments)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Host:
    """A network namespace with one address. Programs start in it with netns=host.netns."""

    def __init__(self, topology: "Topology", name: str, netns: str, ip: str):
        self.topology, self.name, self.netns, self.ip = topology, name, netns, ip
        self.private: list["Host"] = []

    def link(self, state: str) -> None:
        """"down" unplugs the cable: no packet, no reset, no sign."""
        _ip("-n", self.netns, "link", "set", "eth0", state)
        if state == "up" and self.topology.gateway_of.get(self.name):
            _ip("-n", self.netns, "route", "replace", "default", "via", self.topology.gateway_of[self.name])

    def do(self, function):
        """function() with the calling thread in this host; a socket made there stays there."""
        return in_namespace(self.netns, function)

    def command(self, *arguments, **options) -> subprocess.CompletedProcess:
        return run("ip", "netns", "exec", self.netns, *arguments, **options)


class Topology:
    def __init__(self):
        self.tag = f"q{os.getpid() % 100000}{random.getrandbits(12):03x}"
        self.hosts: list[Host] = []
        self.gateway_of: dict[str, str] = {}
        self._made: list[str] = []
        self._lines: list[subprocess.Popen] = []
        self._private_nets = 0
        try:
            self.segment = self._namespace("net")
            _ip("-n", self.segment, "link", "add", "br0", "type", "bridge")
            _ip("-n", self.segment, "link", "set", "br0", "up")
        except BaseException:
            self.close()
            raise

    def _namespace(self, name: str) -> str:
        netns = f"{self.tag}{name}"
        _ip("netns", "add", netns)
        self._made.append(netns)
        _ip("-n", netns, "link", "set", "lo", "up")
        return netns

    def host(self, name: str, delay_ms: float = 0) -> Host:
        """A host on the public segment; delay_ms is added to each packet in each direction."""
        ip = f"10.77.0.{len(self.hosts) + 1}"
        host = Host(self, name, self._namespace(name), ip)
        self._attach(host.netns, "eth0", f"{ip}/24", self.segment, f"p{len(self.hosts)}", delay_ms)
        self.hosts.append(host)
        return host

    def _attach(self, netns: str, device: str, address: str, segment: str, port: str, delay_ms: float) -> None:
        _ip("link", "add", device, "netns", netns, "type", "veth", "peer", "name", port, "netns", segment)
        if delay_ms:
            # host ─ port ─ (delay) ─ port+x ─ port+y on the bridge
            _ip("-n", segment, "link", "add", f"{port}x", "type", "veth", "peer", "name", f"{port}y")
            for inner in (port, f"{port}x", f"{port}y"):
                _ip("-n", segment, "link", "set", inner, "up")
            for namespace, end in ((netns, device), (segment, f"{port}y")):
                # One frame, one packet, with its checksum: nobody completes what the line forwards.
                _ip("-n", namespace, "link", "set", end, "gso_max_segs", "1", "gso_max_size", "1500")
                run("ip", "netns", "exec", namespace, "ethtool", "-K", end, "tx", "off", "tso", "off", "gso", "off",
                    "gro", "off")
            _ip("-n", segment, "link", "set", f"{port}y", "master", "br0")
            self._lines.append(subprocess.Popen(
                ["ip", "netns", "exec", segment, sys.executable, "-s", str(DELAY), port, f"{port}x", str(delay_ms)],
                env=environment(), stdin=subprocess.DEVNULL))
        else:
            _ip("-n", segment, "link", "set", port, "master", "br0")
            _ip("-n", segment, "link", "set", port, "up")
        _ip("-n", netns, "addr", "add", address, "dev", device)
        _ip("-n", netns, "link", "set", device, "up")

    def nat(self, name: str, masquerade: str = "masquerade") -> Host:
        """A NAT box on the public segment, which lets nothing in that was not asked for; behind() gives it hosts.

        masquerade: the nftables statement, "masquerade" keeps ports where it can, "masquerade random" does not.
        """
        box = self.host(name)
        self._private_nets += 1
        box.net = f"10.78.{self._private_nets}"
        _ip("-n", box.netns, "link", "add", "br1", "type", "bridge")
        _ip("-n", box.netns, "addr", "add", f"{box.net}.1/24", "dev", "br1")
        _ip("-n", box.netns, "link", "set", "br1", "up")
        rules = f"""
table ip nat {{
    chain postrouting {{ type nat hook postrouting priority 100;
        oifname "eth0" {masquerade}
    }}
}}
table ip filter {{
    chain forward {{ type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "br1" accept
    }}
    chain input {{ type filter hook input priority 0; policy drop;
        ct state established,related accept
        iifname "lo" accept
        icmp type echo-request accept
    }}
}}
"""
        done = box.command("nft", "-f", "-", input=rules)
        if done.returncode != 0:
            raise OSError(f"nft: {done.stderr.strip()}")
        done = box.command("sysctl", "-qw", "net.ipv4.ip_forward=1")
        if done.returncode != 0:
            raise OSError(f"sysctl: {done.stderr.strip()}")
        return box

    def behind(self, box: Host, name: str) -> Host:
        """A host in the private network of a NAT box."""
        ip = f"{box.net}.{len(box.private) + 2}"
        host = Host(self, name, self._namespace(name), ip)
        _ip("link", "add", "eth0", "netns", host.netns, "type", "veth",
            "peer", "name", f"b{len(box.private)}", "netns", box.netns)
        _ip("-n", box.netns, "link", "set", f"b{len(box.private)}", "master", "br1")
        _ip("-n", box.netns, "link", "set", f"b{len(box.private)}", "up")
        _ip("-n", host.netns, "addr", "add", f"{ip}/24", "dev", "eth0")
        _ip("-n", host.netns, "link", "set", "eth0", "up")
        _ip("-n", host.netns, "route", "add", "default", "via", f"{box.net}.1")
        self.gateway_of[name] = f"{box.net}.1"
        box.private.append(host)
        return host

    def wait_reachable(self, one: Host, other: Host) -> None:
        wait_until(lambda: one.command("ping", "-c", "1", "-W", "1", other.ip).returncode == 0, 10,
                   f"{one.name} reaching {other.name}")

    def close(self) -> None:
        for line in self._lines:
            line.kill()
            line.wait(10)
        for netns in reversed(self._made):
            run("ip", "netns", "delete", netns)
