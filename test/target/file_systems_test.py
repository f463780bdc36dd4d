#!/usr/bin/env python3
"""File stores on small images of XFS, Btrfs and ext4, mounted through loop devices: sharing, full disks, crashes.

Everything runs in a mount namespace of its own, so that however this ends nothing stays mounted. Skipped where that or a
loop device is not permitted (root is needed), and where mkfs is missing.

Not tested, and why: power loss (a killed process loses nothing the kernel has; needs a device that forgets).
Usage: file_systems_test.py ODXD TEST_FILE_SYSTEM TEST_HANDLERS [unittest arguments].
"""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

IN_NAMESPACE = "ODX_MOUNT_NAMESPACE"
if IN_NAMESPACE not in os.environ and subprocess.run(["unshare", "--mount", "true"], check=False,
                                                     stderr=subprocess.DEVNULL).returncode == 0:
    os.environ[IN_NAMESPACE] = "1"
    os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from odxd_process import Odxd  # noqa: E402
from offload import token_of, write16, write_using_token  # noqa: E402
from wire import GOOD, SCSI_RESPONSE, Session  # noqa: E402

TEST_FILE_SYSTEM, TEST_HANDLERS = (sys.argv.pop(1) for _ in range(2))
IMAGE_SIZE = 320 << 20  # XFS takes no less than 300 MiB; the image is sparse
BLOCK = 4096
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


class FileSystem:
    """The tests of each file system; not a TestCase itself."""

    mkfs = ()
    shares = False

    @classmethod
    def setUpClass(cls):
        if IN_NAMESPACE not in os.environ:
            raise unittest.SkipTest("no mount namespace: not permitted")
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        mkfs = shutil.which(cls.mkfs[0], path=path)
        if not mkfs:
            if os.environ.get("CI") == "true":
                raise AssertionError(f"{cls.mkfs[0]} is not installed (scripts/setup interop)")
            raise unittest.SkipTest(f"{cls.mkfs[0]} is not installed")
        cls.folder = Path(tempfile.mkdtemp(prefix="odx-file-system-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        image, cls.mount = cls.folder / "image", cls.folder / "mount"
        with open(image, "wb") as file:
            file.truncate(IMAGE_SIZE)
        cls.mount.mkdir()
        subprocess.run([mkfs, *cls.mkfs[1:], str(image)], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        mounted = subprocess.run(["mount", "-o", "loop", str(image), str(cls.mount)], check=False, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if mounted.returncode != 0:
            raise unittest.SkipTest(f"no loop mount: {mounted.stdout.strip()}")
        cls.addClassCleanup(subprocess.run, ["umount", "--lazy", str(cls.mount)], check=False)

    def doctest(self, program, *arguments):
        done = subprocess.run([program, *arguments], check=False, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=100,
                              env={**os.environ, "TMPDIR": str(self.mount), "ODX_SHARES": str(int(self.shares))})
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"test cases: +[1-9]")

    def test_sharing_holes_and_a_full_disk(self):
        self.doctest(TEST_FILE_SYSTEM)

    def test_the_suite_of_all_stores(self):
        self.doctest(TEST_HANDLERS, "--source-file=*store_suite_test*,*file_store_test*")

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



class Xfs(FileSystem, unittest.TestCase):
    mkfs = ("mkfs.xfs", "-q")
    shares = True


class Btrfs(FileSystem, unittest.TestCase):
    mkfs = ("mkfs.btrfs", "-q")
    shares = True


class Ext4(FileSystem, unittest.TestCase):
    mkfs = ("mkfs.ext4", "-q", "-b", str(BLOCK))


if __name__ == "__main__":
    unittest.main()
