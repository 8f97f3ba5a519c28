#!/usr/bin/python3
"""Makes session.txt: whole session handshakes of docs/PROTOCOL.md section 3, byte for byte, from a second implementation.

usage: session_vectors.py > session.txt

Noise is python3-dissononce (Debian); everything else (key derivation, gate, cookie, payloads, node id) is written here
from the document with Python's own hashlib and hmac. All inputs come from a label by SHA-256, so the output never
changes.
"""
import base64
import hashlib
import hmac
import struct

from dissononce.cipher.chachapoly import ChaChaPolyCipher
from dissononce.dh.x25519.x25519 import X25519DH
from dissononce.dh.x25519.private import PrivateKey
from dissononce.dh.x25519.public import PublicKey
from dissononce.extras.dh.dangerous.dh_nogen import NoGenDH
from dissononce.hash.sha256 import SHA256Hash
from dissononce.processing.handshakepatterns.interactive.IK import IKHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState
from dissononce.processing.impl.handshakestate import HandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState
from dissononce.processing.modifiers.psk import PSKPatternModifier


# Section 1

def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(prk, info, size):
    out, block, counter = b"", b"", 1
    while len(out) < size:
        block = mac(prk, block + info + bytes([counter]))
        out += block
        counter += 1
    return out[:size]


def xl(secret, label, context, size):
    label = b"qanat1 " + label
    return expand(secret, struct.pack(">HB", size, len(label)) + label + bytes([len(context)]) + context, size)


def random(label, size=32):
    return hashlib.sha256(b"qanat test vector: " + label.encode()).digest()[:size]


def noise(ephemeral):
    dh = NoGenDH(X25519DH(), PrivateKey(ephemeral))
    return HandshakeState(SymmetricState(CipherState(ChaChaPolyCipher()), SHA256Hash()), dh)


def session(name, suites, caps, suite, node_caps, status, challenge, wished, tlvs):
    r = lambda label, size=32: random(f"{name} {label}", size)
    dh = X25519DH()
    keys = {k: dh.generate_keypair(PrivateKey(r(k))) for k in ("client static", "node static")}
    client, node = keys["client static"], keys["node static"]
    psk, boot_id = r("psk"), r("boot id", 16)
    prk = mac(b"qanat1 psk", psk)
    k_gate, k_noise = xl(prk, b"gate", b"", 32), xl(prk, b"noise", b"", 32)
    fingerprint = xl(prk, b"fingerprint", b"", 8)
    node_id = node.public.data + hashlib.sha256(b"qanat1 id" + node.public.data).digest()[:3]

    head1, head2, head3 = (struct.pack(">BBH", t, 1, n) for t, n in ((1, 508), (2, 252), (3, 32)))
    pattern = PSKPatternModifier(1).modify(IKHandshakePattern())
    prologue = b"qanat1 session\0" + head1
    initiator, responder = noise(r("client ephemeral")), noise(r("node ephemeral"))
    initiator.initialize(pattern, True, prologue, s=client, rs=PublicKey(node.public.data), psks=[k_noise])
    responder.initialize(pattern, False, prologue, s=node, psks=[k_noise])
    assert initiator.protocol_name == "Noise_IKpsk1_25519_ChaChaPoly_SHA256"

    payload1 = struct.pack(">IB7s16sI", caps, len(suites), bytes(suites), boot_id, wished).ljust(396, b"\0")
    if status == 0:
        session_id = int.from_bytes(r("session id", 8), "big")
        payload2 = struct.pack(">BBHIQII32s", 0, suite, 0, node_caps, session_id, 3600, 65536, r("header key"))
        payload2 = (payload2 + tlvs).ljust(204, b"\0")
    else:
        payload2 = bytes([status]).ljust(204, b"\0")

    body, read = bytearray(head1), bytearray()
    initiator.write_message(payload1, body)
    responder.read_message(bytes(body[4:]), read)
    assert len(body) == 496 and bytes(read) == payload1 and responder.rs.data == client.public.data

    def tagged(cookie):
        return bytes(body) + mac(k_gate, b"c" + node.public.data + cookie + bytes(body))[:16]

    fields = [
        ("name", name), ("psk", psk), ("fingerprint", fingerprint),
        ("client_static", client.private.data), ("node_static", node.private.data),
        ("client_ephemeral", r("client ephemeral")), ("node_ephemeral", r("node ephemeral")),
        ("node_id", base64.b32encode(node_id).decode().rstrip("=").lower()),
        ("boot_id", boot_id), ("suites", bytes(suites)), ("capabilities", struct.pack(">I", caps)),
        ("wished_window", struct.pack(">I", wished)), ("status", bytes([status])), ("suite", bytes([suite])),
        ("node_capabilities", struct.pack(">I", node_caps)), ("msg1", tagged(bytes(16))),
    ]
    if challenge:
        source = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7])
        cookie = mac(r("cookie key"), source + bytes(body[4:36]))[:16]
        tag = mac(k_gate, b"n" + tagged(bytes(16))[496:] + cookie)[:16]
        fields += [("cookie_key", r("cookie key")), ("source", source), ("challenge", head3 + cookie + tag),
                   ("msg1_again", tagged(cookie))]
    msg2, read = bytearray(head2), bytearray()
    k1, k2 = (c._key for c in responder.write_message(payload2, msg2))
    initiator.read_message(bytes(msg2[4:]), read)
    h = initiator.symmetricstate.get_handshake_hash()
    assert len(msg2) == 256 and bytes(read) == payload2 and h == responder.symmetricstate.get_handshake_hash()
    fields += [("msg2", bytes(msg2))]
    if status == 0:
        s = mac(h, k1 + k2)
        ctx = struct.pack(">QB", session_id, suite)
        fields += [("session_id", struct.pack(">Q", session_id)), ("lifetime", struct.pack(">I", 3600)),
                   ("window", struct.pack(">I", 65536)), ("header_key", r("header key")),
                   ("data", xl(s, b"data", ctx, 32)), ("ctl_client", xl(s, b"ctl c", ctx, 32)),
                   ("ctl_node", xl(s, b"ctl n", ctx, 32))]
    for key, value in fields:
        print(f"{key}={value if isinstance(value, str) else value.hex()}")
    print()


print("# Whole session handshakes, docs/PROTOCOL.md section 3. Made by session_vectors.py with python3-dissononce.\n")
session("chacha", [3], 0, 3, 1, 0, False, 0, b"")
session("aes-128", [1, 2, 3], 1, 1, 1, 0, False, 1 << 20, b"")
session("aes-256 after a challenge", [2, 1], 1, 2, 1, 0, True, 0, b"")
session("a suite of the future and a TLV to skip", [77, 3], 0x80000001, 3, 0xfffffffe, 0, False, 0xffffffff,
        bytes.fromhex("7fff0003010203"))
session("no common suite", [2], 0, 0, 0, 1, False, 0, b"")
session("not a member", [3], 1, 0, 0, 2, True, 0, b"")
session("too many sessions", [3], 1, 0, 0, 3, False, 0, b"")
session("draining", [3], 1, 0, 0, 4, False, 0, b"")
