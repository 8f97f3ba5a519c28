"""Primitives and keys at rest: PROTOCOL.md sections 1 and 2."""

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


class Malformed(Exception):
    """Bytes that the protocol does not allow."""


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.new(salt, ikm, hashlib.sha256).digest()


def expand(prk: bytes, info: bytes, size: int) -> bytes:
    out, block, counter = b"", b"", 1
    while len(out) < size:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out += block
        counter += 1
    return out[:size]


def expand_label(secret: bytes, label: str, context: bytes, size: int) -> bytes:
    """XL: HKDF-Expand-Label with the prefix "qanat1 ". The length byte covers prefix and label (RFC 8446 §7.1)."""
    full = b"qanat1 " + label.encode()
    info = size.to_bytes(2, "big") + bytes([len(full)]) + full + bytes([len(context)]) + context
    return expand(secret, info, size)


def mac16(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()[:16]


class NetworkKey:
    """The PSK and what is derived from it."""

    def __init__(self, psk: bytes):
        if len(psk) != 32:
            raise Malformed("a network key has 32 bytes")
        self.psk = psk
        prk = extract(b"qanat1 psk", psk)
        self.gate = expand_label(prk, "gate", b"", 32)
        self.noise = expand_label(prk, "noise", b"", 32)
        self.fingerprint = expand_label(prk, "fingerprint", b"", 8)

    @classmethod
    def generate(cls) -> "NetworkKey":
        return cls(os.urandom(32))

    @classmethod
    def load(cls, path) -> "NetworkKey":
        with open(path, encoding="ascii") as file:
            lines = file.read().split("\n")
        if lines[:2] != ["/key/swarm/psk/1.0.0/", "/base16/"] or len(lines) < 3 or any(lines[3:]):
            raise Malformed(f"{path}: not a network key file")
        if len(lines[2]) != 64:
            raise Malformed(f"{path}: line 3 must have 64 hex digits")
        return cls(bytes.fromhex(lines[2]))

    def save(self, path) -> None:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(f"/key/swarm/psk/1.0.0/\n/base16/\n{self.psk.hex()}\n")


@dataclass(frozen=True)
class Identity:
    """A static X25519 key pair, raw bytes."""

    private: bytes
    public: bytes

    @classmethod
    def generate(cls) -> "Identity":
        return cls.from_private(os.urandom(32))

    @classmethod
    def from_private(cls, private: bytes) -> "Identity":
        key = X25519PrivateKey.from_private_bytes(private)
        return cls(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()),
                   key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    @property
    def id(self) -> str:
        return encode_id(self.public)


def encode_id(public: bytes) -> str:
    check = hashlib.sha256(b"qanat1 id" + public).digest()[:3]
    return base64.b32encode(public + check).decode().rstrip("=").lower()


def decode_id(text: str) -> bytes:
    if len(text) != 56:
        raise Malformed("a node id has 56 characters")
    raw = base64.b32decode(text.upper())
    if encode_id(raw[:32]) != text:
        raise Malformed("the check sum of the node id is wrong")
    return raw[:32]


def mask_numbers(header_key: bytes, client_random: bytes, sixteen: bytes) -> bytes:
    """XOR of session id and stream number with ChaCha20 (section 4). Its own inverse.

    The library takes counter (little-endian) and nonce as one 16-byte value, which is exactly client_random[0..16).
    """
    encryptor = Cipher(algorithms.ChaCha20(header_key, client_random[:16]), mode=None).encryptor()
    return encryptor.update(sixteen)
