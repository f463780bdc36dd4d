#!/usr/bin/env python3
"""An odx that was built without NTFS:  without_ntfs_test.py ODXD ODX

Not tested, and why: everything that odx_test.py tests of raw disks; the code is the same.
"""
import subprocess
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / folder) for folder in ("target", "interop")]
ODX = sys.argv.pop(2)
from odxd_process import Odxd  # noqa: E402  pylint: disable=wrong-import-position

MIB = 1 << 20


def odx(*words):
    done = subprocess.run([ODX, *words], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


class WithoutNtfs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.odxd = Odxd("memory:64M", "memory:64M")

    @classmethod
    def tearDownClass(cls):
        cls.odxd.end()

    def test_no_ntfs_library_is_loaded(self):
        loaded = subprocess.run(["ldd", ODX], capture_output=True, text=True, check=True).stdout
        self.assertIn("libiscsi", loaded)
        self.assertNotIn("ntfs", loaded)

    def test_a_range_of_a_disk_is_offloaded_to_another(self):
        status, output = odx("copy", "--length", "1M", *self.odxd.urls)
        self.assertEqual(status, 0, output)
        self.assertIn("STATUS_SUCCESS", output)

    def test_what_needs_ntfs_says_that_it_is_not_there(self):
        file = self.odxd.urls[0] + "#/a"
        for words in (["cp", file, "/tmp"], ["ls", file], ["extents", file], ["fsctl", "offload-read", file]):
            with self.subTest(words[0]):
                status, output = odx(*words)
                self.assertNotEqual(status, 0)
                self.assertIn("built without NTFS", output)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
