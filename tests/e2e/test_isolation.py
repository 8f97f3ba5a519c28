"""What the data plane is, and what it must not have: root, key files, long-term secrets."""

import os
from array import array
from pathlib import Path

import pytest

from harness import open_files
from socks5 import dial


def status_field(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.partition(":")[2].strip()
    return ""


def resident_runs(pid: int, start: int, end: int):
    """Runs of pages in memory between two addresses. Reading the others would only make pages of zeros."""
    page = os.sysconf("SC_PAGE_SIZE")
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        pagemap.seek(start // page * 8)
        entries = array("Q", pagemap.read((end - start) // page * 8))
    run = None
    for index, entry in enumerate(entries):
        if entry >> 62:  # present or swapped
            run = index if run is None else run
        elif run is not None:
            yield start + run * page, start + index * page
            run = None
    if run is not None:
        yield start + run * page, start + len(entries) * page


def memory_contains(pid: int, needles: dict[str, bytes]) -> set[str]:
    """Names of the needles found in the resident memory of the process."""
    found = set()
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            where, access = line.split()[:2]
            if access[0] != "r" or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            for start, end in resident_runs(pid, *(int(part, 16) for part in where.split("-"))):
                try:
                    memory.seek(start)
                    content = memory.read(end - start)
                except OSError:
                    continue  # a mapping of the kernel's that cannot be read
                found |= {name for name, needle in needles.items() if needle in content}
    return found


@pytest.mark.root
def test_data_plane_is_not_root(network):
    node = network.node()
    client = network.client(node)
    for program in (node, client):
        pid = program.data_plane()
        assert set(status_field(pid, "Uid").split()) != {"0"} and "0" not in status_field(pid, "Uid").split()
        assert "0" not in status_field(pid, "Gid").split()
        assert status_field(pid, "Groups") in ("", status_field(pid, "Gid").split()[0])
        # CAP_NET_BIND_SERVICE may stay: the SOCKS or tunnel port can be below 1024.
        for capabilities in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert int(status_field(pid, capabilities), 16) & ~(1 << 10) == 0, capabilities
        assert status_field(pid, "NoNewPrivs") == "1"


@pytest.mark.root
def test_data_plane_holds_no_long_term_secret(network, echo):
    """After streams have run and sessions were made: neither the network key nor a static key is in its memory."""
    node = network.node()
    client = network.client(node)
    for _ in range(3):
        with dial(client.socks, echo) as app:
            app.send(b"x")
            app.receive(1)
    psk = network.key.read_text().splitlines()[2]
    for program in (node, client):
        identity = program.identity.read_text().splitlines()[1]
        needles = {"psk": bytes.fromhex(psk), "psk in hex": psk.encode(),
                   "static key": bytes.fromhex(identity), "static key in hex": identity.encode()}
        # The control plane must have at least one of them, or the search finds nothing anywhere.
        assert memory_contains(program.pid, {**needles, "public id": program.id.encode()})
        assert memory_contains(program.data_plane(), needles) == set(), program.name


@pytest.mark.root
def test_data_plane_holds_no_file_of_the_configuration(network, echo):
    node = network.node()
    client = network.client(node, config={"routing": {"strategy": "random"}})
    dial(client.socks, echo).close()
    for program in (node, client):
        files = open_files(program.data_plane())
        assert files
        assert not [file for file in files if str(network.directory) in file and not file.endswith(".log")], files


def test_core_dumps_are_off(network):
    """A crash must not write session secrets to disk."""
    node = network.node()
    for pid in node.pids():
        limits = Path(f"/proc/{pid}/limits").read_text()
        line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        undumpable = os.stat(f"/proc/{pid}/mem").st_uid == 0 and os.geteuid() != 0
        assert line.split()[4] == "0" or undumpable or dumpable_is_off(pid), line


def dumpable_is_off(pid: int) -> bool:
    """The kernel gives the /proc files of an undumpable process to root: only visible when the process is not root."""
    return os.stat(f"/proc/{pid}").st_uid == 0 and status_field(pid, "Uid").split()[0] != "0"
