#!/usr/bin/python3
"""The independent peer as a command.

    qanat_peer.py fetch --key network.key [--via ID@HOST:PORT]... --node ID@HOST:PORT http://HOST:PORT/path
        GET through a node, and through relays on the way to it, to stdout; --node ID for one that offers connections
    qanat_peer.py node --key network.key [--listen HOST:PORT] [--relay-mode] [--connect-relay ID@HOST:PORT]...
        run a node until interrupted
"""

import argparse
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent))

from qanatpeer.client import NoAnswer, Refused, Session  # noqa: E402
from qanatpeer.keys import Identity, Malformed, NetworkKey, decode_id  # noqa: E402
from qanatpeer.node import Node  # noqa: E402
from qanatpeer.offering import Offering  # noqa: E402
from qanatpeer.records import StreamError  # noqa: E402
from qanatpeer.relay import Relay  # noqa: E402


def split_host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def fetch(arguments) -> int:
    url = urlsplit(arguments.url)
    suites = tuple(int(suite) for suite in arguments.suites.split(","))
    key = NetworkKey.load(arguments.key)
    with ExitStack() as stack:
        session = None
        for hop in [*arguments.via, arguments.node]:
            node_id, _, address = hop.partition("@")
            session = stack.enter_context(Session(split_host_port(address) if address else None, key,
                                                  decode_id(node_id), suites=suites, through=session))
        stream = session.park() if arguments.park else None
        target = (url.hostname, url.port or 80)
        stream = session.connect_parked(stream, *target) if stream else session.connect(*target)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        stream.send(f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = stream.receive_all().partition(b"\r\n\r\n")
        print(head.split(b"\r\n")[0].decode(), file=sys.stderr)
        sys.stdout.buffer.write(body)
        return 0 if b" 200 " in head.split(b"\r\n")[0] + b" " else 1


def run_node(arguments) -> int:
    host, port = split_host_port(arguments.listen)
    key, identity = NetworkKey.load(arguments.key), Identity.generate()
    relay = Relay(key, identity) if arguments.relay_mode else None
    with Node(key, identity, host, port, relay=relay) as node, ExitStack() as stack:
        for hop in arguments.connect_relay:
            node_id, _, address = hop.partition("@")
            session = Session(split_host_port(address), key, decode_id(node_id), identity)
            stack.enter_context(Offering(node, session))
        print(node.address, flush=True)
        threading.Event().wait()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("fetch", help="GET a URL through a node")
    command.add_argument("--key", required=True)
    command.add_argument("--node", required=True, metavar="ID@HOST:PORT")
    command.add_argument("--via", action="append", default=[], metavar="ID@HOST:PORT", help="a relay; in order")
    command.add_argument("--suites", default="1,2,3", help="suite ids in the order of preference")
    command.add_argument("--park", action="store_true", help="open the stream through a parked connection")
    command.add_argument("url")
    command.set_defaults(run=fetch)
    command = commands.add_parser("node", help="run a node")
    command.add_argument("--key", required=True)
    command.add_argument("--listen", default="127.0.0.1:0")
    command.add_argument("--relay-mode", action="store_true", help="carry streams for other members")
    command.add_argument("--connect-relay", action="append", default=[], metavar="ID@HOST:PORT",
                         help="offer connections at this relay")
    command.set_defaults(run=run_node)
    arguments = parser.parse_args()
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        return 0
    except (Malformed, NoAnswer, Refused, StreamError, OSError) as error:
        print(f"qanat_peer: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
