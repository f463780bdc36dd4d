"""odx scenario --live: the same scripts against odxd processes, over iSCSI and the control interface.

Not tested, and why: a Windows host; odx copy plays it here, for the scripts in scenario/library/hosts. Tokens that TCP
asks for are those of odx ctl, which test/target/control_test.py is about.
"""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ODX = None
ODXD = None
LIBRARY = Path(__file__).resolve().parents[2] / "scenario" / "library"
ASKED = "At the Windows host: "


def run(*words, timeout=300):
    return subprocess.run([ODX, "scenario", "run", *map(str, words)], capture_output=True, text=True, timeout=timeout,
                          check=False)


class Odxd:
    """One that runs, with two disks."""

    def __init__(self, folder):
        self.control = f"unix:{folder}/control"
        self.process = subprocess.Popen(
            [ODXD, "--json", "--portal", "127.0.0.1:0", "--control", self.control, "--log-level", "error",
             "memory:1G", "memory:1G"], stdout=subprocess.PIPE, text=True)
        self.urls = []
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "lun":
                self.urls.append(event["url"])
            if event["event"] == "ready":
                break

    def end(self):
        self.process.terminate()
        self.process.wait(timeout=60)
        self.process.stdout.close()

    def ctl(self, *words):
        done = subprocess.run([ODX, "ctl", "--json", "--url", self.control, *words], capture_output=True, text=True,
                              timeout=60, check=True)
        return json.loads(done.stdout)


class Live(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def script(self, text):
        path = self.folder / "some.lua"
        path.write_text(text, encoding="utf-8")
        return path

    def odxd(self):
        odxd = Odxd(self.folder)
        self.addCleanup(odxd.end)
        return odxd

    def test_the_library_against_an_odxd_for_each_array(self):
        words = ["--live", "odxd", "--odxd", ODXD, "--timeout", 250, LIBRARY]
        results = json.loads(run("--json", "--jobs", 4, *words).stdout)
        failed = [f"{each['name']}: {each['message']}" for each in results["scenarios"] if each["verdict"] == "failed"]
        self.assertEqual(failed, [])
        self.assertEqual(results["skipped"], 11 + 7)  # those of ntfs.lua: ntfs_scenario_test.py
        self.assertGreaterEqual(results["passed"], 100)
        for each in results["scenarios"]:
            if each["verdict"] == "skipped":
                elsewhere = "/hosts/" in each["file"] or each["file"].endswith("/ntfs.lua")
                self.assertIn("live: ", each["message"] + "live: " * elsewhere)

    def test_an_odxd_that_runs_is_as_it_was_afterwards(self):
        odxd = self.odxd()
        before = [odxd.ctl(*what) for what in (("targets", "ls"), ("rules", "ls"), ("reachability", "show"))]
        script = self.script("""
            scenario("copies, and time", function(t)
              local array = t:array { { store = "memory:256M", name = "from" }, { store = "memory:256M", name = "to" } }
              local host = t:host()
              local from, to = host:disk(array, "from"), host:disk(array, "to")
              from:fill { seed = 1, length = "4M" }
              array:add_rule { match = { command = "WRITE USING TOKEN" }, action = { type = "delay", ms = 1500 } }
              local read = from:offload_read { length = "4M", time_to_live = 30 }
              local began = t:now()
              expect(to:offload_write { token = read.token, length = "4M" }, { status = "STATUS_SUCCESS" })
              expect(t:now() - began, 1.5)
              to:expect_data { seed = 1, length = "4M" }
              array:set_unreachable { { a = "from", b = "to" } }
              expect(to:offload_write { token = read.token, length = "4M" }, { sense = "05/08/04" })
              t:advance("31s")
              expect(array:token_state(read.token), "expired")
              t:expect_events { kind = "token_ended", token_state = "expired", exactly = 1 }
            end)
            scenario("another configuration", function(t)
              t:array { luns = { "memory:64M" }, tokens = { lifetime_s = 3 } }
            end)""")
        done = run("--live", odxd.control, script)
        self.assertIn("1 passed, 0 failed, 1 skipped", done.stdout)
        self.assertIn("tokens is of the configuration", done.stdout)
        self.assertEqual([odxd.ctl(*what) for what in (("targets", "ls"), ("rules", "ls"), ("reachability", "show"))],
                         before)
        self.assertEqual(odxd.ctl("clock", "show")["mode"], "real")

    def test_an_odxd_that_is_not_there_fails_the_scenario(self):
        script = self.script('scenario("it", function(t) t:array { "memory:64M" } end)')
        done = run("--live", f"unix:{self.folder}/none", script)
        self.assertEqual(done.returncode, 1)
        self.assertIn("No such file", done.stdout)

    def play_host(self, odxd, name):
        """A script for real hosts, with odx copy as the host. Gives its output."""
        process = subprocess.Popen(
            [ODX, "scenario", "run", "--live", odxd.control, LIBRARY / "hosts", "--filter", name, "--param",
             "patience=60s"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if line.startswith(ASKED) and "copy" in line:
                subprocess.run([ODX, "copy", *odxd.urls, "--length", "8M", "--fallback"], capture_output=True,
                               timeout=60, check=False)
        output = process.stdout.read()
        process.stdout.close()
        process.stderr.close()
        process.wait(timeout=60)
        return output

    def test_scripts_for_real_hosts(self):
        odxd = self.odxd()
        names = [each["name"] for each in json.loads(
            subprocess.run([ODX, "scenario", "list", "--json", LIBRARY / "hosts"], capture_output=True, text=True,
                           check=True).stdout)["scenarios"]]
        self.assertGreaterEqual(len(names), 4)
        for name in names:
            with self.subTest(name=name):
                self.assertIn("1 passed, 0 failed, 0 skipped", self.play_host(odxd, name))


if __name__ == "__main__":
    ODXD = sys.argv.pop(2)
    ODX = sys.argv.pop(1)
    unittest.main()
