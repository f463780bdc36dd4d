"""odx scenario, as a user starts it: options, exit codes, documents that other programs read.

Not tested, and why: what scripts can do, which test/scenario and scenario/library are about.
"""
import json
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

ODX = None

SCRIPT = """
scenario("good", function(t) t:advance("2h") end)
scenario("bad & <worse>", function(t)
  print("a note")
  expect(1, 2)
end)
scenario("skipped", function(t) t:skip("no reason") end)
scenario("with a parameter", function(t) expect(param.colour, "red") expect(t:seed(), 5) end)
"""


class Scenario(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = Path(self.folder.name) / "some.lua"
        self.path.write_text(SCRIPT, encoding="utf-8")

    def odx(self, *words):
        return subprocess.run([ODX, "scenario", *map(str, words)], capture_output=True, text=True, timeout=300,
                              check=False)

    def test_exit_codes(self):
        self.assertEqual(self.odx("run", self.path, "--filter", "good").returncode, 0)
        self.assertEqual(self.odx("run", self.path, "--filter", "skipped").returncode, 0)
        self.assertEqual(self.odx("run", self.path).returncode, 1)
        run = ["run", self.path]
        for words in (["run"], [*run, "--jobs", "0"], [*run, "--param", "x"], [*run, "--filter", "nothing of it"],
                      [*run, "--image-dir", "/nonexistent"], ["run", self.path.parent / "none.lua"],
                      ["walk", self.path], []):
            with self.subTest(words=words):
                done = self.odx(*words)
                self.assertEqual(done.returncode, 2)
                self.assertNotEqual(done.stderr + done.stdout, "")

    def test_text_ends_with_the_sums_and_tells_where(self):
        done = self.odx("run", self.path, "--param", "colour=red", "--seed", "5")
        self.assertTrue(done.stdout.endswith("2 passed, 1 failed, 1 skipped\n"))
        self.assertIn(f"{self.path}:5: it is 1; expected 2", done.stdout)
        self.assertIn("script       a note", done.stdout)

    def test_a_bad_script_is_told_with_its_line_and_nothing_runs(self):
        bad = self.path.parent / "zbad.lua"
        bad.write_text("\nscenario('x', function(t)\n", encoding="utf-8")
        done = self.odx("run", self.path.parent)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertTrue(done.stderr.startswith(f"{bad}:3: "), done.stderr)

    def test_list_names_what_run_would_run(self):
        names = [f"{self.path}: {name}" for name in ("good", "bad & <worse>", "skipped", "with a parameter")]
        self.assertEqual(self.odx("list", self.path).stdout.splitlines(), names)
        self.assertEqual(self.odx("run", self.path, "--list", "--filter", "a parameter").stdout.splitlines(), names[3:])
        document = json.loads(self.odx("list", self.path, "--json").stdout)
        self.assertEqual([each["name"] for each in document["scenarios"]][0], "good")

    def test_tap_has_its_plan(self):
        lines = self.odx("run", self.path, "--tap").stdout.splitlines()
        self.assertEqual(lines[:2], ["TAP version 13", "1..4"])
        results = [line for line in lines if line.startswith(("ok ", "not ok "))]
        self.assertEqual([line.split(" - ")[0] for line in results], ["ok 1", "not ok 2", "ok 3", "not ok 4"])
        self.assertTrue(results[2].endswith("# SKIP no reason"))

    def test_junit_is_xml_with_a_case_for_each(self):
        junit = self.path.parent / "results.xml"
        self.odx("run", self.path, "--junit", junit)
        suites = xml.etree.ElementTree.parse(junit).getroot()
        self.assertEqual({key: suites.get(key) for key in ("tests", "failures", "skipped")},
                         {"tests": "4", "failures": "2", "skipped": "1"})
        cases = {case.get("name"): case for case in suites.iter("testcase")}
        self.assertIn("it is 1; expected 2", cases["bad & <worse>"].find("failure").get("message"))
        self.assertIsNotNone(cases["skipped"].find("skipped"))
        self.assertEqual(len(cases["good"]), 0)

    def test_json_tells_the_array_time(self):
        document = json.loads(self.odx("run", self.path, "--json").stdout)
        self.assertEqual((document["passed"], document["failed"], document["skipped"]), (1, 2, 1))
        self.assertEqual(document["scenarios"][0]["array_seconds"], 7200)

    def test_the_same_seed_gives_the_same_events(self):
        script = self.path.parent / "same.lua"
        script.write_text("""
            scenario("copies", function(t)
              local array = t:array { "memory:1G" }
              local disk = t:host():disk(array, 0)
              disk:fill { seed = t:seed(), length = "1M" }
              for i = 1, 10 do
                local read = disk:offload_read { length = "1M", time_to_live = math.random(1, 20) }
                t:advance(math.random(1, 20))
                local write = disk:offload_write { token = read.token, offset = "8M", length = "1M" }
                print(sha256(read.token), write.status)
              end
            end)""", encoding="utf-8")
        first, second, other = (self.odx("run", script, "--events", "--seed", seed).stdout for seed in (1, 1, 2))
        self.assertEqual(first, second)
        self.assertNotEqual(first, other)

    def test_the_same_seed_gives_the_same_journal_of_the_whole_library(self):
        library = Path(__file__).resolve().parents[2] / "scenario" / "library"
        journals = [self.path.parent / f"{number}.jsonl" for number in range(3)]
        for journal, jobs, seed in zip(journals, (2, 4, 4), (7, 7, 8)):
            done = self.odx("run", library, "--jobs", jobs, "--seed", seed, "--journal", journal)
            self.assertEqual(done.returncode, 0, done.stdout)
        first, again, other = (journal.read_bytes() for journal in journals)
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)
        kinds = {json.loads(line)["kind"] for line in first.splitlines()}
        self.assertLessEqual({"scenario", "command", "refusal", "token_ended", "copy_ended", "rule_hit"}, kinds)

    def test_files_are_disks_only_in_the_granted_folder(self):
        script = self.path.parent / "files.lua"
        script.write_text("""
            scenario("a file", function(t)
              local array = t:array { "file:disk.img,size=64M" }
              local disk = t:host():disk(array, 0)
              disk:fill { seed = 1, length = "1M" }
              array:restart()
              disk:expect_data { seed = 1, length = "1M" }
            end)""", encoding="utf-8")
        self.assertEqual(self.odx("run", script).returncode, 1)
        images = self.path.parent / "images"
        images.mkdir()
        done = self.odx("run", script, "--image-dir", images)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual((images / "disk.img").stat().st_size, 64 << 20)


if __name__ == "__main__":
    ODX = sys.argv.pop(1)
    unittest.main()
