#!/usr/bin/env python3
"""Makes cacophony.txt and flynn.txt: the 25519/ChaChaPoly/SHA256 cases of published Noise vectors, one key=value a line.

usage: extract.py cacophony VECTORS.json | extract.py flynn vectors.txt

cacophony: vectors/cacophony.txt of haskell-cryptography/cacophony (Unlicense); the same file ships in the Rust crate
           snow 0.9.6 as tests/vectors/cacophony.txt (crates.io).
flynn:     vectors.txt of flynn/noise (BSD-3-Clause); Debian: golang-github-flynn-noise-dev.
"""
import json
import sys

SUITE = "_25519_ChaChaPoly_SHA256"
FUNDAMENTAL = "NN KN NK KK NX KX XN IN XK IK XX IX N K X".split()


def wanted(name):
    pattern = name.removeprefix("Noise_").removesuffix(SUITE)
    return name.endswith(SUITE) and pattern.split("psk")[0] in FUNDAMENTAL


def show(fields):
    for key, value in fields:
        print(f"{key}={value}")
    print()


def cacophony(path):
    print("# Noise test vectors of the cacophony project (Unlicense), the 25519/ChaChaPoly/SHA256 cases of its")
    print("# fundamental and psk patterns. Made by extract.py, which names the source.\n")
    for v in json.load(open(path))["vectors"]:
        if not wanted(v["protocol_name"]):
            continue
        fields = [("name", v["protocol_name"]), ("prologue", v["init_prologue"])]
        assert v["init_prologue"] == v["resp_prologue"] and v.get("init_psks") == v.get("resp_psks")
        assert len(v.get("init_psks", [])) <= 1
        for key in ("init_static", "resp_static", "init_ephemeral", "resp_ephemeral"):
            if key in v:
                fields.append((key, v[key]))
        if "init_psks" in v:
            fields.append(("psk", v["init_psks"][0]))
        fields.append(("hash", v["handshake_hash"]))
        for m in v["messages"]:
            fields += [("payload", m["payload"]), ("ciphertext", m["ciphertext"])]
        show(fields)


def flynn(path):
    print("# Noise test vectors of github.com/flynn/noise (BSD-3-Clause, Copyright (c) 2015 Prime Directive, Inc.), the")
    print("# 25519/ChaChaPoly/SHA256 cases with a prologue and with payloads. Made by extract.py.\n")
    # Own name for each of theirs. `gen_*_ephemeral` are private keys.
    names = {"init_static": "init_static", "resp_static": "resp_static", "gen_init_ephemeral": "init_ephemeral",
             "gen_resp_ephemeral": "resp_ephemeral", "prologue": "prologue", "preshared_key": "psk"}
    for block in open(path).read().split("\n\n"):
        pairs = [line.split("=", 1) for line in block.strip().splitlines()]
        given = dict(pairs)
        name = given.get("handshake", "")
        if not wanted(name) or "prologue" not in given or not given["msg_0_payload"]:
            continue
        fields = [("name", name)]
        fields += [(names[k], v) for k, v in pairs if k in names]
        for k, v in pairs:
            if k.startswith("msg_"):
                fields.append((k.split("_")[2], v))
        show(fields)


{"cacophony": cacophony, "flynn": flynn}[sys.argv[1]](sys.argv[2])
