#!/usr/bin/env python3
"""odxd on image files is killed (SIGKILL) in the middle of a verifying load, again and again.

Several sessions write blocks whose content says who wrote them and when: with FUA, or without and then SYNCHRONIZE
CACHE, or by an offloaded copy and then SYNCHRONIZE CACHE. After each kill a new odxd serves the images, and each block
holds what was acknowledged last, or something later that was under way. The persistent reservation is there, too.

Not tested, and why: loss of power (a killed process loses nothing that the kernel has; test/handlers has the flushes).
Usage: kill_test.py ODXD [unittest arguments]; KILLS=200 and SEED=N in the environment for a longer or another run.
"""
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import threading
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from odxd_process import Odxd  # noqa: E402
from offload import read16, token_of, write16, write_using_token  # noqa: E402
from wire import GOOD, Closed, Session  # noqa: E402

BLOCK = 512
BLOCKS_OF_A_WRITER = 256
WRITERS = 4
KEY = 0x0DDC0FFEE0000001
SYNCHRONIZE_CACHE_16 = struct.pack(">BBQIBB", 0x91, 0, 0, 0, 0, 0)


def content(writer, block, generation):
    return struct.pack(">IIQ", writer, block, generation) * (BLOCK // 16)


class Writer(threading.Thread):
    """One session that writes its own blocks until the array is gone."""

    def __init__(self, target, number, expected, generator):
        super().__init__(daemon=True)
        self.number = number
        self.first = number * BLOCKS_OF_A_WRITER
        self.expected = expected  # block: what it may hold; one when acknowledged, more while something is under way
        self.generator = generator
        self.acknowledged = 0
        self.refused = None
        self.session = Session(target, f"iqn.2026-11.org.example:writer{number}")
        self.session.clear_unit_attentions()
        register = struct.pack(">QQIBxxx", 0, KEY + number, 0, 0x01)  # REGISTER AND IGNORE EXISTING KEY, APTPL
        self.good(self.session.command(struct.pack(">BBBxxIx", 0x5F, 6, 0, len(register)), data_out=register))

    def good(self, answer):
        if answer.status != GOOD:
            self.refused = f"writer {self.number}: status {answer.status:#x}, sense {answer.key}"
            raise Closed
        return answer

    def run(self):
        try:
            while True:
                self.generator.choice((self.write_through, self.write_and_flush, self.copy_and_flush))()
                self.acknowledged += 1
        except (Closed, OSError):
            pass

    def under_way(self, block, data):
        self.expected[block] = [*self.expected[block], data]

    def settled(self, block, data):
        self.expected[block] = [data]

    def some_blocks(self):
        count = self.generator.randint(1, 8)
        start = self.first + self.generator.randrange(BLOCKS_OF_A_WRITER - count)
        generation = self.generator.getrandbits(64)
        return {start + i: content(self.number, start + i, generation) for i in range(count)}

    def write(self, blocks, fua):
        for block, data in blocks.items():
            self.under_way(block, data)
        cdb = bytearray(write16(min(blocks), len(blocks)))
        cdb[1] |= 0x08 if fua else 0
        self.good(self.session.command(bytes(cdb), data_out=b"".join(blocks.values())))

    def write_through(self):
        blocks = self.some_blocks()
        self.write(blocks, fua=True)
        for block, data in blocks.items():
            self.settled(block, data)

    def write_and_flush(self):
        all_blocks = {}
        for _ in range(self.generator.randint(1, 4)):
            blocks = self.some_blocks()
            self.write(blocks, fua=False)
            all_blocks.update(blocks)
        self.flush(all_blocks)

    def copy_and_flush(self):
        """Half of the writer's blocks to the other half."""
        half = BLOCKS_OF_A_WRITER // 2
        if any(len(self.expected[self.first + i]) > 1 for i in range(half)):
            return
        token = token_of(self.session, 0, [(self.first, half)])
        blocks = {self.first + half + i: self.expected[self.first + i][0] for i in range(half)}
        for block, data in blocks.items():
            self.under_way(block, data)
        self.good(self.session.command(*write_using_token(2, token, [(self.first + half, half)])))
        self.flush(blocks)

    def flush(self, blocks):
        self.good(self.session.command(SYNCHRONIZE_CACHE_16))
        for block, data in blocks.items():
            self.settled(block, data)


class KillTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odxd-kill-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.image = self.folder / "disk.img"
        with open(self.image, "wb") as file:
            file.truncate(BLOCK * BLOCKS_OF_A_WRITER * WRITERS)
        self.seed = int(os.environ.get("SEED", "20261126"))
        self.expected = {block: [bytes(BLOCK)] for block in range(BLOCKS_OF_A_WRITER * WRITERS)}

    def odxd(self):
        return Odxd(f"file:{self.image}", log_path=self.folder / "odxd.log")

    def load_and_kill(self, generator):
        """Returns how many rounds were acknowledged before the kill."""
        array = self.odxd()
        writers = [Writer(array, i, self.expected, random.Random(generator.getrandbits(64))) for i in range(WRITERS)]
        enough = generator.randint(1, 60)
        for writer in writers:
            writer.start()
        while sum(writer.acknowledged for writer in writers) < enough and any(each.is_alive() for each in writers):
            writers[0].join(0.001)
        array.end(signal.SIGKILL)
        for writer in writers:
            writer.join()
            writer.session.socket.close()
            self.assertIsNone(writer.refused)
        return sum(writer.acknowledged for writer in writers)

    def verify(self):
        """What is there is what was acknowledged, or was under way; from then on it is what is expected."""
        with self.odxd() as array:
            session = Session(array, "iqn.2026-11.org.example:verifier").clear_unit_attentions()
            for start in range(0, len(self.expected), BLOCKS_OF_A_WRITER):
                answer = session.command(read16(start, BLOCKS_OF_A_WRITER), data_in=BLOCK * BLOCKS_OF_A_WRITER)
                self.assertEqual(answer.status, GOOD)
                for i in range(BLOCKS_OF_A_WRITER):
                    found = answer.data[i * BLOCK:(i + 1) * BLOCK]
                    self.assertIn(found, self.expected[start + i], f"block {start + i}")
                    self.expected[start + i] = [found]
            keys = session.command(struct.pack(">BB5xHx", 0x5E, 0, 8192), data_in=8192).data
            self.assertEqual(sorted(struct.unpack(f">{len(keys) // 8 - 1}Q", keys[8:])),
                             [KEY + i for i in range(WRITERS)])
            session.close()

    def test_what_was_acknowledged_survives_every_kill(self):
        print(f"seed {self.seed}")
        generator = random.Random(self.seed)
        acknowledged = 0
        kills = int(os.environ.get("KILLS", "12"))
        for _ in range(kills):
            acknowledged += self.load_and_kill(generator)
            self.verify()
        self.assertGreaterEqual(acknowledged, kills)
        print(f"{kills} kills, {acknowledged} acknowledged rounds of writes")


if __name__ == "__main__":
    unittest.main()
