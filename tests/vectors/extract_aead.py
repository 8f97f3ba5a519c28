#!/usr/bin/env python3
"""Makes aes_gcm.txt and chacha20_poly1305.txt: published AEAD cases in one compact form, one key=value a line.

usage: extract_aead.py FOLDER     writes both files beside this script

FOLDER is cryptography_vectors/ciphers of the package python3-cryptography-vectors (Debian 12: 38.0.4).
AES-GCM: NIST CAVP gcmEncryptExtIV*.rsp and gcmDecrypt*.rsp, 128 and 256 bits, IV of 96 bits and tag of 128 bits only;
of each pair of sizes the first cases, because many cases differ in nothing but random bytes.
ChaCha20-Poly1305: BoringSSL's and OpenSSL's cases with a 96-bit nonce.

n nonce, k key, a additional data, p plaintext, c ciphertext, t tag; "bad=1": the tag does not fit (no plaintext).
"""
import pathlib
import re
import sys

ENCRYPT_PER_SIZES = 3
DECRYPT_PER_SIZES = 5

HEADER = """# Made by extract_aead.py from the package python3-cryptography-vectors 38.0.4 (pyca/cryptography, "vectors"),
# Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0, changed in form only. {origin}
"""


def blocks(text):
    """The cases of a .rsp or .txt file as dicts of lower-case names; section lines [x = y] are carried along."""
    section, case = {}, {}
    for line in text.splitlines() + [""]:
        line = line.strip()
        if line.startswith("#"):
            continue
        if match := re.fullmatch(r"\[(\w+) = (\d+)\]", line):
            section[match[1].lower()] = int(match[2])
        elif line == "FAIL":
            case["fail"] = True
        elif "=" in line:
            name, value = line.split("=", 1)
            case[name.strip().lower()] = value.strip()
        elif not line and case:
            yield {**section, **case}
            case = {}


def data(value):
    """Hex, or the text in quotes that BoringSSL's file also has."""
    return value[1:-1].encode().hex() if value.startswith('"') else value.lower()


def emit(out, **fields):
    for name, value in fields.items():
        out.append(f"{name}={value}")
    out.append("")


def aes_gcm(folder):
    out = [HEADER.format(origin="Origin: NIST CAVP, gcmtestvectors.")]
    for bits in (128, 256):
        for name, limit in (("EncryptExtIV", ENCRYPT_PER_SIZES), ("Decrypt", DECRYPT_PER_SIZES)):
            seen = {}
            for case in blocks((folder / f"AES/GCM/gcm{name}{bits}.rsp").read_text()):
                if case["ivlen"] != 96 or case["taglen"] != 128:
                    continue
                sizes = (case["ptlen"], case["aadlen"])
                seen[sizes] = seen.get(sizes, 0) + 1
                if seen[sizes] > limit:
                    continue
                fields = dict(k=case["key"], n=case["iv"], a=case["aad"], c=case["ct"], t=case["tag"])
                fields |= dict(bad=1) if "fail" in case else dict(p=case["pt"])
                emit(out, **fields)
    return out


def chacha20_poly1305(folder):
    out = [HEADER.format(origin="Origin: BoringSSL and OpenSSL; the first case is RFC 8439, section 2.8.2.")]
    for case in blocks((folder / "ChaCha20Poly1305/boringssl.txt").read_text()):
        emit(out, k=data(case["key"]), n=data(case["nonce"]), a=data(case["ad"]), c=data(case["ct"]), t=data(case["tag"]),
             p=data(case["in"]))
    for case in blocks((folder / "ChaCha20Poly1305/openssl.txt").read_text()):
        if len(case["iv"]) != 24 or len(case["tag"]) != 32:
            continue
        fields = dict(k=case["key"], n=case["iv"], a=case.get("aad", ""), c=case["ciphertext"], t=case["tag"])
        fields |= dict(bad=1) if "result" in case else dict(p=case["plaintext"])
        emit(out, **fields)
    return out


def main():
    folder = pathlib.Path(sys.argv[1])
    here = pathlib.Path(__file__).parent
    (here / "aes_gcm.txt").write_text("\n".join(aes_gcm(folder)))
    (here / "chacha20_poly1305.txt").write_text("\n".join(chacha20_poly1305(folder)))


if __name__ == "__main__":
    main()
