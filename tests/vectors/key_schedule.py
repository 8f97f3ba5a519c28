#!/usr/bin/env python3
"""Makes key_schedule.txt: known answers for docs/PROTOCOL.md, sections 1 to 5, one name=hex a line.

usage: key_schedule.py > key_schedule.txt

Written from the specification, not from the C++ code: HMAC and SHA-256 from the standard library, AEAD and ChaCha20
from the package python3-cryptography (OpenSSL).
"""
import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

SUITES = {1: (AESGCM, 16), 2: (AESGCM, 32), 3: (ChaCha20Poly1305, 32)}


def sha256(data):
    return hashlib.sha256(data).digest()


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def extract(salt, ikm):
    return mac(salt, ikm)


def expand(prk, info, n):
    out, block = b"", b""
    counter = 0
    while len(out) < n:
        counter += 1
        block = mac(prk, block + info + bytes([counter]))
        out += block
    return out[:n]


def xl(secret, label, context, n):
    label = b"qanat1 " + label
    return expand(secret, struct.pack(">HB", n, len(label)) + label + bytes([len(context)]) + context, n)


def pattern(seed, n):
    """n bytes that look random and are the same everywhere."""
    return expand(sha256(seed.encode()), b"pattern", n)


def direction(secret, suite):
    return xl(secret, b"key", b"", SUITES[suite][1]), xl(secret, b"iv", b"", 12)


def record(suite, key, iv, sequence, kind, content, padding=0):
    inner = content + bytes([kind]) + bytes(padding)
    header = b"\x17\x03\x03" + struct.pack(">H", len(inner) + 16)
    nonce = bytes(a ^ b for a, b in zip(iv, bytes(4) + struct.pack(">Q", sequence)))
    return header + SUITES[suite][0](key).encrypt(nonce, inner, header)


def mask(k_hdr, client_random, numbers):
    # The package takes the little-endian counter and the nonce as one value, in the order of the ChaCha20 state.
    return Cipher(algorithms.ChaCha20(k_hdr, client_random[0:16]), mode=None).encryptor().update(numbers)


def emit(**fields):
    for name, value in fields.items():
        print(f"{name}={value.hex() if isinstance(value, bytes) else value}")
    print()


def main():
    print("# Made by key_schedule.py. Numbers are decimal, everything else is hex.")
    print()

    psk = pattern("psk", 32)
    prk = extract(b"qanat1 psk", psk)
    emit(case="psk", psk=psk, gate=xl(prk, b"gate", b"", 32), noise=xl(prk, b"noise", b"", 32),
         discovery=xl(prk, b"discovery", b"", 32), fingerprint=xl(prk, b"fingerprint", b"", 8))

    emit(case="label", secret=pattern("secret", 32), context=pattern("context", 32),
         out=xl(pattern("secret", 32), b"data", pattern("context", 32), 100))

    for suite in SUITES:
        for number, (session_id, stream_no) in enumerate(((1, 0), (0x0123456789ABCDEF, 7), (2**64 - 1, 2**64 - 1))):
            s_data = pattern(f"s_data {suite} {number}", 32)
            client_random = pattern(f"client_random {suite} {number}", 32)
            server_random = pattern(f"server_random {suite} {number}", 32)
            k_hdr = pattern(f"k_hdr {suite} {number}", 32)
            numbers = struct.pack(">QQ", session_id, stream_no)

            t0 = sha256(b"qanat1 stream" + bytes([suite]) + numbers + client_random)
            e = extract(client_random, s_data)
            cs = xl(e, b"c2n", t0, 32)
            t1 = sha256(t0 + server_random)
            ns = xl(extract(server_random, e), b"n2c", t1, 32)
            c_key, c_iv = direction(cs, suite)
            n_key, n_iv = direction(ns, suite)

            # The first flight: CONNECT to example.org:443; 53 + 5 + content + 1 + padding + 16 = 512.
            name = b"example.org"
            body = bytes([1, 0, 3, len(name)]) + name + struct.pack(">H", 443)
            request = b"\xf0" + struct.pack(">I", len(body))[1:] + body
            preamble = b"\x17\x03\x03\x00\x30" + client_random + mask(k_hdr, client_random, numbers)
            flight = preamble + record(suite, c_key, c_iv, 0, 22, request, 512 - 53 - 22 - len(request))
            # The answer: connection refused, with a reason; then the alert.
            reason = b"nobody listens"
            body = bytes([5, 1, 0, 0, 0, 0, 0, 0]) + struct.pack(">HH", 1, len(reason)) + reason
            response = b"\xf1" + struct.pack(">I", len(body))[1:] + body
            answer = b"\x17\x03\x03\x00\x20" + server_random
            answer += record(suite, n_key, n_iv, 0, 22, response, 256 - 37 - 22 - len(response))
            emit(case="stream", suite=suite, session_id=session_id, stream_no=stream_no, s_data=s_data,
                 client_random=client_random, server_random=server_random, k_hdr=k_hdr, c2n_key=c_key, c2n_iv=c_iv,
                 n2c_key=n_key, n2c_iv=n_iv, preamble=preamble, flight=flight, answer=answer,
                 data=record(suite, c_key, c_iv, 1, 23, b"hello"),
                 close_notify=record(suite, n_key, n_iv, 1, 21, b"\x01\x00"))

        h, k1, k2 = (pattern(f"{what} {suite}", 32) for what in ("h", "k1", "k2"))
        session_id = 0xFEDCBA9876543210
        context = struct.pack(">QB", session_id, suite)
        s = extract(h, k1 + k2)
        ctl_c, ctl_n = xl(s, b"ctl c", context, 32), xl(s, b"ctl n", context, 32)
        c_key, c_iv = direction(ctl_c, suite)
        ping = b"\x01" + struct.pack(">Q", 0x1122334455667788)
        emit(case="session", suite=suite, session_id=session_id, h=h, k1=k1, k2=k2, s_data=xl(s, b"data", context, 32),
             s_ctl_c=ctl_c, s_ctl_n=ctl_n, ctl_c_key=c_key, ctl_c_iv=c_iv,
             ping=record(suite, c_key, c_iv, 0, 22, ping, 128 - 22 - len(ping)))


if __name__ == "__main__":
    main()
