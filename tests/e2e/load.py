"""Clients that open streams without pause, from a host of a topology, and remember everything that went wrong."""

import os
import threading
import time

from harness import _libc
from socks5 import SUCCEEDED, Connection, Ended


class Load:
    """`workers` threads in host, each in turn: connect through the proxy, a message there and back, close."""

    def __init__(self, host, proxy: tuple[str, int], target: tuple[str, int], workers: int, timeout: float = 30,
                 pause: float = 0.0):
        self.proxy, self.target, self.timeout, self.pause = proxy, target, timeout, pause
        self.failures: list[str] = []  # a stream that could not be opened, or carried other bytes
        self.cut: list[str] = []       # … that was open and ended early
        self.slowest = 0.0
        self._done = [0] * workers
        self._stop = threading.Event()
        self._netns = host.netns
        self._threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(workers)]

    @property
    def done(self) -> int:
        return sum(self._done)

    def _work(self, number: int) -> None:
        with open(f"/run/netns/{self._netns}", encoding="ascii") as handle:
            if _libc.setns(handle.fileno(), 0x40000000) != 0:  # CLONE_NEWNET
                self.failures.append("setns")
                return
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._one()
                self._done[number] += 1
            except Exception as error:  # pylint: disable=broad-except
                self.failures.append(f"{type(error).__name__}: {error} after {time.monotonic() - began:.2f} s")
            self.slowest = max(self.slowest, time.monotonic() - began)
            if self.pause:
                self._stop.wait(self.pause)

    def _one(self) -> None:
        message = os.urandom(64)
        with Connection(self.proxy, self.timeout) as stream:
            reply, _ = stream.ask(*self.target)
            if reply != SUCCEEDED:
                raise RuntimeError(f"SOCKS reply {reply:02x}")
            try:
                stream.send(message)
                answer = stream.receive(len(message))
            except (OSError, Ended) as error:
                self.cut.append(repr(error))
                return
            if answer != message:
                raise RuntimeError("other bytes came back")

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self.timeout + 5)
