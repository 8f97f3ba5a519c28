"""Nodes, relays and sessions of the independent implementation (tests/peer) beside the programs of a Network."""

import os
import threading
from contextlib import ExitStack

from qanatpeer.client import Session
from qanatpeer.keys import NetworkKey, decode_id
from qanatpeer.node import Node
from qanatpeer.offering import Offering
from qanatpeer.relay import Relay

from socks5 import Ended, SocksError, dial


class PythonPeers:
    """Everything holds the key of the network and ends with this object."""

    def __init__(self, network):
        self.network = network
        self.key = NetworkKey.load(network.key)
        self._stack = ExitStack()

    def node(self, **options) -> Node:
        return self._stack.enter_context(Node(self.key, **options))

    def relay(self, relay_class=Relay, node_options=None, **options) -> Node:
        """A node that relays; what it does as a relay is its `relay`."""
        relay = relay_class(self.key, **options)
        return self.node(identity=relay.identity, relay=relay, **(node_options or {}))

    def session(self, node, through: Session | None = None, stated: bool = True, **options) -> Session:
        """With a Program or a Node; stated: the relay is told where it is."""
        where, node_id = (node.tunnel, node.id) if hasattr(node, "tunnel") else ((node.host, node.port),
                                                                                 node.identity.public)
        return self._stack.enter_context(
            Session(where if stated else None, self.key, node_id, through=through, **options))

    def offering(self, node: Node, relay, count: int = 2, through: Session | None = None) -> Offering:
        """The Python node becomes reachable through a relay."""
        session = self.session(relay, through, identity=node.identity)
        return self._stack.enter_context(Offering(node, session, count))

    def close(self) -> None:
        self._stack.close()


def public_key(node) -> bytes:
    return decode_id(node.id) if hasattr(node, "tunnel") else node.identity.public


def address_of(node) -> str:
    """ID@HOST:PORT of a Program or a Node."""
    return node.address


def behind(node, via=(), relay=(), stated: bool = True) -> dict:
    """An entry of `nodes`: a Program or Node that is reached over relays."""
    node_id, _, where = address_of(node).partition("@")
    entry = {"id": node_id}
    if stated:
        entry["addrs"] = [where]
    if via:
        entry["via"] = [address_of(hop) for hop in via]
    if relay:
        entry["relay"] = [address_of(hop) for hop in relay]
    return entry


def serves(proxy, target, timeout: float = 10) -> bool:
    """True if a byte comes back from an echo server through the proxy."""
    try:
        with dial(proxy, target, timeout) as app:
            app.send(b"x")
            return app.receive(1) == b"x"
    except (SocksError, Ended, OSError):
        return False


def echo_blob(app, size: int = 1 << 20) -> None:
    """A blob there and back through an echo server, then a clean end on both sides. app: a SOCKS connection."""
    blob = os.urandom(size)
    sender = threading.Thread(target=lambda: (app.send(blob), app.sock.shutdown(1)))
    sender.start()
    assert app.receive_all() == blob
    sender.join()
