"""A server for tests: every connection gets a thread."""

import socket
import threading
from contextlib import contextmanager


@contextmanager
def listener(serve):
    """Every connection is given to serve(sock)."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            try:
                sock, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
