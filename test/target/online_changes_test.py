#!/usr/bin/env python3
"""SIGUSR2: targets and LUNs that come, go and change their size under load, as hosts and their tools see it.

Not tested, and why: block devices that grow (needs root and a loop device); what needs a restart, in full
(reload_test.cc). Usage: online_changes_test.py ODXD [unittest arguments]. Uses 127.0.0.1 and free ports only.
"""
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import types
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from odxd_process import Odxd, tool  # noqa: E402
from offload import read16, token_of, write16, write_using_token  # noqa: E402
from wire import ASYNC, GOOD, Closed, Session  # noqa: E402

BLOCK = 512
ONE, TWO = "iqn.2026-11.org.example:one", "iqn.2026-11.org.example:two"
LUNS_CHANGED, CAPACITY_CHANGED, POWER_ON = (6, 0x3F, 0x0E), (6, 0x2A, 0x09), (6, 0x29, 0x00)
NOT_SUPPORTED, OUT_OF_RANGE, TOKEN_CANCELLED = (5, 0x25, 0x00), (5, 0x21, 0x00), (5, 0x23, 0x08)
COPY_STOPPED = (0xA, 0x2F, 0x02)
TEST_UNIT_READY = bytes(6)
READ_CAPACITY_16 = bytes([0x9E, 0x10, *bytes(8), 0, 0, 0, 32, 0, 0])
REPORT_LUNS = bytes([0xA0, *bytes(5), 0, 0, 1, 0, 0, 0])


def target(name, *luns):
    """A [[target]]; each LUN its number, its store and what else is to be said of it."""
    text = f'[[target]]\nname = "{name}"\n'
    for number, store, *more in luns:
        text += f'[[target.lun]]\nnumber = {number}\nstore = "{store}"\n' + "".join(line + "\n" for line in more)
    return text


class OnlineTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odxd-online-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.config = self.folder / "array.toml"

    def odxd(self, text):
        self.config.write_text(text)
        return Odxd("--config", self.config, log_path=self.folder / "odxd.log")

    def reload(self, odxd, text):
        """What odxd says to the new file."""
        self.config.write_text(text)
        before = odxd.log().count("SIGUSR2: ")
        odxd.process.send_signal(signal.SIGUSR2)
        odxd.wait_for_log("SIGUSR2: ", count=before + 1)
        return odxd.log().split("SIGUSR2: ")[before + 1].splitlines()[0]

    def session(self, odxd, name=ONE, host="host", luns=()):
        where = types.SimpleNamespace(host=odxd.host, port=odxd.port, iqn=name, lun=int)
        session = Session(where, f"iqn.2026-11.org.example:{host}")
        self.addCleanup(session.socket.close)
        return session.clear_unit_attentions(*luns) if luns else session

    def image(self, name, size="8M"):
        return f"file:{self.folder / name},size={size}"

    @staticmethod
    def key(session, lun=0, cdb=TEST_UNIT_READY, **data):
        answer = session.command(cdb, lun=lun, **data)
        return "GOOD" if answer.status == GOOD else answer.key

    @staticmethod
    def luns(session):
        data = session.command(REPORT_LUNS, data_in=256).data
        return [data[at + 1] for at in range(8, len(data), 8)]

    @staticmethod
    def pages(session, lun):
        """Device Identification and Block Limits."""
        return [session.command(bytes([0x12, 1, page, 1, 0, 0]), data_in=256, lun=lun).data for page in (0x83, 0xB0)]

    @staticmethod
    def blocks(session, lun=0):
        return int.from_bytes(session.command(READ_CAPACITY_16, data_in=32, lun=lun).data[:8], "big") + 1


class WhatHostsSee(OnlineTest):
    def test_luns_that_come_and_go(self):
        both = target(ONE, (0, "memory:64M"), (4, self.image("a.img")))
        with self.odxd(target(ONE, (0, "memory:64M"))) as odxd:
            session, other = self.session(odxd, luns=[0]), self.session(odxd, host="other", luns=[0])
            self.assertRegex(self.reload(odxd, both), "^1 changes, 0 unreachable pairs in ")
            self.assertRegex(odxd.next_line(), rf"^lun iscsi://127\.0\.0\.1:\d+/{ONE}/4$")
            self.assertEqual(self.luns(session), [0, 4])
            self.assertEqual(self.key(session), "GOOD")  # REPORT LUNS told it
            self.assertEqual([self.key(other), self.key(other)], [LUNS_CHANGED, "GOOD"])
            self.assertEqual([self.key(session, 4), self.key(session, 4)], [POWER_ON, "GOOD"])
            data = bytes(range(256)) * 2
            self.assertEqual(self.key(session, 4, write16(0, 1), data_out=data), "GOOD")

            self.reload(odxd, target(ONE, (0, "memory:64M")))
            self.assertEqual(self.key(session, 4), NOT_SUPPORTED)
            self.assertEqual([self.key(session), self.key(other), self.luns(session)],
                             [LUNS_CHANGED, LUNS_CHANGED, [0]])
            odxd.wait_for_log("lun4 is removed")
            self.assertEqual((self.folder / "a.img").read_bytes()[:BLOCK], data)
            # Its file is free for others, and a LUN with the same number is another disk or the same, as its data is.
            with Odxd(f"file:{self.folder / 'a.img'}") as second:
                self.assertEqual(len(second.urls), 1)
            self.reload(odxd, both)
            session.clear_unit_attentions(0, 4)
            self.assertEqual(session.command(read16(0, 1), data_in=BLOCK, lun=4).data, data)
            session.close()
            other.close()

    def test_luns_that_grow_and_shrink(self):
        def text(memory, file):
            return target(ONE, (0, f"memory:{memory}"), (1, self.image("a.img", file)), (2, "memory:1M"))

        with self.odxd(text("4M", "4M")) as odxd:
            session, other = self.session(odxd, luns=[0, 1, 2]), self.session(odxd, host="other", luns=[0, 1, 2])
            for lun in (0, 1):
                self.assertEqual(self.key(session, lun, write16(8192, 1), data_out=bytes(BLOCK)), OUT_OF_RANGE)
            before = [self.pages(session, lun) for lun in (0, 1)]
            self.reload(odxd, text("8M", "8M"))
            for each in (session, other):
                for lun in (0, 1):
                    self.assertEqual([self.key(each, lun), self.blocks(each, lun)], [CAPACITY_CHANGED, 16384])
                self.assertEqual(self.key(each, 2), "GOOD")
            self.assertEqual([self.pages(session, lun) for lun in (0, 1)], before)
            for lun in (0, 1):
                self.assertEqual(self.key(session, lun, write16(16383, 1), data_out=b"x" * BLOCK), "GOOD")
            status, output = tool("iscsi-readcapacity16", odxd.urls[0])
            self.assertEqual(status, 0, output)
            self.assertIn("Total size:8388608", output)
            self.reload(odxd, text("2M", "8M"))
            self.assertEqual([self.key(session), self.blocks(session)], [CAPACITY_CHANGED, 4096])
            self.assertEqual(self.key(session, 0, read16(16383, 1), data_in=BLOCK), OUT_OF_RANGE)
            self.assertRegex(self.reload(odxd, text("4M", "4M")),
                             "^nothing changes: .*array.toml:8:9: .lun1. cannot have 4194304 bytes: it has 8388608, "
                             "and a file or device that is served does not shrink$")
            self.assertEqual(self.blocks(session), 4096)
            session.close()
            other.close()

    def test_tokens_of_a_lun_that_goes_are_cancelled_and_a_copy_to_it_ends(self):
        slow = '[copy]\nrate = "1M"\n'
        left = slow + target(ONE, (0, "memory:64M"), (1, "memory:64M"))
        with self.odxd(slow + target(ONE, (0, "memory:64M"), (1, "memory:64M"), (2, "memory:64M"))) as odxd:
            session, copier = self.session(odxd, luns=[0, 1, 2]), self.session(odxd, host="copier", luns=[0, 1, 2])
            lost, kept = token_of(session, 2, [(0, 8)]), token_of(session, 0, [(0, 8)])
            cdb, parameters = write_using_token(9, token_of(copier, 0, [(0, 65536)]), [(0, 65536)])
            copier.send(copier.command_pdu(cdb, parameters, lun=2, immediate=8192))
            self.key(copier, 0)  # behind the copy, which takes half a minute and so is under way
            self.reload(odxd, left)
            self.assertEqual(copier.answer(parameters).key, COPY_STOPPED)
            session.clear_unit_attentions(0, 1)
            for number, (token, outcome) in enumerate(((lost, TOKEN_CANCELLED), (kept, "GOOD"))):
                cdb, parameters = write_using_token(number, token, [(0, 8)])
                self.assertEqual(self.key(session, 1, cdb, data_out=parameters), outcome)
            odxd.wait_for_log("lun2 is removed")
            session.close()
            copier.close()

    def test_a_target_that_goes_asks_its_sessions_to_log_out(self):
        one, two = target(ONE, (0, "memory:64M", 'name = "a"')), target(TWO, (0, self.image("b.img"), 'name = "b"'))
        with self.odxd(one + two) as odxd:
            session = self.session(odxd, luns=[0])
            polite, rude = self.session(odxd, TWO, "polite", [0]), self.session(odxd, TWO, "rude", [0])
            self.reload(odxd, one)
            for each in (polite, rude):
                message = each.receive_pdu()
                self.assertEqual((message.opcode, message.bhs[36], message.bhs[42:44]), (ASYNC, 1, b"\0\3"))
            with self.assertRaisesRegex(Closed, "login refused"):
                self.session(odxd, TWO)
            self.assertNotIn(TWO, tool("iscsi-ls", f"iscsi://{odxd.host}:{odxd.port}")[1])
            self.assertEqual(self.key(rude), "GOOD")  # until it is dropped
            polite.close()
            self.assertTrue(rude.closed_within(10))
            odxd.wait_for_log("b is removed")
            self.assertEqual(self.key(session), "GOOD")
            self.assertRegex(self.reload(odxd, one + two), "^2 changes")
            self.assertIn(TWO, tool("iscsi-ls", f"iscsi://{odxd.host}:{odxd.port}")[1])
            self.assertEqual(self.key(self.session(odxd, TWO, "rude")), POWER_ON)
            session.close()

    def test_who_may_log_in(self):
        luns = (0, "memory:64M")
        with self.odxd(target(ONE, luns)) as odxd:
            before = self.session(odxd, luns=[0])
            text = target(ONE).rstrip() + '\nallowed_initiators = ["iqn.2026-11.org.example:friend"]\n'
            self.reload(odxd, text + target(ONE, luns).split("\n", 2)[2])
            with self.assertRaisesRegex(Closed, "login refused"):
                self.session(odxd, host="stranger")
            self.assertEqual(self.key(self.session(odxd, host="friend")), POWER_ON)
            self.assertEqual(self.key(before), "GOOD")
            before.close()

    def test_a_file_that_is_wrong_or_needs_a_restart_changes_nothing(self):
        good = target(ONE, (0, "memory:64M"), (1, "memory:64M"))
        grown = target(ONE, (0, "memory:128M"), (1, "memory:64M"), (2, "memory:64M"))
        with self.odxd(good) as odxd:
            session = self.session(odxd, luns=[0, 1])
            here = re.escape(str(self.config))
            for text, said in (
                    (grown + "block_size = 520\n",
                     rf"{here}:12:14: target\.lun\.block_size is 520; expected 512 or 4096$"),
                    (grown + "[[target]\n", rf"{here}:12:\d+: "),
                    (grown + target(TWO, (0, "file:/nonexistent")),
                     f"{here}:16:9: file '/nonexistent' does not exist"),
                    ('memory_limit = "1G"\n' + grown, "these need a restart of odxd: memory_limit$"),
                    (grown.replace('128M"', '128M"\nblock_size = 4096'),
                     f"these need a restart of odxd: {here}:5:9: block_size of LUN 0 of {ONE}$")):
                self.assertRegex(self.reload(odxd, text), "^nothing changes: " + said)
                self.assertEqual([self.key(session, lun) for lun in (0, 1, 2)], ["GOOD", "GOOD", NOT_SUPPORTED])
                self.assertEqual(self.blocks(session), 131072)
            session.close()


class Load(threading.Thread):
    """Writes and reads back blocks that no other load touches, until told to stop."""

    def __init__(self, session, lun, first, allowed=()):
        super().__init__(daemon=True)
        self.session, self.lun, self.first, self.allowed = session, lun, first, allowed
        self.stopping = threading.Event()
        self.random = random.Random(first)
        self.rounds = 0
        self.refused = 0
        self.wrong = None
        self.start()

    def run(self):
        try:
            while not self.stopping.is_set() and not self.wrong:
                self.once()
        except Exception as error:  # pylint: disable=broad-exception-caught
            self.wrong = repr(error)

    def once(self):
        data = self.random.randbytes(64 * BLOCK)
        for cdb, options in ((write16(self.first, 64), {"data_out": data}),
                             (read16(self.first, 64), {"data_in": len(data)})):
            answer = self.session.command(cdb, lun=self.lun, **options)
            if answer.status != GOOD:
                self.refused += 1
                if answer.key not in self.allowed:
                    self.wrong = f"LUN {self.lun}: {answer.status:#x} {answer.key}"
                return
        if answer.data != data:
            self.wrong = f"LUN {self.lun}: other data"
        self.rounds += 1

    def end(self):
        self.stopping.set()
        self.join(30)
        return self.wrong


class UnderLoad(OnlineTest):
    STEPS = 12

    def text(self, step):
        """What the file says at a step: 2 and 3 come and go, 0 and 1 change."""
        memory = (16, 64, 32)[step % 3]
        luns = [(0, f"memory:{memory}M"), (1, self.image("a.img", f"{16 + step}M"))]
        if step % 2:
            luns += [(2, "memory:8M"), (3, self.image("b.img"))]
        return target(ONE, *luns)

    def test_loads_go_on_while_everything_changes(self):
        told = {LUNS_CHANGED, CAPACITY_CHANGED, POWER_ON}
        with self.odxd(self.text(0)) as odxd:
            # Half of the loads are on LUNs that are not always there.
            loads = [Load(self.session(odxd, host=f"h{lun}{i}", luns=[0, 1]), lun, 1024 * i,
                          told if lun < 2 else told | {NOT_SUPPORTED})
                     for lun in range(4) for i in range(2)]
            for step in range(1, self.STEPS + 1):
                rounds = [load.rounds for load in loads[:4]]
                self.assertRegex(self.reload(odxd, self.text(step)), "^4 changes")
                if not step % 2:
                    odxd.wait_for_log("lun3 is removed", count=step // 2)
                self.wait_for(lambda seen=rounds: all(load.rounds > before or load.wrong
                                                      for load, before in zip(loads, seen)))
            self.assertEqual([load.end() for load in loads], [None] * len(loads))
            self.assertTrue(all(load.refused for load in loads))
            for load in loads:
                load.session.close()

    def test_a_reader_of_much_data_keeps_what_it_was_sent(self):
        with self.odxd(target(ONE, (0, "memory:8M"), (1, "memory:8M"))) as odxd:
            session = self.session(odxd, luns=[0, 1])
            data = random.Random(1).randbytes(4 << 20)
            for at in range(0, len(data), 1 << 18):
                written = self.key(session, 1, write16(at // BLOCK, 512), data_out=data[at:at + (1 << 18)])
                self.assertEqual(written, "GOOD")
            # Read, not taken from the socket, and then the LUN goes.
            session.send(session.command_pdu(read16(0, 8192), data_in=len(data), lun=1))
            first = session.receive(48)
            self.reload(odxd, target(ONE, (0, "memory:8M")))
            odxd.wait_for_log("lun1 is removed")
            whole = bytearray()
            bhs = first
            while True:
                self.assertEqual(bhs[0] & 0x3F, 0x25)
                whole += session.receive(int.from_bytes(bhs[5:8], "big"))
                if bhs[1] & 1:
                    break
                bhs = session.receive(48)
            self.assertEqual(bytes(whole), data)
            session.close()

    def wait_for(self, condition, within_s=30):
        event = threading.Event()
        for _ in range(within_s * 100):
            if condition():
                return
            event.wait(0.01)
        self.fail("a load stands still")


if __name__ == "__main__":
    unittest.main()
