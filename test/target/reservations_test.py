#!/usr/bin/env python3
"""Reservations through real starts and ends of odxd: what persists, what a cluster does, what a kill leaves.

Not tested, and why: a folder that cannot be written (tests may run as root; state_file_test.cc has calls that
fail); loss of power. Usage: reservations_test.py ODXD [unittest arguments]. Uses 127.0.0.1 and free ports only.
"""
import os
import random
import re
import shutil
import signal
import struct
import sys
import tempfile
import threading
import types
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from odxd_process import END_LIMIT_S, Odxd, odxd_ends  # noqa: E402
from offload import read16, write16  # noqa: E402
from wire import CHECK_CONDITION, GOOD, Closed, Session  # noqa: E402

BLOCK = 512
CONFLICT = 0x18
# Service actions of PERSISTENT RESERVE OUT (SPC-4 table 219) and types (table 67).
REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE = range(7)
WRITE_EXCLUSIVE, EXCLUSIVE_ACCESS, WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 1, 3, 5
APTPL = 0x01
KEY_A, KEY_B = 0x11C0DE00A0000001, 0x22C0DE00B0000002
CORRUPT = "does not hold persistent reservations"


class Nexus(Session):
    """One path of a node to the array: a session, that is an I_T nexus."""

    def __init__(self, target, node, path=0):
        super().__init__(target, f"iqn.2026-11.org.example:{node}", bytes([0x40, 0, 1, 0x37, 0, path]))
        self.clear_unit_attentions(*range(len(target.urls)))

    def out(self, action, key=0, new_key=0, kind=0, flags=0, lun=0):
        data = struct.pack(">QQIBxxx", key, new_key, 0, flags)
        return self.command(struct.pack(">BBBxxIx", 0x5F, action, kind, len(data)), data_out=data, lun=lun)

    def pr_in(self, action, lun=0):
        return self.command(struct.pack(">BB5xHx", 0x5E, action, 8192), data_in=8192, lun=lun).data

    def keys(self, lun=0):
        data = self.pr_in(0, lun)
        return sorted(struct.unpack(f">{(len(data) - 8) // 8}Q", data[8:]))

    def generation(self, lun=0):
        return int.from_bytes(self.pr_in(0, lun)[:4], "big")

    def reservation(self, lun=0):
        """Key of the holder and type, or nothing."""
        data = self.pr_in(1, lun)
        return (int.from_bytes(data[8:16], "big"), data[21] & 0x0F) if len(data) > 8 else None

    def capabilities(self, lun=0):
        """PTPL_C and PTPL_A."""
        data = self.pr_in(2, lun)
        return data[2] & 1, data[3] & 1

    def read(self, lun=0):
        return self.command(read16(0, 1), data_in=BLOCK, lun=lun).status

    def write(self, lun=0):
        return self.command(write16(0, 1), data_out=bytes(BLOCK), lun=lun).status

    def attention(self, lun=0):
        """What the next command learns first."""
        return self.command(bytes(6), lun=lun).key


class Array(Odxd):
    """An odxd whose sessions are gone before it is asked to end, so that it need not wait for them."""

    def __init__(self, *arguments, **options):
        self.sessions = []
        super().__init__(*arguments, **options)

    def nexus(self, node, path=0, portal=None):
        self.sessions.append(Nexus(portal or self, node, path))
        return self.sessions[-1]

    def end(self, how=signal.SIGTERM, within_s=END_LIMIT_S):
        try:
            return super().end(how, within_s)
        finally:
            self.leave()

    def leave(self):
        for each in self.sessions:
            each.socket.close()

    def __exit__(self, *how):
        self.leave()
        super().__exit__(*how)


class ReservationsTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odxd-reservations-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.log_path = self.folder / "odxd.log"
        self.image = self.folder / "disk.img"
        self.kept = self.folder / "disk.img.reservations"
        with open(self.image, "wb") as file:
            file.truncate(8 << 20)

    def odxd(self, *arguments, **options):
        return Array(*arguments, log_path=self.log_path, **options)

    def on_the_image(self, **options):
        return self.odxd(f"file:{self.image}", **options)

    def with_state_dir(self):
        """Memory, as LUN 0, and a read-only image, as LUN 1; neither has a place of its own for what persists."""
        config = self.folder / "array.toml"
        config.write_text(f"""state_dir = "{self.folder}/state"
[[target]]
[[target.lun]]
store = "memory:64M"
[[target.lun]]
name = "golden image"
store = "file:{self.image}"
read_only = true
""")
        return self.odxd("--config", config)

    def good(self, answer):
        self.assertEqual((answer.status, answer.key), (GOOD, None))


class Persistence(ReservationsTest):
    def persists(self, start, how, lun=0):
        odxd = start()
        self.addCleanup(odxd.end, signal.SIGKILL)
        a, b = odxd.nexus("a"), odxd.nexus("b")
        self.assertEqual(a.capabilities(lun), (1, 0))
        self.good(a.out(REGISTER, 0, KEY_A, flags=APTPL, lun=lun))
        self.good(b.out(REGISTER, 0, KEY_B, flags=APTPL, lun=lun))
        self.good(a.out(RESERVE, KEY_A, kind=EXCLUSIVE_ACCESS, lun=lun))
        self.assertEqual(a.capabilities(lun), (1, 1))
        self.assertEqual(a.generation(lun), 2)
        self.assertEqual(odxd.end(how), 0 if how == signal.SIGTERM else -how)
        with start() as odxd:
            a, b, c = odxd.nexus("a"), odxd.nexus("b"), odxd.nexus("c")
            self.assertEqual(c.keys(lun), [KEY_A, KEY_B])
            self.assertEqual(c.reservation(lun), (KEY_A, EXCLUSIVE_ACCESS))
            self.assertEqual(c.generation(lun), 0)
            self.assertEqual(c.capabilities(lun), (1, 1))
            self.assertEqual([each.read(lun) for each in (a, b, c)], [GOOD, CONFLICT, CONFLICT])
            # Another port of the same initiator is another nexus.
            self.assertEqual(odxd.nexus("a", path=1).read(lun), CONFLICT)
            self.good(b.out(PREEMPT, KEY_B, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS_ONLY, lun=lun))
            self.assertEqual(b.read(lun), GOOD)
        with start() as odxd:
            c = odxd.nexus("c")
            self.assertEqual((c.keys(lun), c.reservation(lun)), ([KEY_B], (KEY_B, WRITE_EXCLUSIVE_REGISTRANTS_ONLY)))

    def test_a_file_s_reservations_survive_an_orderly_end(self):
        self.persists(self.on_the_image, signal.SIGTERM)

    def test_a_file_s_reservations_survive_a_kill(self):
        self.persists(self.on_the_image, signal.SIGKILL)

    def test_memory_s_reservations_survive_in_the_state_folder_though_the_target_has_another_name(self):
        self.persists(self.with_state_dir, signal.SIGKILL)
        self.assertEqual(sorted(os.listdir(self.folder / "state")), ["lun0.reservations"])

    def test_a_read_only_image_s_reservations_survive_in_the_state_folder(self):
        self.persists(self.with_state_dir, signal.SIGTERM, lun=1)
        self.assertEqual(sorted(os.listdir(self.folder / "state")), ["golden_20image.reservations"])
        self.assertFalse(self.kept.exists())

    def test_with_aptpl_zero_nothing_survives_and_no_file_is_made(self):
        with self.on_the_image() as odxd:
            a = odxd.nexus("a")
            self.good(a.out(REGISTER, 0, KEY_A))
            self.good(a.out(RESERVE, KEY_A, kind=WRITE_EXCLUSIVE))
        self.assertFalse(self.kept.exists())
        with self.on_the_image() as odxd:
            self.assertEqual((odxd.nexus("a").keys(), odxd.nexus("a").reservation()), ([], None))

    def test_the_last_aptpl_counts(self):
        with self.on_the_image() as odxd:
            a, b = odxd.nexus("a"), odxd.nexus("b")
            self.good(a.out(REGISTER, 0, KEY_A, flags=APTPL))
            whole = self.kept.stat().st_size
            self.good(b.out(REGISTER_AND_IGNORE, 0, KEY_B))
            self.assertLess(self.kept.stat().st_size, whole)
            self.assertEqual(a.keys(), [KEY_A, KEY_B])
        with self.on_the_image() as odxd:
            self.assertEqual(odxd.nexus("a").keys(), [])

    def test_where_nothing_persists_aptpl_one_is_refused(self):
        with self.odxd("memory:64M") as odxd:
            a = odxd.nexus("a")
            self.assertEqual(a.capabilities(), (0, 0))
            self.assertEqual(a.out(REGISTER, 0, KEY_A, flags=APTPL).key, (5, 0x26, 0))
            self.assertEqual(a.keys(), [])

    def test_a_file_that_is_not_what_was_written_stops_the_start(self):
        with self.on_the_image() as odxd:
            self.good(odxd.nexus("a").out(REGISTER, 0, KEY_A, flags=APTPL))
        whole = self.kept.read_bytes()
        for wrong, reason in ((b"", "0 bytes are too few"), (whole[:-1], "bytes and says it has"),
                              (whole[:40] + b"\0" + whole[41:], "its checksum is wrong"),
                              (b"x" * len(whole), "does not begin as such a file does")):
            self.kept.write_bytes(wrong)
            status, output, error = odxd_ends("--portal", "127.0.0.1:0", f"file:{self.image}")
            self.assertEqual((status, output), (1, ""))
            self.assertIn(f"{self.kept}: {CORRUPT}: ", error)
            self.assertIn(reason, error)
            self.assertEqual(self.kept.read_bytes(), wrong)
        self.kept.write_bytes(whole)
        with self.on_the_image() as odxd:
            self.assertEqual(odxd.nexus("b").keys(), [KEY_A])

    def test_a_state_folder_is_one_process_s(self):
        with self.with_state_dir():
            status, _, error = odxd_ends("--portal", "127.0.0.1:0", "--config", self.folder / "array.toml")
            self.assertEqual(status, 1)
            self.assertIn("state_dir: ", error)
            self.assertIn("is in use by another process", error)

    def test_a_write_that_fails_fails_the_command_and_changes_nothing(self):
        with self.on_the_image() as odxd:
            a = odxd.nexus("a")
            self.good(a.out(REGISTER, 0, KEY_A, flags=APTPL))
            (self.folder / "disk.img.reservations.new").mkdir()  # what even root cannot write to
            self.assertEqual(a.out(RESERVE, KEY_A, kind=EXCLUSIVE_ACCESS).key, (4, 0x44, 0))
            self.assertEqual((a.keys(), a.reservation()), ([KEY_A], None))
            (self.folder / "disk.img.reservations.new").rmdir()
            self.good(a.out(RESERVE, KEY_A, kind=EXCLUSIVE_ACCESS))

    def test_a_kill_at_any_moment_leaves_what_was_answered_or_what_was_being_done(self):
        """Keys count up; a start finds the last that was answered, or the one after it."""
        seed = int.from_bytes(os.urandom(4), "big")
        print(f"seed {seed}", file=sys.stderr)
        chance = random.Random(seed)
        answered = 0
        for _ in range(8):
            odxd = self.on_the_image()
            a = odxd.nexus("a")
            found = a.keys()[0] if a.keys() else 0
            self.assertIn(found, (answered, answered + 1))
            answered = found
            killer = threading.Timer(chance.uniform(0.01, 0.2), odxd.process.kill)
            killer.start()
            try:
                while a.out(REGISTER_AND_IGNORE, 0, answered + 1, flags=APTPL).status == GOOD:
                    answered += 1
            except (Closed, OSError):
                pass
            killer.join()
            odxd.end()
        self.assertGreater(answered, 0)


class Cluster(ReservationsTest):
    """What Windows Server's failover cluster validation does with a disk: two nodes, each with two paths (portals)."""

    def setUp(self):
        super().setUp()
        self.array = self.enterContext(self.odxd("--portal", "127.0.0.1:0", "--portal", "127.0.0.1:0",
                                                 f"file:{self.image}", portal=None))
        self.array.wait_for_log("listening on")
        where = re.search(r"listening on((?: \S+:\d+)+)", self.array.log())[1].split()
        self.portals = [types.SimpleNamespace(host="127.0.0.1", port=int(each.rsplit(":", 1)[1].rstrip(";")),
                                              iqn=self.array.iqn, lun=int, urls=self.array.urls) for each in where]

    def node(self, name):
        return [self.array.nexus(name, path, portal) for path, portal in enumerate(self.portals)]

    def test_validation_sequence_register_reserve_preempt_clear(self):
        a, b = self.node("node-a"), self.node("node-b")
        self.assertEqual(len(a), 2)
        serials = {path.command(bytes([0x12, 1, 0x83, 0, 255, 0]), data_in=255).data for path in a + b}
        self.assertEqual(len(serials), 1)
        self.assertEqual((a[0].keys(), a[0].reservation()), ([], None))
        # Node A registers through each path and reserves through one; both paths write.
        for path in a:
            self.good(path.out(REGISTER_AND_IGNORE, 0, KEY_A))
        self.good(a[0].out(RESERVE, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS_ONLY))
        self.assertEqual([path.keys() for path in a], [[KEY_A, KEY_A]] * 2)
        self.assertEqual(b[1].reservation(), (KEY_A, WRITE_EXCLUSIVE_REGISTRANTS_ONLY))
        self.assertEqual([path.write() for path in a + b], [GOOD, GOOD, CONFLICT, CONFLICT])
        self.assertEqual([path.read() for path in a + b], [GOOD] * 4)
        # Node B cannot reserve, release, preempt or clear before it is registered.
        for action in (RESERVE, RELEASE, PREEMPT, CLEAR):
            self.assertEqual(b[0].out(action, KEY_B, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS_ONLY).status, CONFLICT)
        # Registered it writes, and still cannot reserve; its release changes nothing.
        for path in b:
            self.good(path.out(REGISTER, 0, KEY_B))
        self.assertEqual([path.write() for path in b], [GOOD, GOOD])
        self.assertEqual(b[0].out(RESERVE, KEY_B, kind=WRITE_EXCLUSIVE_REGISTRANTS_ONLY).status, CONFLICT)
        self.good(b[0].out(RELEASE, KEY_B, kind=WRITE_EXCLUSIVE_REGISTRANTS_ONLY))
        # A path of node A that is lost and comes back is still registered.
        a[1].socket.close()
        a[1] = self.array.nexus("node-a", 1, self.portals[1])
        self.assertEqual(a[1].write(), GOOD)
        self.fail_over(a, b)

    def fail_over(self, a, b):
        """Node B takes the disk, as a cluster does when node A is silent; then node A has to register again."""
        self.good(b[1].out(PREEMPT, KEY_B, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS_ONLY))
        self.assertEqual((b[0].keys(), b[0].reservation()), ([KEY_B, KEY_B], (KEY_B, WRITE_EXCLUSIVE_REGISTRANTS_ONLY)))
        self.assertEqual([path.attention() for path in a], [(6, 0x2A, 5)] * 2)  # REGISTRATIONS PREEMPTED
        self.assertEqual([path.write() for path in a + b], [CONFLICT, CONFLICT, GOOD, GOOD])
        self.assertEqual(a[0].out(RESERVE, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS_ONLY).status, CONFLICT)
        self.assertEqual(a[0].out(REGISTER, KEY_A, KEY_A).status, CONFLICT)
        for path in a:
            self.good(path.out(REGISTER, 0, KEY_A))
        # And back again, this time ending what node B has under way.
        self.good(a[0].out(PREEMPT_AND_ABORT, KEY_A, KEY_B, kind=WRITE_EXCLUSIVE_REGISTRANTS_ONLY))
        self.assertEqual([path.attention() for path in b], [(6, 0x2A, 5)] * 2)
        self.assertEqual([path.write() for path in a + b], [GOOD, GOOD, CONFLICT, CONFLICT])
        generation = a[0].generation()
        self.good(a[0].out(RELEASE, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS_ONLY))
        self.assertEqual(a[0].reservation(), None)
        self.assertEqual(a[1].attention(), (6, 0x2A, 4))  # RESERVATIONS RELEASED
        self.assertEqual([path.write() for path in a + b], [GOOD] * 4)
        self.good(a[0].out(CLEAR, KEY_A))
        self.assertEqual(a[1].attention(), (6, 0x2A, 3))  # RESERVATIONS PREEMPTED
        self.assertEqual((b[0].keys(), b[0].reservation()), ([], None))
        self.assertEqual(b[0].generation(), generation + 1)


class Reserve(ReservationsTest):
    def test_reserve_ends_with_its_session_and_with_odxd(self):
        reserve, release = bytes([0x16, 0, 0, 0, 0, 0]), bytes([0x17, 0, 0, 0, 0, 0])
        with self.on_the_image() as odxd:
            a, b = odxd.nexus("a"), odxd.nexus("b")
            self.good(a.command(reserve))
            self.assertEqual([a.read(), b.read(), b.command(reserve).status], [GOOD, CONFLICT, CONFLICT])
            a.close()  # logout
            self.good(b.command(reserve))
            b.socket.close()  # the connection is lost; its session with it
            b = odxd.nexus("b")
            self.good(b.command(reserve))
            again = odxd.nexus("b")  # reinstated: the old nexus is lost (RFC 7143, 6.3.5)
            self.assertEqual([odxd.nexus("a").read(), again.read()], [GOOD, GOOD])
            self.good(again.command(reserve))
            self.good(again.command(release))
            self.assertEqual(odxd.nexus("a").write(), GOOD)
            self.good(again.command(reserve))
        with self.on_the_image() as odxd:
            self.assertEqual(odxd.nexus("a").write(), GOOD)

    def test_reserve_and_registrations_exclude_each_other(self):
        with self.on_the_image() as odxd:
            a, b = odxd.nexus("a"), odxd.nexus("b")
            self.good(a.command(bytes([0x16, 0, 0, 0, 0, 0])))
            for path in (a, b):
                self.assertEqual(path.out(REGISTER, 0, KEY_A).status, CONFLICT)
            self.good(a.command(bytes([0x57, *bytes(9)])))
            self.good(a.out(REGISTER, 0, KEY_A))
            for path in (a, b):
                self.assertEqual(path.command(bytes([0x56, *bytes(9)])).status, CONFLICT)
            self.assertEqual(a.command(bytes([0x16, 0x10, 0, 0, 0, 0])).status, CHECK_CONDITION)


if __name__ == "__main__":
    unittest.main(verbosity=2)
