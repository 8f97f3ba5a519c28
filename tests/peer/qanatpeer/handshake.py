"""The session handshake without sockets: PROTOCOL.md section 3."""

import hmac
import os
from dataclasses import dataclass

from dissononce.cipher.chachapoly import ChaChaPolyCipher
from dissononce.dh.x25519.keypair import KeyPair
from dissononce.dh.x25519.private import PrivateKey
from dissononce.dh.x25519.public import PublicKey
from dissononce.dh.x25519.x25519 import X25519DH
from dissononce.exceptions.decrypt import DecryptFailedException
from dissononce.hash.sha256 import SHA256Hash
from dissononce.processing.handshakepatterns.interactive.IK import IKHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState
from dissononce.processing.impl.handshakestate import HandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState
from dissononce.processing.modifiers.psk import PSKPatternModifier

from .keys import Identity, Malformed, NetworkKey, expand_label, extract, mac16
from .messages import (CHALLENGE_HEADER, CHALLENGE_SIZE, MSG1_HEADER, MSG1_SIZE, MSG2_HEADER, MSG2_SIZE, PROLOGUE,
                       ClientHello, NodeHello)

NO_COOKIE = bytes(16)


@dataclass(frozen=True)
class SessionSecrets:
    """What both sides hold after MSG2."""

    session_id: int
    suite: int
    data: bytes
    control_client: bytes
    control_node: bytes


def _noise(initiator: bool, key: NetworkKey, identity: Identity, remote: bytes | None) -> HandshakeState:
    state = HandshakeState(SymmetricState(CipherState(ChaChaPolyCipher()), SHA256Hash()), X25519DH())
    state.initialize(PSKPatternModifier(1).modify(IKHandshakePattern()), initiator, PROLOGUE,
                     s=KeyPair(PublicKey(identity.public), PrivateKey(identity.private)),
                     rs=PublicKey(remote) if remote else None, psks=(key.noise,))
    if state.protocol_name != "Noise_IKpsk1_25519_ChaChaPoly_SHA256":
        raise AssertionError(state.protocol_name)
    return state


def _read(state: HandshakeState, message: bytes):
    payload = bytearray()
    try:
        ciphers = state.read_message(message, payload)
    except (DecryptFailedException, ValueError) as error:  # ValueError: an X25519 result of all zeros
        raise Malformed(f"the handshake does not authenticate: {error!r}") from None
    return bytes(payload), ciphers


def _secrets(state: HandshakeState, ciphers, hello: NodeHello) -> SessionSecrets:
    # The library keeps the keys of Split() to itself; the protocol uses them only as input keying material.
    k1, k2 = (cipher._key for cipher in ciphers)
    secret = extract(state.symmetricstate.get_handshake_hash(), k1 + k2)
    context = hello.session_id.to_bytes(8, "big") + bytes([hello.suite])
    return SessionSecrets(hello.session_id, hello.suite, expand_label(secret, "data", context, 32),
                          expand_label(secret, "ctl c", context, 32), expand_label(secret, "ctl n", context, 32))


def gate_tag(key: NetworkKey, node_public: bytes, cookie: bytes, first_496: bytes) -> bytes:
    return mac16(key.gate, b"c" + node_public + cookie + first_496)


def challenge(key: NetworkKey, cookie_key: bytes, source16: bytes, msg1: bytes) -> bytes:
    cookie = mac16(cookie_key, source16 + msg1[4:36])
    return CHALLENGE_HEADER + cookie + mac16(key.gate, b"n" + msg1[496:512] + cookie)


class Initiator:
    """The client's side of one handshake."""

    def __init__(self, key: NetworkKey, node_public: bytes, identity: Identity, hello: ClientHello):
        self._key = key
        self._node_public = node_public
        self.hello = hello
        self._state = _noise(True, key, identity, node_public)
        message = bytearray()
        self._state.write_message(hello.encode(), message)
        self._body = MSG1_HEADER + bytes(message)
        if len(self._body) != MSG1_SIZE - 16:
            raise AssertionError(len(self._body))

    def msg1(self, cookie: bytes = NO_COOKIE) -> bytes:
        return self._body + gate_tag(self._key, self._node_public, cookie, self._body)

    def read_challenge(self, message: bytes) -> bytes:
        """The cookie."""
        if len(message) != CHALLENGE_SIZE or message[:4] != CHALLENGE_HEADER:
            raise Malformed("not a CHALLENGE")
        cookie = message[4:20]
        expected = mac16(self._key.gate, b"n" + self.msg1()[496:512] + cookie)
        if not hmac.compare_digest(message[20:36], expected):
            raise Malformed("the challenge tag is wrong")
        return cookie

    def read_msg2(self, message: bytes) -> tuple[NodeHello, SessionSecrets | None]:
        if len(message) != MSG2_SIZE or message[:4] != MSG2_HEADER:
            raise Malformed("not a MSG2")
        payload, ciphers = _read(self._state, message[4:])
        hello = NodeHello.decode(payload)
        if hello.status:
            return hello, None
        if hello.suite not in self.hello.suites:
            raise Malformed("the node chose a suite that was not offered")
        return hello, _secrets(self._state, ciphers, hello)


class Responder:
    """The node's side of one handshake. Raises Malformed for everything that must be met with silence."""

    def __init__(self, key: NetworkKey, identity: Identity, message: bytes):
        if len(message) != MSG1_SIZE or message[:4] != MSG1_HEADER:
            raise Malformed("not a MSG1")
        self._key = key
        self._identity = identity
        self.message = message

    def tag_matches(self, cookie: bytes = NO_COOKIE) -> bool:
        expected = gate_tag(self._key, self._identity.public, cookie, self.message[:496])
        return hmac.compare_digest(expected, self.message[496:])

    @property
    def ephemeral(self) -> bytes:
        return self.message[4:36]

    def read_msg1(self) -> ClientHello:
        self._state = _noise(False, self._key, self._identity, None)
        payload, _ = _read(self._state, self.message[4:496])
        self.client_public = self._state.rs.data
        return ClientHello.decode(payload)

    def write_msg2(self, hello: NodeHello) -> tuple[bytes, SessionSecrets | None]:
        message = bytearray()
        ciphers = self._state.write_message(hello.encode(), message)
        return MSG2_HEADER + bytes(message), None if hello.status else _secrets(self._state, ciphers, hello)


def new_session_id() -> int:
    return int.from_bytes(os.urandom(8), "big") or 1
