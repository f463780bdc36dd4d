"""scenario/library/ntfs.lua on a real volume, in one process and over iSCSI.

    ntfs_scenario_test.py ODXD ODX NTFS_IMAGE

Not tested, and why: an odx without NTFS, which skips these scenarios as it does without --volume: CI builds one, and
has no time to run its tests again.
"""
import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ODXD = ODX = NTFS_IMAGE = None
SCRIPT = Path(__file__).resolve().parents[2] / "scenario" / "library" / "ntfs.lua"


def odx_scenario(*words):
    return subprocess.run([ODX, "scenario", "run", *map(str, words)], capture_output=True, text=True, timeout=100,
                          check=False)


class Ntfs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.image = Path(folder.name) / "volume.img"
        # As the script says that its image is made.
        told = re.search(r"ntfs_image volume.img (.*?)\n--   odx", SCRIPT.read_text(encoding="utf-8"), re.S)[1]
        words = [word for word in told.split() if word not in ("\\", "--")]
        subprocess.run([NTFS_IMAGE, self.image, *words], stdout=subprocess.DEVNULL, timeout=60, check=True)

    def results(self, *words):
        done = odx_scenario("--json", *words, SCRIPT)
        document = json.loads(done.stdout)
        failed = [each for each in document["scenarios"] if each["verdict"] == "failed"]
        self.assertEqual(failed, [])
        return document

    def test_all_pass_in_one_process_and_the_image_stays_as_it_is(self):
        before = self.image.read_bytes()
        document = self.results("--volume", f"ntfs={self.image}")
        self.assertEqual((document["passed"], document["skipped"]), (7, 0))
        self.assertEqual(self.image.read_bytes(), before)

    def test_all_pass_over_iscsi(self):
        document = self.results("--volume", f"ntfs={self.image}", "--live", "odxd", "--odxd", ODXD, "--jobs", 2)
        self.assertEqual((document["passed"], document["skipped"]), (7, 0))

    def test_without_an_image_they_are_skipped(self):
        document = self.results()
        self.assertEqual((document["passed"], document["skipped"]), (0, 7))
        self.assertIn("needs --volume ntfs=FILE", document["scenarios"][0]["message"])

    def test_what_is_no_volume_is_told(self):
        for words, text in ((["--volume", "ntfs"], "expected NAME=FILE"),
                            (["--volume", "ntfs=/nonexistent"], "there is no file")):
            with self.subTest(words=words):
                done = odx_scenario(*words, SCRIPT)
                self.assertEqual(done.returncode, 2)
                self.assertIn(text, done.stderr)
        self.image.write_bytes(bytes(8 << 20))
        done = odx_scenario("--volume", f"ntfs={self.image}", "--filter", "in pieces", SCRIPT)
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no NTFS volume", done.stdout)


if __name__ == "__main__":
    ODXD, ODX, NTFS_IMAGE = sys.argv[1:4]
    del sys.argv[1:4]
    unittest.main()
