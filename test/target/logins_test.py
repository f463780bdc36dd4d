#!/usr/bin/env python3
"""Where initiators are sent and what they are told, with initiators nobody here wrote: redirection from one odxd to
another, discovery of hundreds of targets.

Not tested, and why: each cut of a long list, and who is not redirected (conversation tests in test/iscsi).
Usage: logins_test.py ODXD [unittest arguments]. Uses 127.0.0.1 and ::1 and free ports only.
"""
import re
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from odxd_process import Odxd, tool  # noqa: E402
from wire import Closed, Session  # noqa: E402

NAME = "iqn.2026-11.org.example:moved"


class LoginsTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odxd-logins-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def odxd(self, text, name="odxd", portal="127.0.0.1:0"):
        path = self.folder / f"{name}.toml"
        path.write_text(text)
        return Odxd("--config", path, portal=portal, log_path=self.folder / f"{name}.log")


@unittest.skipUnless(shutil.which("iscsi-inq"), "libiscsi-bin is not installed")
class Redirection(LoginsTest):
    def second(self, portal="127.0.0.1:0", chap=""):
        return self.odxd(f'[[target]]\nname = "{NAME}"\n{chap}[[target.lun]]\nstore = "memory:64M"\n'
                         'serial = "THE-SECOND"\n', "second", portal)

    def first(self, line, more=""):
        return self.odxd(f'[[target]]\nname = "{NAME}"\n{line}\n{more}[[target.lun]]\nstore = "memory:64M"\n'
                         'serial = "THE-FIRST"\n', "first")

    def assert_ends_up_at_the_second(self, first, second, *, query=""):
        url = f"iscsi://{query}{first.host}:{first.port}/{NAME}/0"
        status, output = tool("iscsi-inq", "-e", "1", "-c", "128", url)
        self.assertEqual(status, 0, output + first.log())
        self.assertIn("THE-SECOND", output)
        self.assertIn("redirected to", first.log())
        self.assertIn("logged in to " + NAME, second.log())

    def test_libiscsi_follows_a_temporary_redirection(self):
        with self.second() as second, self.first(f'redirect = "127.0.0.1:{second.port}"') as first:
            self.assert_ends_up_at_the_second(first, second)
            self.assertIn("status 0101h", first.log())

    def test_libiscsi_follows_a_redirection_to_an_ipv6_portal(self):
        with self.second("[::1]:0") as second, self.first(f'redirect = "[::1]:{second.port}"') as first:
            self.assert_ends_up_at_the_second(first, second)

    def test_libiscsi_proves_who_it_is_where_it_is_sent(self):
        chap = '[target.chap]\nname = "user"\nsecret = "secret-secret"\n'
        with self.second(chap=chap) as second, \
                self.first(f'redirect = "127.0.0.1:{second.port}"', chap) as first:
            self.assert_ends_up_at_the_second(first, second, query="user%secret-secret@")
            self.assertIn("status 0101h", first.log())
            url = f"iscsi://user%wrong-secret-1@{first.host}:{first.port}/{NAME}/0"
            self.assertNotEqual(tool("iscsi-inq", url)[0], 0)
            self.assertIn("status 0201h", second.log())

    def test_a_permanent_redirection_has_its_own_status(self):
        # libiscsi 1.19 knows the temporary one only: our own initiator reads this.
        with self.first('redirect_permanently = "array.example.org"') as first:
            with self.assertRaises(Closed) as refused:
                Session(first)
            self.assertIn("TargetAddress=array.example.org:3260\\x00", str(refused.exception))
            self.assertIn("status 0102h", first.log())

    def test_discovery_lists_a_redirected_target_here(self):
        with self.first('redirect = "array.example.org"') as first:
            status, output = tool("iscsi-ls", f"iscsi://{first.host}:{first.port}")
            self.assertEqual((status, output), (0, f"Target:{NAME} Portal:{first.host}:{first.port},1\n"))


@unittest.skipUnless(shutil.which("iscsi-ls"), "libiscsi-bin is not installed")
class Discovery(LoginsTest):
    COUNT = 500

    def test_libiscsi_lists_hundreds_of_targets_with_several_portals(self):
        names = [f"iqn.2026-11.org.example:target-{number:03}" for number in range(self.COUNT)]
        portals = ["127.0.0.1:0", "[::1]:0", "127.0.0.2:0"]
        text = "".join(f'[[portal]]\nlisten = "{portal}"\n' for portal in portals)
        for name in names:
            text += f'[[target]]\nname = "{name}"\n[[target.lun]]\nstore = "memory:1M"\n'
        text += ('[[target]]\nname = "iqn.2026-11.org.example:hidden"\nallowed_initiators = ["iqn.2026-11.a.b:c"]\n'
                 '[[target.lun]]\nstore = "memory:1M"\n')
        with self.odxd(text, portal=None) as odxd:
            port = re.search(r"127\.0\.0\.1:(\d+)", odxd.urls[0])[1]
            status, output = tool("iscsi-ls", f"iscsi://127.0.0.1:{port}")
            self.assertEqual(status, 0, output)
            listed = re.findall(r"^Target:(\S+) Portal:(\S+),1$", output, re.M)
            self.assertEqual(len(listed), len(output.splitlines()))
            self.assertEqual(sorted({name for name, _ in listed}), names)
            by_name = {name: sorted(portal for other, portal in listed if other == name) for name in names}
            for name in names:
                self.assertEqual([re.sub(r":\d+$", "", portal) for portal in by_name[name]],
                                 ["127.0.0.1", "127.0.0.2", "[::1]"])


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
