#!/usr/bin/python3
"""tools/check_layering finds each kind of violation: without this a broken check would pass for a clean tree."""
import importlib.machinery
import importlib.util
import tempfile
import unittest
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "check_layering"
loader = importlib.machinery.SourceFileLoader("check_layering", str(TOOL))
check_layering = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_layering", loader))
loader.exec_module(check_layering)


def problems(files: dict[str, str]) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return check_layering.check(Path(folder))[0]


class CheckLayering(unittest.TestCase):
    def assert_one(self, expected: str, files: dict[str, str]):
        found = problems(files)
        self.assertEqual(len(found), 1, found)
        self.assertIn(expected, found[0])

    def test_a_tree_that_keeps_the_rules(self):
        self.assertEqual(problems({
            "common/base/bytes.h": "#include <cstdint>\n",
            "common/wire/record.h": '#include "common/base/bytes.h"\n',
            "dataplane/engine/uring.cc": '#include <liburing.h>\n#include "common/wire/record.h"\n',
            "dataplane/main.cc": '#include "common/base/bytes.h"\n',
        }), [])

    def test_planes_do_not_include_each_other(self):
        self.assert_one('dataplane/engine may not include "controlplane/loop/loop.h"', {
            "controlplane/loop/loop.h": "",
            "dataplane/engine/engine.cc": '#include "controlplane/loop/loop.h"\n',
        })
        self.assert_one('controlplane may not include "dataplane/engine/engine.h"', {
            "dataplane/engine/engine.h": "",
            "controlplane/main.cc": '#include "dataplane/engine/engine.h"\n',
        })

    def test_common_does_not_look_up(self):
        self.assert_one('common/base may not include "common/crypto/suite.h"', {
            "common/crypto/suite.h": "",
            "common/base/log.h": '#include "common/crypto/suite.h"\n',
        })

    def test_a_library_has_one_owner(self):
        self.assert_one("only dataplane/engine includes <liburing.h>", {
            "dataplane/relay/splice.cc": "#include <liburing.h>\n"})
        self.assert_one("only controlplane/loop includes <event2/event.h>", {
            "controlplane/admin/server.cc": "#include <event2/event.h>\n"})

    def test_pure_folders_stay_pure(self):
        self.assert_one("a pure folder includes <thread>", {"common/wire/record.cc": "#include <thread>\n"})
        self.assert_one("a pure folder reads a clock", {
            "dataplane/socks5/server.cc": "auto now = std::chrono::steady_clock::now();\n"})
        self.assert_one("reaches <unistd.h> through common/base/unique_fd.h", {
            "common/base/unique_fd.h": "#include <unistd.h>\n",
            "common/wire/record.cc": '#include "common/base/unique_fd.h"\n',
        })
        self.assertEqual(problems({"common/wire/record.cc": "// steady_clock::now() is the caller's\n"}), [])

    def test_a_new_folder_is_placed_on_purpose(self):
        self.assert_one("is not in the table", {"dataplane/teleport/teleport.h": ""})

    def test_includes_are_named_from_the_root(self):
        self.assert_one('"bytes.h" is no file of the project', {
            "common/base/bytes.h": "", "common/base/bytes.cc": '#include "bytes.h"\n'})


if __name__ == "__main__":
    unittest.main()
