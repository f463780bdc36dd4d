#!/usr/bin/env python3
"""Every row of the tables of FSCTL_OFFLOAD_READ and FSCTL_OFFLOAD_WRITE (MS-FSCC 2.3.42 and 2.3.44, and the pages of
the WDK), produced by a real situation: odxd serves disks with volumes that other programs made, a Windows host of ours
mounts them through iSCSI, and a relay between the two writes down what the array saw. Each test asserts the NTSTATUS,
the bytes of the reply and the exact list of commands: none, where Windows sends none.

Not tested, and why: TxF, EFS and deduplication at work (nothing on Linux operates them: files are marked so on the
disk); real filters, shutdowns and locks (they are state of the host that is played here).
Usage: fsctl_rows_test.py ODXD HOST_PROCESS NTFS_IMAGE [unittest arguments]. Uses 127.0.0.1 and free ports only.
"""
import os
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))
os.environ["ODXD"], os.environ["HOST_PROCESS"], os.environ["NTFS_IMAGE"] = sys.argv[1:4]
del sys.argv[1:4]
# pylint: disable=wrong-import-position
try:
    import pyfsntfs  # noqa: F401  pylint: disable=unused-import
except ImportError:
    if os.environ.get("CI") == "true":
        raise
    print("python3-libfsntfs is not installed\n0 passed, 0 failed, 1 skipped")
    sys.exit()
from fsctl_limits import Limits  # noqa: E402
from fsctl_read_rows import ReadRows  # noqa: E402
from fsctl_write_rows import WriteRows  # noqa: E402


class Documented(unittest.TestCase):
    def test_table_of_the_documentation_names_exactly_the_tests(self):
        text = (ROOT / "docs" / "windows.md").read_text(encoding="utf-8")
        section = text.partition("\n## Every status, its situation and its test\n")[2].partition("\n## ")[0]
        named = re.findall(r"`(test_\w+)`", section)
        tests = [name for rows in (ReadRows, WriteRows, Limits) for name in dir(rows) if name.startswith("test_")]
        self.assertEqual(sorted(named), sorted(tests))


if __name__ == "__main__":
    unittest.main()
