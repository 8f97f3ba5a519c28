"""The machine: packages of the peers, the build of Qanat, and what a reader must know about where figures come from."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "perf"

# program -> Debian package
PEERS = {
    "haproxy": "haproxy",
    "microsocks": "microsocks",
    "danted": "dante-server",
    "ss-server": "shadowsocks-libev",
    "stunnel4": "stunnel4",
    "spiped": "spiped",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
}
SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"


class Unusable(Exception):
    """Something is missing; the message says what and what to do."""


def which(program: str) -> str | None:
    return shutil.which(program, path=SEARCH)


def install(programs: list[str]) -> None:
    """Installs the packages of programs that are missing. What cannot be installed is left to the caller to notice."""
    missing = sorted({PEERS[program] for program in programs if program in PEERS and not which(program)})
    if not missing:
        return
    apt = shutil.which("apt-get")
    if not apt or (os.geteuid() != 0 and not shutil.which("sudo")):
        print(f"not installed and no way to install: {' '.join(missing)}", file=sys.stderr)
        return
    print(f"installing with apt-get: {' '.join(missing)}", file=sys.stderr, flush=True)
    command = [] if os.geteuid() == 0 else ["sudo"]
    # Debian starts daemons when it installs them; a policy of our own keeps them from starting.
    policy = Path("/usr/sbin/policy-rc.d")
    own_policy = os.geteuid() == 0 and not policy.exists()
    if own_policy:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        options = ["-qq", "-o", "DPkg::Lock::Timeout=300"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        environment = [*command, "env", "DEBIAN_FRONTEND=noninteractive", apt, *options]
        subprocess.run([*environment, "update"], check=False, **quiet)
        done = subprocess.run([*environment, "install", "-y", "--no-install-recommends", *missing], check=False, **quiet)
        if done.returncode != 0:
            print(f"apt-get could not install: {' '.join(missing)}; those systems are left out", file=sys.stderr)
    finally:
        if own_policy:
            policy.unlink()


def build(verbose: bool = False) -> Path:
    """Builds Qanat and the load generator in release below build/perf; the folder with the programs."""
    targets = ["qanat", "qanat-dataplane", "qanat-loadgen"]
    configure = ["cmake", "-S", str(ROOT), "-B", str(BUILD), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                 "-DCMAKE_CXX_COMPILER=g++-12", "-DQANAT_TESTS=OFF", "-DQANAT_BENCH=ON"]
    if shutil.which("ccache"):
        configure.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
    packages = subprocess.run(["bash", "-c", "source tools/packages.sh && ensure_packages build"], cwd=ROOT, check=False)
    if packages.returncode != 0:
        raise Unusable("packages that the build needs are missing")
    for command in (configure, ["cmake", "--build", str(BUILD), "--target", *targets]):
        done = subprocess.run(command, cwd=ROOT, text=True, check=False,
                              stdout=None if verbose else subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise Unusable(f"the build failed: {' '.join(command)}\n{(done.stdout or '')[-4000:]}")
    return BUILD / "bin"


def version_of(program: str) -> str:
    path = which(program)
    package = PEERS.get(program)
    if not path or not package:
        return ""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False)
    return f"{package} {done.stdout.strip()}"


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    return done.stdout.strip() or "unknown"


def describe() -> dict:
    """What to print above figures."""
    cpu = ""
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory.group(1)) / 2**20, 1) if memory else 0,
        "kernel": platform.release(),
        "congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "virtual": "hypervisor" in Path("/proc/cpuinfo").read_text(errors="replace"),
        "mitigations_off": "mitigations=off" in Path("/proc/cmdline").read_text(errors="replace"),
        "commit": commit(),
    }
