#!/usr/bin/env python3
"""File stores on small images of XFS, Btrfs and ext4, mounted through loop devices: sharing, a full disk, crashes.

Skipped where mounting is not permitted (root and loop devices are needed), and where mkfs is missing.

Not tested, and why: power loss (a killed process loses nothing the kernel has; needs a device that forgets).
Usage: file_systems_test.py ODXD TEST_FILE_SYSTEM TEST_HANDLERS [unittest arguments].
"""
import os
import random
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from file_systems import BLOCK, SHARING, FileSystem, NoMkfs, NoMount, enter_namespace  # noqa: E402

enter_namespace()  # before the command line is taken apart
from odxd_process import Odxd  # noqa: E402
from offload import token_of, write16, write_using_token  # noqa: E402
from wire import GOOD, SCSI_RESPONSE, Session  # noqa: E402

TEST_FILE_SYSTEM, TEST_HANDLERS = (sys.argv.pop(1) for _ in range(2))
SEED = int(os.environ.get("ODX_SEED", random.SystemRandom().randrange(1 << 32)))


class Model:
    """What each block of the image may hold: of a command in flight at the crash, the old or the new."""

    def __init__(self, blocks):
        self.blocks = [{bytes(BLOCK)} for _ in range(blocks)]

    def set(self, first, contents):
        for i, content in enumerate(contents, first):
            self.blocks[i] = {content}

    def allow(self, first, contents):
        for i, content in enumerate(contents, first):
            self.blocks[i] = self.blocks[i] | {content}

    def differences(self, image):
        return [i for i, allowed in enumerate(self.blocks) if image[i * BLOCK:(i + 1) * BLOCK] not in allowed]


class OnFileSystem:
    """The tests of each file system; not a TestCase itself."""

    kind = ""

    @classmethod
    def setUpClass(cls):
        try:
            cls.file_system = FileSystem(cls.kind)
        except NoMount as reason:
            raise unittest.SkipTest(str(reason)) from reason
        except NoMkfs as reason:
            if os.environ.get("CI") == "true":
                raise
            raise unittest.SkipTest(str(reason)) from reason
        cls.addClassCleanup(cls.file_system.close)
        cls.mount = cls.file_system.mount

    def doctest(self, program, *arguments):
        where = {"TMPDIR": str(self.mount), "ODX_SHARES": str(int(self.kind in SHARING))}
        done = subprocess.run([program, *arguments], check=False, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=600,
                              env={**os.environ, **where})
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"test cases: +[1-9]")

    def test_sharing_holes_and_a_full_disk(self):
        self.doctest(TEST_FILE_SYSTEM)

    def test_the_suite_and_the_model_of_all_stores(self):
        self.doctest(TEST_HANDLERS, "--source-file=*store_suite_test*,*file_store_test*,*model_test*")

    def test_a_crash_tears_no_block_and_loses_no_answered_write(self):
        print(f"\n{type(self).__name__}: ODX_SEED={SEED}")
        chance = random.Random(SEED)
        image = self.mount / "crash.img"
        model = Model(2048)
        for crash in range(4):
            with self.subTest(crash=crash):
                self.crash(chance, image, model)
                self.assertEqual(model.differences(image.read_bytes()), [])
                # What is there now is what there is.
                content = image.read_bytes()
                model.set(0, [content[i * BLOCK:(i + 1) * BLOCK] for i in range(len(model.blocks))])

    def crash(self, chance, image, model):
        """Writes and copies, with tokens that pin what is overwritten, and SIGKILL while some are in flight."""
        odxd = Odxd(f"file:{image},size={len(model.blocks) * BLOCK}")
        try:
            session = Session(odxd).clear_unit_attentions(0)
            self.addCleanup(session.socket.close)
            half = len(model.blocks) // 2
            tokens = []
            for step in range(60):
                if step % 20 == 0:
                    pinned = [next(iter(allowed)) for allowed in model.blocks[:half]]
                    tokens.append((token_of(session, 0, [(0, half * BLOCK // 512)]), pinned))
                contents = [chance.randbytes(BLOCK) for _ in range(chance.randrange(1, 33))]
                first = chance.randrange(len(model.blocks) - len(contents))
                answer = session.command(write16(first * 8, len(contents) * 8), data_out=b"".join(contents))
                self.assertEqual(answer.status, GOOD, answer)
                model.set(first, contents)
            # Disjoint from each other: eight writes to the pinned half, and a copy of all of it to the other one.
            pdus = []
            for part in chance.sample(range(half // 4), 8):
                contents = [chance.randbytes(BLOCK) for _ in range(2)]
                model.allow(part * 4, contents)
                pdus.append(session.command_pdu(write16(part * 32, 16), b"".join(contents), immediate=8192))
            token, pinned = chance.choice(tokens)
            model.allow(half, pinned)
            cdb, data = write_using_token(0x77, token, [(half * 8, half * 8)])
            pdus.insert(chance.randrange(len(pdus) + 1), session.command_pdu(cdb, data, immediate=8192))
            session.send(b"".join(pdus))
            for _ in range(chance.randrange(len(pdus))):
                self.assertEqual(session.receive_pdu().opcode, SCSI_RESPONSE)
        finally:
            odxd.end(signal.SIGKILL)



class Xfs(OnFileSystem, unittest.TestCase):
    kind = "xfs"


class Btrfs(OnFileSystem, unittest.TestCase):
    kind = "btrfs"


class Ext4(OnFileSystem, unittest.TestCase):
    kind = "ext4"


if __name__ == "__main__":
    unittest.main()
