#!/usr/bin/env python3
"""`odx run`, which serves disks while a command runs:  captive_run_test.py ODXD ODX

Not tested, and why: Ctrl-C at a terminal (there is none here); that odxd ends when odx is killed between its fork and
its prctl (too short).
"""
import os
import select
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ODXD = ODX = None
# Prints who serves and waits for the end of its standard input.
WHO = "import os, sys; print(os.environ['ISCSI_URL'], flush=True); sys.stdin.read()"


def run(*words, status=0, env=None):
    done = subprocess.run([ODX, "run", "--odxd", ODXD, *map(str, words)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False, env={**os.environ, **(env or {})})
    if done.returncode != status:
        raise AssertionError(f"{words}: exit status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
    return done


def children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return {Path(f"/proc/{child}/comm").read_text(encoding="ascii").strip(): int(child) for child in listed}


class CaptiveRunTest(unittest.TestCase):
    def start(self):
        """odx run, and, as descriptors, its odxd and its command, which runs."""
        process = subprocess.Popen([ODX, "run", "--odxd", ODXD, "memory:1M", "--", sys.executable, "-c", WHO],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.__exit__, None, None, None)
        self.addCleanup(process.kill)
        self.assertIn("iscsi://127.0.0.1:", process.stdout.readline())
        odxd = children(process.pid)["odxd"]
        (command,) = (pid for name, pid in children(process.pid).items() if name != "odxd")
        return process, os.pidfd_open(odxd), os.pidfd_open(command)

    def assert_ends(self, pidfd):
        self.assertTrue(select.select([pidfd], [], [], 30)[0], "it still runs")
        os.close(pidfd)

    def test_the_command_finds_every_disk_and_can_copy_between_them(self):
        done = run("memory:8M", "memory:8M", "--id", "captive", "--", "sh", "-c",
                   f'test "$ISCSI_URL" = "$ISCSI_URL_0" && test "$ISCSI_URLS" = "$ISCSI_URL_0 $ISCSI_URL_1" && '
                   f'"{ODX}" copy --json $ISCSI_URL_0 $ISCSI_URL_1')
        self.assertIn('"STATUS_SUCCESS"', done.stdout)

    def test_the_command_can_steer_the_array_and_nothing_is_left(self):
        with tempfile.TemporaryDirectory() as folder:
            done = run("memory:8M", "--", "sh", "-c", f'echo $ODX_CONTROL && "{ODX}" ctl clock set manual && '
                       "odx ctl luns ls --json", env={"TMPDIR": folder})
            self.assertTrue(done.stdout.startswith(f"unix:{folder}/"), done.stdout)
            self.assertIn('"memory:8M"', done.stdout)
            self.assertEqual(os.listdir(folder), [])

    def test_a_configuration_serves_too_on_a_port_of_ours(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write('[[portal]]\nlisten = "127.0.0.1:1"\n[[target]]\nname = "iqn.2026-11.org.odx:captive"\n'
                       '[[target.lun]]\nstore = "memory:1M"\n')
            file.flush()
            done = run("--config", file.name, "--", "sh", "-c", "echo $ISCSI_URLS")
        self.assertRegex(done.stdout, r"^iscsi://127\.0\.0\.1:\d{2,}/iqn\.2026-11\.org\.odx:captive/0\n$")

    def test_its_exit_code_is_the_commands(self):
        run("memory:1M", "--", "sh", "-c", "exit 3", status=3)
        run("memory:1M", "--", "sh", "-c", "kill -KILL $$", status=128 + signal.SIGKILL)
        self.assertIn("/no/such/program", run("memory:1M", "--", "/no/such/program", status=127).stderr)
        run("memory:1M", "--", "/dev/null", status=126)

    def test_words_behind_the_mark_are_the_commands(self):
        self.assertEqual(run("memory:1M", "--", "echo", "--json", "--", "-x").stdout, "--json -- -x\n")

    def test_without_an_array_nothing_is_run(self):
        done = run("nothing:1M", "--", "echo", "ran", status=2)
        self.assertEqual(done.stdout, "")
        self.assertIn("echo was not run", done.stderr)
        self.assertIn("--", run("memory:1M", status=2).stderr)

    def test_the_array_ends_with_the_command(self):
        process, odxd, _ = self.start()
        process.stdin.close()
        self.assertEqual(process.wait(30), 0)
        self.assert_ends(odxd)

    def test_a_signal_that_ends_it_ends_the_command_and_the_array(self):
        process, odxd, _ = self.start()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30), 128 + signal.SIGTERM)
        self.assert_ends(odxd)

    def test_the_array_does_not_outlive_it(self):
        process, odxd, command = self.start()
        process.kill()
        process.wait(30)
        self.assert_ends(odxd)
        self.assert_ends(command)

    def test_an_array_that_ended_early_is_a_failure(self):
        process, odxd, _ = self.start()
        signal.pidfd_send_signal(odxd, signal.SIGKILL)
        self.assert_ends(odxd)
        process.stdin.close()
        self.assertEqual(process.wait(30), 1)
        self.assertIn("before the command did", process.stderr.read())


if __name__ == "__main__":
    ODXD, ODX = (os.path.abspath(word) for word in sys.argv[1:3])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
