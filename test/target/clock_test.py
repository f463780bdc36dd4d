#!/usr/bin/env python3
"""The array clock of a running odxd, and the file of its journal.

Not tested, and why: that hours of real time are no different (a scaled clock goes through the same code).
Usage: clock_test.py ODXD [unittest arguments]. Uses 127.0.0.1 and free ports only.
"""
import json
import select
import shutil
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from odxd_process import Odxd, odxd_ends  # noqa: E402
from offload import token_of, write_using_token  # noqa: E402
from wire import GOOD, Connection, Session  # noqa: E402

TOKEN_EXPIRED, TOKEN_UNKNOWN = (5, 0x23, 7), (5, 0x23, 4)
LIMIT_S = 60
DISKS = '[[target]]\n[[target.lun]]\nstore = "memory:1G"\n[[target.lun]]\nstore = "memory:1G"\n'


class ClockTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odxd-clock-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.journal = self.folder / "journal.jsonl"
        self.list_identifier = 100

    def odxd(self, text, *options):
        path = self.folder / "array.toml"
        path.write_text(text + f'[journal]\nfile = "{self.journal}"\n' + DISKS)
        return Odxd("--config", path, *options, log_path=self.folder / "odxd.log")

    def write(self, session, token):
        """The outcome of a WRITE USING TOKEN: "GOOD", or key, ASC and ASCQ."""
        self.list_identifier += 1
        cdb, parameters = write_using_token(self.list_identifier, token, [(8, 8)])
        answer = session.command(cdb, data_out=parameters, lun=1)
        return "GOOD" if answer.status == GOOD else answer.key

    def write_until(self, session, token, outcome):
        deadline = time.monotonic() + LIMIT_S
        while (last := self.write(session, token)) != outcome:
            self.assertLess(time.monotonic(), deadline, f"still {last}")

    def events(self, kind=None):
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [each for each in lines if kind in (None, each["kind"])]

    def test_hours_of_array_time_pass_while_connections_notice_nothing(self):
        limits = "[iscsi]\nlogin_timeout_s = 3600\nnop_interval_s = 1800\nnop_timeout_s = 1800\n"
        with self.odxd(limits + '[clock]\nmode = "scaled"\nfactor = 100000\n') as odxd:
            half_open = Connection(odxd.host, odxd.port)
            idle, session = Session(odxd, initiator="iqn.2026-01.example:idle"), Session(odxd)
            idle.clear_unit_attentions(0, 1)
            session.clear_unit_attentions(0, 1)
            token = token_of(session, 0, [(0, 8)])
            self.write_until(session, token, TOKEN_UNKNOWN)  # twice its lifetime, of an hour
            # Neither a NOP-In, a Logout nor an end has come.
            self.assertEqual(select.select([half_open.socket, idle.socket], [], [], 0)[0], [])
            self.assertEqual(idle.command(bytes(6)).status, GOOD)
            for each in (idle, session, half_open):
                each.close()
        ended, forgotten = self.events("token_ended")[0], self.events("token_forgotten")[0]
        self.assertIn("token 1 expired", ended["reason"])
        self.assertGreater(forgotten["time_us"], 2 * 3600 * 10**6)

    def test_a_clock_that_stands_stands_and_the_option_wins(self):
        with self.odxd('[clock]\nmode = "real"\n', "--clock", "manual") as odxd:
            session = Session(odxd).clear_unit_attentions(0, 1)
            self.assertEqual(self.write(session, token_of(session, 0, [(0, 8)])), "GOOD")
            session.close()
        events = self.events()
        self.assertEqual((events[0]["kind"], events[0]["clock"]), ("start", "manual"))
        self.assertEqual({each["time_us"] for each in events[1:]}, {0})
        self.assertEqual([each["sequence"] for each in events[1:]], list(range(1, len(events))))
        self.assertEqual([each["command"] for each in events if each["kind"] == "command"],
                         ["POPULATE TOKEN", "RECEIVE ROD TOKEN INFORMATION", "WRITE USING TOKEN"])
        self.assertEqual(events[-1]["kind"], "logout")

    def test_a_second_start_appends(self):
        for _ in range(2):
            with self.odxd(""):
                pass
        self.assertEqual([each["kind"] for each in self.events()], ["start", "start"])

    def test_what_cannot_be_is_refused(self):
        code, _, error = odxd_ends("--clock", "fast", "memory:1G")
        self.assertEqual(code, 2)
        self.assertIn('--clock is "fast"; expected real, manual or scaled:FACTOR', error)
        self.journal = self.folder / "nowhere" / "journal.jsonl"
        with self.assertRaises(AssertionError) as raised:
            self.odxd("")
        self.assertIn("journal.file: ", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
