"""Large transfers, and many of them beside idle streams; every byte is compared by SHA-256."""

import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import servers
from harness import environment, run
from socks5 import dial

SIZES = [pytest.param(256 << 20, id="256MiB"), pytest.param(1 << 30, id="1GiB", marks=pytest.mark.long)]


@pytest.mark.parametrize("size", SIZES)
def test_download(proxy, web, size):
    curl = subprocess.Popen(["curl", "--silent", "--show-error", "--fail", "--socks5", "%s:%d" % proxy,
                             "http://%s:%d/bytes/%d" % (*web, size)], stdout=subprocess.PIPE, env=environment())
    digest = hashlib.sha256()
    while data := curl.stdout.read(1 << 20):
        digest.update(data)
    assert curl.wait() == 0
    assert digest.hexdigest() == servers.pattern_hash(size)


@pytest.mark.parametrize("size", SIZES)
def test_upload(proxy, web, size, tmp_path):
    file = tmp_path / "file"
    with open(file, "wb") as out:
        for _ in range(size // len(servers.PATTERN)):
            out.write(servers.PATTERN)
    done = run("curl", "--silent", "--show-error", "--fail", "--socks5", "%s:%d" % proxy, "-T", file,
               "http://%s:%d/up" % web, timeout=120)
    file.unlink()
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(size), servers.pattern_hash(size)]


def test_200_downloads_beside_500_idle_streams(network, loop):
    echo, web = loop.serve(servers.echo), loop.serve(servers.http())
    client = network.client(network.node())
    idle = [dial(client.socks, echo, timeout=60) for _ in range(500)]
    size = 1 << 20
    want = servers.pattern_hash(size)

    def download(_):
        with dial(client.socks, web, timeout=60) as app:
            app.send(b"GET /bytes/%d HTTP/1.1\r\n\r\n" % size)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += app.receive(1)
            digest, left = hashlib.sha256(), size
            while left:
                data = app.sock.recv(min(left, 1 << 18))
                assert data, f"{left} bytes missing"
                digest.update(data)
                left -= len(data)
            return digest.hexdigest()

    with ThreadPoolExecutor(200) as pool:
        assert set(pool.map(download, range(200))) == {want}
    for number, app in enumerate(idle):
        app.send(number.to_bytes(2, "big"))
    for number, app in enumerate(idle):
        assert app.receive(2) == number.to_bytes(2, "big")
        app.close()
