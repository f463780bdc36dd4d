#!/usr/bin/env python3
"""What is left when something breaks while `odx cp` runs:  cp_crash_test.py ODXD ODX NTFS_IMAGE

The copy is slow because odxd's copies take time, it is followed on its progress bar, and stopped (SIGSTOP) where
something is to happen between two requests.

Not tested, and why: a machine that loses power (odxd writes through the page cache, which a killed process keeps).
"""
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from ntfs_volumes import (  # noqa: E402  pylint: disable=wrong-import-position
    CopyTest, MIB, ODX, Odxd, Readers, odx, sha256)

LIMIT_S = 60
SIZE = 12 * MIB
# Tokens, writes and so the steps of the bar are of 1 MiB, and each takes an eighth of a second.
SLOW = '[tokens]\noptimal_transfer = "1M"\n[copy]\nrate = "8M"\n'


class Copy:
    """odx cp under way, with a terminal for its progress bar."""

    def __init__(self, *words):
        self.terminal, end = pty.openpty()
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [ODX, "cp", "--explain", *words], stdout=subprocess.PIPE, stderr=end, text=True)
        os.close(end)
        self.shown = ""

    def wait_until(self, percent):
        """Until the bar says so; what it says then. The process is stopped there."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            done = re.findall(r"\] +(\d+\.\d)%", self.shown)
            if done and float(done[-1]) >= percent:
                self.process.send_signal(signal.SIGSTOP)
                return float(done[-1])
            left = max(0, deadline - time.monotonic())
            if not select.select([self.terminal], [], [], left)[0]:
                raise AssertionError(f"no {percent}% within {LIMIT_S} s: {self.shown!r}")
            try:
                self.shown += os.read(self.terminal, 4096).decode()
            except OSError as error:
                raise AssertionError(f"it ended: {self.process.stdout.read()}") from error

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        """Exit status and standard output."""
        try:
            text, _ = self.process.communicate(timeout=LIMIT_S)
            return self.process.returncode, text
        finally:
            self.process.kill()
            os.close(self.terminal)


class CrashTest(CopyTest):
    size = SIZE
    extra = SLOW

    def setUp(self):
        super().setUp()
        self.source = self.image("source", "--size", self.size + 32 * MIB, files=(f"file,size={self.size},runs=3",))
        self.other = self.image("other", "--size", self.size + 32 * MIB, files=("there,size=1M",))
        urls = self.serve(self.source, self.other, extra=self.extra)
        self.words = (f"{urls[0]}#/file", f"{urls[1]}#/file")
        self.copy = Copy(*self.words)

    def whole(self, readers):
        self.assertEqual(sha256(readers.read("file")), self.source.files["file"]["sha256"])
        self.assertEqual(sha256(readers.read("there")), self.other.files["there"]["sha256"])
        readers.check()

    def offloaded(self, text):
        """Bytes offloaded and bytes read and written, as odx says."""
        return tuple(int(re.search(rf"^{what} bytes +(\d+)", text, re.M).group(1)) for what in
                     ("offloaded", "read written"))


class KilledTest(CrashTest):
    def test_what_a_killed_target_leaves_is_valid_up_to_where_the_copy_got_and_zeros_beyond(self):
        percent = self.copy.wait_until(25)
        self.array.end(signal.SIGKILL)
        self.copy.go_on()
        status, text = self.copy.end()
        self.assertEqual(status, 1)
        self.assertIn("what was copied could not be deleted", text)
        # Made long enough before, so it has its length; what was told done is there, what was not is zeros.
        with Readers(self.source) as readers:
            data = readers.read("file")
        with Readers(self.other) as readers:
            left = readers.read("file")
            self.assertEqual(len(left), self.size)
            valid = len(left.rstrip(b"\0"))
            self.assertGreaterEqual(valid, int(percent / 100 * self.size) // MIB * MIB - MIB)
            valid = -(-valid // MIB) * MIB
            self.assertLess(valid, self.size)
            self.assertEqual(left, data[:valid] + bytes(self.size - valid))
            self.assertEqual(sha256(readers.read("there")), self.other.files["there"]["sha256"])
            readers.check()
        urls = self.serve(self.source, self.other)
        self.assertEqual(odx("cp", f"{urls[0]}#/file", f"{urls[1]}#/file")[0], 0)
        self.end()
        with Readers(self.other) as readers:
            self.whole(readers)

    def test_a_target_that_is_back_at_once_knows_no_token_and_the_rest_is_read_and_written(self):
        self.copy.wait_until(25)
        port = self.array.port
        self.array.end(signal.SIGKILL)
        self.array = Odxd("--config", self.folder / "array.toml", portal=f"127.0.0.1:{port}",
                          log_path=self.folder / "again.log")
        self.addCleanup(self.kill)
        self.copy.go_on()
        status, text = self.copy.end()
        self.assertEqual(status, 0, text)
        by_array, by_hand = self.offloaded(text)
        self.assertEqual(by_array + by_hand, self.size)
        self.assertGreaterEqual(by_array, 2 * MIB)
        self.end()
        with Readers(self.other) as readers:
            self.whole(readers)


class InterruptedTest(CrashTest):
    def test_the_second_signal_ends_it_at_once(self):
        self.copy.wait_until(25)
        self.array.process.send_signal(signal.SIGSTOP)  # so that the first one cannot end it
        try:
            self.copy.process.send_signal(signal.SIGINT)
            self.copy.go_on()
            deadline = time.monotonic() + LIMIT_S
            while self.copy.process.poll() is None and time.monotonic() < deadline:
                self.copy.process.send_signal(signal.SIGINT)
            self.assertEqual(self.copy.end()[0], -signal.SIGINT)
        finally:
            self.array.process.send_signal(signal.SIGCONT)

    def test_a_copy_that_is_called_off_is_deleted_and_the_volume_left_in_order(self):
        self.copy.wait_until(25)
        self.copy.process.send_signal(signal.SIGINT)
        self.copy.go_on()
        status, text = self.copy.end()
        self.assertEqual(status, 1)
        self.assertIn("STATUS_CANCELLED", text)
        self.assertIn("what was copied is deleted", text)
        self.end()
        with Readers(self.other) as readers:
            self.assertEqual(readers.names(), ["there"])
            readers.check()


class UnreachableTest(CrashTest):
    def test_a_pair_that_is_cut_is_copied_by_hand_from_there(self):
        self.copy.wait_until(25)
        config = self.folder / "array.toml"
        config.write_text(config.read_text() + '[[unreachable]]\na = "lun0"\nb = "lun1"\n')
        self.array.process.send_signal(signal.SIGUSR2)
        self.array.wait_for_log("unreachable")
        self.copy.go_on()
        status, text = self.copy.end()
        self.assertEqual(status, 0, text)
        self.assertIn("STATUS_DEVICE_UNREACHABLE", text)
        by_array, by_hand = self.offloaded(text)
        self.assertEqual(by_array + by_hand, self.size)
        self.assertGreaterEqual(by_array, 2 * MIB)
        self.assertGreaterEqual(by_hand, MIB)
        self.end()
        with Readers(self.other) as readers:
            self.whole(readers)


class ExpiredTest(CrashTest):
    size = 200 * MIB
    # One token for all of it, writes of 64 MiB; after two of them the four seconds of a request are over.
    extra = ('[tokens]\noptimal_transfer = 0\ndefault_inactivity_timeout_s = 1\n[copy]\nlatency_ms = 2100\n')

    def test_a_token_that_expires_between_two_writes_is_given_up_for_reading_and_writing(self):
        self.copy.wait_until(60)
        self.wait_for_no_token()
        self.copy.go_on()
        status, text = self.copy.end()
        self.assertEqual(status, 0, text)
        self.assertIn("STATUS_INVALID_TOKEN", text)
        self.assertEqual(self.offloaded(text), (128 * MIB, 72 * MIB))
        self.end()
        with Readers(self.other) as readers:
            self.whole(readers)

    def wait_for_no_token(self):
        """Until the report on the array says that no token lives."""
        deadline = time.monotonic() + LIMIT_S
        reports = 0
        while time.monotonic() < deadline:
            self.array.process.send_signal(signal.SIGUSR1)
            reports += 1
            self.array.wait_for_log("tokens", reports)
            last = [line for line in self.array.log().splitlines() if "tokens" in line][-1]
            if re.search(r"\b0 tokens|tokens 0\b|tokens: 0\b", last):
                return
        raise AssertionError("the token lives on")


if __name__ == "__main__":
    unittest.main()
