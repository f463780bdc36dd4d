#!/usr/bin/env python3
"""Saved mode pages and identifying information through real starts and ends of odxd, and memory that runs low.

Not tested, and why: calls that fail (state_file_test.cc), loss of power.
Usage: settings_test.py ODXD [unittest arguments]. Uses 127.0.0.1 and free ports only.
"""
import os
import random
import signal
import sys
import threading
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
import reservations_test as kept_state  # noqa: E402
from odxd_process import odxd_ends  # noqa: E402
from offload import write16  # noqa: E402
from wire import GOOD, Closed  # noqa: E402

PF, SP = 0x10, 0x01
CONTROL, CACHING = 0x0A, 0x08
SAVED = 0xC0
MIB = 1 << 20


def mode_sense(nexus, page, subpage=0, lun=0):
    """A mode page without its header; the sense key instead where there is none."""
    answer = nexus.command(bytes([0x1A, 0x08, page, subpage, 255, 0]), data_in=255, lun=lun)
    return bytearray(answer.data[4:]) if answer.status == GOOD else answer.key


def mode_select(nexus, page, flags=PF | SP, lun=0):
    data = bytes(4) + page
    return nexus.command(bytes([0x15, flags, 0, 0, len(data), 0]), data_out=data, lun=lun)


def control(swp):
    page = bytearray(12)
    page[:5] = [CONTROL, 10, 2, 0, 8 if swp else 0]
    return bytes(page)


class Settings(kept_state.ReservationsTest):
    def setUp(self):
        super().setUp()
        self.kept = self.folder / "disk.img.settings"

    def persists(self, start, how, lun=0):
        odxd = start()
        self.addCleanup(odxd.end, signal.SIGKILL)
        a, b = odxd.nexus("a"), odxd.nexus("b")
        self.assertEqual(mode_sense(a, CONTROL, lun=lun)[0], 0x80 | CONTROL)
        self.good(mode_select(a, control(swp=True), lun=lun))
        self.assertEqual(b.attention(lun), (6, 0x2A, 1))  # MODE PARAMETERS CHANGED
        self.good(a.command(bytes([0xA4, 6] + [0] * 7 + [4, 0, 0]), data_out=b"rack", lun=lun))
        self.good(mode_select(a, bytes([CACHING, 18]) + bytes(18), flags=PF, lun=lun))
        self.assertEqual(odxd.end(how), 0 if how == signal.SIGTERM else -how)
        with start() as odxd:
            c = odxd.nexus("c")
            self.assertEqual(mode_sense(c, CONTROL, lun=lun)[4], 8)
            self.assertEqual(mode_sense(c, CONTROL | SAVED, lun=lun)[4], 8)
            self.assertEqual(mode_sense(c, CONTROL | 0x80, lun=lun)[4], 0)
            self.assertEqual(mode_sense(c, CACHING, lun=lun)[2], 4)  # was not saved
            told = c.command(bytes([0xA3, 5] + [0] * 7 + [64, 0, 0]), data_in=64, lun=lun).data
            self.assertEqual(told, bytes([0, 0, 0, 4]) + b"rack")
            if lun == 0:
                self.assertEqual(c.command(write16(0, 1), data_out=bytes(512), lun=lun).key, (7, 0x27, 2))

    def test_a_file_s_settings_survive_an_orderly_end(self):
        self.persists(self.on_the_image, signal.SIGTERM)

    def test_a_file_s_settings_survive_a_kill(self):
        self.persists(self.on_the_image, signal.SIGKILL)

    def test_memory_s_settings_survive_in_the_state_folder(self):
        self.persists(self.with_state_dir, signal.SIGKILL)
        self.assertEqual(sorted(os.listdir(self.folder / "state")), ["lun0.settings"])

    def test_a_read_only_image_s_settings_survive_in_the_state_folder(self):
        self.persists(self.with_state_dir, signal.SIGKILL, lun=1)
        self.assertFalse(self.kept.exists())

    def test_where_nothing_is_kept_saving_is_refused(self):
        with self.odxd("memory:64M") as odxd:
            a = odxd.nexus("a")
            self.assertEqual(mode_sense(a, CONTROL)[0], CONTROL)
            self.assertEqual(mode_select(a, control(swp=True)).key, (5, 0x24, 0))
            self.assertEqual(mode_sense(a, CONTROL | SAVED), (5, 0x39, 0))

    def test_a_file_that_is_not_what_was_written_stops_the_start(self):
        self.kept.write_bytes(b"x" * 100)
        status, output, error = odxd_ends("--portal", "127.0.0.1:0", f"file:{self.image}")
        self.assertEqual((status, output), (1, ""))
        self.assertIn(f"{self.kept}: does not hold saved settings: it does not begin as such a file does", error)

    def test_a_kill_at_any_moment_leaves_what_was_answered_or_what_was_being_done(self):
        """Identifiers count up; a start finds the last that was answered, or the one after it."""
        seed = int.from_bytes(os.urandom(4), "big")
        print(f"seed {seed}", file=sys.stderr)
        chance = random.Random(seed)
        answered = 0
        for _ in range(8):
            odxd = self.on_the_image()
            a = odxd.nexus("a")
            told = a.command(bytes([0xA3, 5] + [0] * 7 + [64, 0, 0]), data_in=64).data
            found = int.from_bytes(told[4:], "big")
            self.assertIn(found, (answered, answered + 1))
            answered = found
            killer = threading.Timer(chance.uniform(0.01, 0.2), odxd.process.kill)
            killer.start()
            try:
                while a.command(bytes([0xA4, 6] + [0] * 7 + [4, 0, 0]),
                                data_out=(answered + 1).to_bytes(4, "big")).status == GOOD:
                    answered += 1
            except (Closed, OSError):
                pass
            killer.join()
            odxd.end()
        self.assertGreater(answered, 0)


class Thresholds(kept_state.ReservationsTest):
    def test_hosts_are_told_when_memory_runs_low_whoever_uses_it_up(self):
        config = self.folder / "array.toml"
        config.write_text("""memory_limit = "64M"
[[target]]
[[target.lun]]
store = "memory:1G"
soft_threshold = "32M"
[[target.lun]]
store = "memory:1G"
""")
        with self.odxd("--config", config) as odxd:
            a, b = odxd.nexus("a"), odxd.nexus("b")
            for at in range(24):
                self.good(a.command(write16(at * 2048, 2048), data_out=os.urandom(MIB), lun=1))
            self.assertIsNone(a.attention(0))
            for at in range(24, 40):
                self.good(a.command(write16(at * 2048, 2048), data_out=os.urandom(MIB), lun=1))
            self.assertEqual([each.attention(lun) for lun in (0, 1) for each in (a, b)],
                             [(6, 0x38, 7), (6, 0x38, 7), None, None])
            self.assertIsNone(a.attention(0))
            page = a.command(bytes([0x4D, 0, 0x4C, 0, 0, 0, 0, 0, 64, 0]), data_in=64).data
            available, used = (int.from_bytes(page[at:at + 4], "big") for at in (8, 20))
            self.assertTrue(20 <= available <= 24 and 40 <= used <= 44, (available, used))
            # And at the end of it, as before: SPACE ALLOCATION FAILED WRITE PROTECT.
            keys = [a.command(write16(at * 2048, 2048), data_out=os.urandom(MIB), lun=1).key for at in range(40, 72)]
            self.assertEqual(keys[-1], (7, 0x27, 7))


if __name__ == "__main__":
    unittest.main(verbosity=2)
