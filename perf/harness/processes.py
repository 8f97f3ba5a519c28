"""Starts the processes of a system on their core, waits for their ports, and ends every one of them, whatever happens."""

import ctypes
import os
import random
import resource
import signal
import subprocess
import time
from pathlib import Path

MARK = f"{os.getpid()}-{random.getrandbits(32):08x}"
MARK_NAME = "QANAT_PERF_RUN"
_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class StartFailure(Exception):
    """A program did not come up; the message holds the end of its log."""


def raise_file_limit() -> int:
    """What the load generator and the systems may open: as much as this user can have, at most 262144."""
    wanted = 1 << 18
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (wanted, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard) if limit == wanted else hard))
            return limit
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def streams_possible() -> int:
    """Both ends of every stream are in the load generator, as they are in every hop."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 300) // 2


def _prepare(core: int, dies_with_us: bool):
    def prepare():
        os.sched_setaffinity(0, {core})
        if dies_with_us:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return prepare


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**kept, MARK_NAME: MARK, "LC_ALL": "C.UTF-8"}


def start(command: list, core: int, log: Path) -> subprocess.Popen:
    with open(log, "ab") as output:
        return subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                start_new_session=True, env=environment(), preexec_fn=_prepare(core, True))


def run_on(core: int, command: list, timeout: float) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, check=False, env=environment(), preexec_fn=_prepare(core, True))


def listening_ports() -> set[int]:
    ports = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A":
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def wait_for(condition, what: str, processes: list[tuple[str, subprocess.Popen]], logs: Path, timeout: float = 15) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        for name, process in processes:
            if process.poll() is not None:
                raise StartFailure(f"{name} ended with {process.returncode}: {tail(logs / f'{name}.log')}")
        if time.monotonic() > deadline:
            raise StartFailure(f"{what} did not happen within {timeout:g} s: "
                               + "; ".join(tail(logs / f"{name}.log") for name, _ in processes))
        time.sleep(0.02)


def tail(path: Path, size: int = 600) -> str:
    try:
        return path.read_text(errors="replace")[-size:].strip()
    except OSError:
        return ""


def marked() -> list[int]:
    """Every process of this run but this one."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                variables = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"{MARK_NAME}={MARK}".encode() in variables:
                found.append(int(entry))
    return found


def end_all(processes: list[tuple[str, subprocess.Popen]]) -> None:
    """SIGTERM, a moment, SIGKILL; then whatever carries this run's mark and is still there."""
    for _, process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + 2
    for _, process in processes:
        try:
            process.wait(max(0.01, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
    for pid in marked():
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
