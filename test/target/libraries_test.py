"""Which libraries odxd loads: none that is GPL. Usage: libraries_test.py ODXD [HANDLER...]"""
import subprocess
import sys
import unittest

PROGRAMS = sys.argv[1:]


class Libraries(unittest.TestCase):
    """Not tested, and why: that odx does load libntfs-3g; its commands on files would not work without."""

    def test_none_of_the_target_needs_libntfs(self):
        for program in PROGRAMS:
            loaded = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
            self.assertIn("libc.so", loaded)
            self.assertNotIn("ntfs", loaded, program)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
