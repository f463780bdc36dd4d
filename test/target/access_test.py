#!/usr/bin/env python3
"""Who may use what, as programs see it: LUNs that are there for some initiators, a secret for each, mutual CHAP.

Not tested, and why: every command and descriptor (test/scsi/access_test.cc); wrong logins step by step
(test/iscsi/chap_rules_test.cc).
Usage: access_test.py ODXD [unittest arguments]. Uses 127.0.0.1 and free ports only.
"""
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from odxd_process import Odxd, tool  # noqa: E402
from wire import GOOD, Session  # noqa: E402

A = "iqn.2026-11.org.example:a"
B = "iqn.2026-11.org.example:b"
LUNS = f"""
[[target.lun]]
store = "memory:64M"
allowed_initiators = ["{A}"]
[[target.lun]]
store = "memory:32M"
allowed_initiators = ["{B}"]
"""
NOT_SUPPORTED = (0x05, 0x25, 0x00)


class Access(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odxd-access-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def odxd(self, config):
        path = self.folder / "array.toml"
        path.write_text(config)
        return Odxd("--config", path, log_path=self.folder / "odxd.log")

    def test_one_initiator_finds_lun_0_and_the_other_lun_1(self):
        with self.odxd("[[target]]\n" + LUNS) as odxd:
            for initiator, mine, theirs in ((A, 0, 1), (B, 1, 0)):
                listed = tool("iscsi-ls", "-i", initiator, "-s", odxd.portal_url)[1]
                self.assertIn(f"Lun:{mine} ", listed.replace("\t", " ") + " ")
                self.assertNotIn(f"Lun:{theirs} ", listed.replace("\t", " ") + " ")
                self.assertEqual(tool("iscsi-readcapacity16", "-i", initiator, odxd.urls[mine])[0], 0)
                self.assertNotEqual(tool("iscsi-readcapacity16", "-i", initiator, odxd.urls[theirs])[0], 0)
                self.assertIn("Qualifier:CONNECTED", tool("iscsi-inq", "-i", initiator, odxd.urls[mine])[1])
                self.assertNotIn("Qualifier:CONNECTED", tool("iscsi-inq", "-i", initiator, odxd.urls[theirs])[1])

                session = Session(odxd, initiator=initiator)
                report = session.command(bytes.fromhex("a00000000000000001000000"), data_in=256, lun=theirs)
                self.assertEqual(report.status, GOOD)
                self.assertEqual(report.data, bytes([0, 0, 0, 8, 0, 0, 0, 0, 0, mine]) + bytes(6))
                self.assertEqual(session.command(bytes(6), lun=theirs).key, NOT_SUPPORTED)
                session.close()
            self.assertIn("the initiator may not use the logical unit that has this LUN", odxd.log())

    def test_each_initiator_proves_its_own_secret(self):
        config = "[[target]]\n"
        for name in ("a", "b"):
            config += f'[[target.chap]]\ninitiator = "iqn.2026-11.org.example:{name}"\n'
            config += f'name = "user-{name}"\nsecret = "secret-of-{name}-1"\n'
        with self.odxd(config + LUNS) as odxd:
            def login(initiator, name):
                url = odxd.urls[0 if initiator == A else 1].replace("//", f"//user-{name}%secret-of-{name}-1@")
                return tool("iscsi-readcapacity16", "-i", initiator, url)[0] == 0

            self.assertTrue(login(A, "a"))
            self.assertTrue(login(B, "b"))
            self.assertFalse(login(A, "b"))
            self.assertFalse(login(B, "a"))
            self.assertFalse(login("iqn.2026-11.org.example:c", "a"))
            self.assertNotIn("secret-of", odxd.log())

    def test_mutual_chap_is_demanded_unless_it_is_left_to_the_initiator(self):
        for required in ("", ", required = false"):
            chap = f'mutual = {{ name = "array", secret = "array-secret-1"{required} }}'
            with self.odxd(f'[[target]]\nchap = {{ name = "host", secret = "host-secret-12", {chap} }}\n'
                           '[[target.lun]]\nstore = "memory:64M"\n') as odxd:
                one_way = odxd.url.replace("//", "//host%host-secret-12@")
                self.assertEqual(tool("iscsi-inq", one_way)[0] == 0, bool(required))
                mutual = one_way + "?target_user=array&target_password="
                self.assertEqual(tool("iscsi-inq", mutual + "array-secret-1")[0], 0)
                self.assertNotEqual(tool("iscsi-inq", mutual + "wrong-secret-1")[0], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
