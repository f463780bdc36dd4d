#!/usr/bin/env python3
"""Tokens between arrays: of one odxd, and of two that are each other's peers.

Not tested, and why: every way in which a peer can misbehave (test/target/peers_test.cc has a scripted one).
Usage: between_arrays_test.py ODXD [unittest arguments]. Uses 127.0.0.1 and free ports only.
"""
import contextlib
import random
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time
import types
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from odxd_process import Odxd  # noqa: E402
from offload import read16, token_of, write16, write_using_token  # noqa: E402
from wire import GOOD, Session  # noqa: E402

BLOCK = 512
MIB = 1 << 20
UNREACHABLE_COPY_TARGET, REMOTE_USE_NOT_SUPPORTED, DEVICE_NOT_REACHABLE = (5, 0x08, 4), (5, 0x23, 2), (10, 0x0D, 2)
TOKEN_UNKNOWN, TOKEN_CORRUPT, TOKEN_DELETED = (5, 0x23, 4), (5, 0x23, 5), (5, 0x23, 9)


def target_table(name, luns, array=None):
    """A [[target]] with memory LUNs of these names."""
    lines = f'[[target]]\nname = "iqn.2026-11.org.example:{name}"\n'
    if array:
        lines += f'array = "{array}"\n'
    return lines + "".join(f'[[target.lun]]\nname = "{lun}"\nstore = "memory:1G"\n' for lun in luns)


TWO_ARRAYS = ('[[array]]\nname = "east"\nid = "e"\n[[array]]\nname = "west"\nid = "w"\n' +
              target_table("east", ["e0", "e1"], "east") + target_table("west", ["w0", "w1"], "west"))


class BetweenArrays(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odxd-between-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.list_identifier = 100
        self.sessions = []

    def config(self, text, name="array"):
        path = self.folder / f"{name}.toml"
        path.write_text(text)
        return path

    def start(self, text, name="array", **options):
        return Odxd("--config", self.config(text, name), log_path=self.folder / f"{name}.log", **options)

    @contextlib.contextmanager
    def odxd(self, text, name="array", **options):
        """One that ends with the block, its sessions before it so that it does not wait for them."""
        with self.start(text, name, **options) as odxd:
            yield odxd
            for at, session in self.sessions:
                if at is odxd:
                    session.close()

    def session(self, odxd, target, luns=1, **options):
        where = types.SimpleNamespace(host=odxd.host, port=odxd.port, iqn=f"iqn.2026-11.org.example:{target}", lun=int)
        session = Session(where, **options).clear_unit_attentions(*range(luns))
        self.sessions.append((odxd, session))
        self.addCleanup(session.socket.close)  # of one whose odxd was killed
        return session

    def write(self, session, token, lun=0, lba=0, blocks=8, offset=0):
        """The outcome of a WRITE USING TOKEN: "GOOD", or key, ASC and ASCQ."""
        self.list_identifier += 1
        cdb, parameters = write_using_token(self.list_identifier, token, [(lba, blocks)], offset=offset)
        answer = session.command(cdb, data_out=parameters, lun=lun)
        return "GOOD" if answer.status == GOOD else answer.key

    def fill(self, session, lba, blocks, seed=1, lun=0):
        data = random.Random(seed).randbytes(blocks * BLOCK)
        self.assertEqual(session.command(write16(lba, blocks), data_out=data, lun=lun).status, GOOD)
        return data

    @staticmethod
    def read(session, lba, blocks, lun=0):
        return session.command(read16(lba, blocks), data_in=blocks * BLOCK, lun=lun).data

    def assert_reads(self, session, lba, data, lun=0):
        self.assertEqual(self.read(session, lba, len(data) // BLOCK, lun), data)

    @staticmethod
    def remote_tokens(session):
        """REMOTE TOKENS of VPD page 8Fh."""
        page = session.command(bytes([0x12, 1, 0x8F, 0x10, 0, 0]), data_in=4096).data
        at = 4
        while at < len(page):
            kind, length = struct.unpack(">HH", page[at:at + 4])
            if kind == 0x0106:
                return page[at + 4] & 0x0F
            at += 4 + length
        raise AssertionError("no ROD Token Features descriptor")


class OneProcess(BetweenArrays):
    def test_a_token_of_one_array_works_on_the_luns_of_another(self):
        with self.odxd(TWO_ARRAYS) as odxd:
            east, west = self.session(odxd, "east", 2), self.session(odxd, "west", 2)
            data = self.fill(east, 0, 8)
            token = token_of(east, 0, [(0, 8)])
            self.fill(east, 0, 8, seed=2)
            for session, lun in ((west, 0), (west, 1), (east, 1)):
                self.assertEqual(self.write(session, token, lun, lba=16), "GOOD")
                self.assert_reads(session, 16, data, lun)
            self.assertEqual([self.remote_tokens(each) for each in (east, west)], [4, 4])

    def test_what_ended_a_token_is_told_by_every_array(self):
        with self.odxd(TWO_ARRAYS) as odxd:
            east, west = self.session(odxd, "east"), self.session(odxd, "west")
            token = token_of(east, 0, [(0, 8)])
            cdb, parameters = write_using_token(7, token, [(0, 8)])
            delete = bytearray(parameters)
            delete[2] |= 0x02  # DEL_TKN
            self.assertEqual(west.command(cdb, data_out=bytes(delete)).status, GOOD)
            self.assertEqual(self.write(west, token), TOKEN_DELETED)
            self.assertEqual(self.write(east, token), TOKEN_DELETED)
            altered = bytearray(token_of(east, 0, [(0, 8)], list_identifier=8))
            altered[300] ^= 1
            self.assertEqual(self.write(west, bytes(altered)), TOKEN_CORRUPT)

    def test_the_matrix_says_who_reaches_whom_and_with_which_refusal(self):
        def cut(a, b, refusal=""):
            return f'[[unreachable]]\na = "{a}"\nb = "{b}"\n' + (f'refusal = "{refusal}"\n' if refusal else "")

        steps = [
            ("", ["GOOD", "GOOD", "GOOD"]),
            (cut("east", "west"), ["GOOD", UNREACHABLE_COPY_TARGET, UNREACHABLE_COPY_TARGET]),
            (cut("w0", "e0", "remote-token-usage-not-supported"), ["GOOD", REMOTE_USE_NOT_SUPPORTED, "GOOD"]),
            (cut("east", "w1", "copy-target-device-not-reachable"), ["GOOD", "GOOD", DEVICE_NOT_REACHABLE]),
            (cut("west", "east", "copy-target-device-not-reachable") + cut("e0", "w1", "unreachable-copy-target"),
             ["GOOD", DEVICE_NOT_REACHABLE, UNREACHABLE_COPY_TARGET]),
            (cut("east", "east"), [UNREACHABLE_COPY_TARGET, "GOOD", "GOOD"]),
        ]
        with self.odxd(TWO_ARRAYS) as odxd:
            east, west = self.session(odxd, "east", 2), self.session(odxd, "west", 2)
            token = token_of(east, 0, [(0, 8)])
            for number, (pairs, expected) in enumerate(steps):
                if number:
                    self.config(TWO_ARRAYS + pairs)
                    before = odxd.log().count("SIGUSR2: ")
                    odxd.process.send_signal(signal.SIGUSR2)
                    odxd.wait_for_log("SIGUSR2: ", count=before + 1)
                outcomes = [self.write(*to) for to in ((east, token, 1), (west, token, 0), (west, token, 1))]
                self.assertEqual(outcomes, expected, pairs)

    def test_the_refusal_is_the_profiles_of_the_array_that_is_written_to(self):
        refusal = '[array.copy]\nrefusal = "copy-target-device-not-reachable"\n'
        text = TWO_ARRAYS.replace('id = "w"\n', 'id = "w"\n' + refusal)
        with self.odxd(text + '[[unreachable]]\na = "east"\nb = "west"\n') as odxd:
            east, west = self.session(odxd, "east"), self.session(odxd, "west")
            self.assertEqual(self.write(west, token_of(east, 0, [(0, 8)])), DEVICE_NOT_REACHABLE)
            self.assertEqual(self.write(east, token_of(west, 0, [(0, 8)])), UNREACHABLE_COPY_TARGET)

    def test_an_array_without_remote_tokens_takes_its_own_only(self):
        text = TWO_ARRAYS.replace('id = "w"\n', 'id = "w"\nprofile = "pure-like"\n')
        with self.odxd(text) as odxd:
            east, west = self.session(odxd, "east"), self.session(odxd, "west")
            self.assertEqual([self.remote_tokens(each) for each in (east, west)], [4, 0])
            self.assertEqual(self.write(west, token_of(east, 0, [(0, 8)])), REMOTE_USE_NOT_SUPPORTED)
            self.assertEqual(self.write(west, token_of(west, 0, [(0, 8)])), "GOOD")
            self.assertEqual(self.write(east, token_of(west, 0, [(0, 8)], list_identifier=9)), "GOOD")


def peer_table(odxd, target, more=""):
    return f'[[peer]]\nportal = "{odxd.host}:{odxd.port}"\ntarget = "iqn.2026-11.org.example:{target}"\n{more}'


class TwoProcesses(BetweenArrays):
    NEAR = 'id = "near"\n' + target_table("near", ["n0"])
    FAR = 'id = "far"\n' + target_table("far", ["f0", "f1"])

    def test_a_token_of_another_process_is_written_here(self):
        with self.odxd(self.FAR, "far") as far, self.odxd(self.NEAR + peer_table(far, "far"), "near") as near:
            there, here = self.session(far, "far", 2), self.session(near, "near")
            data = self.fill(there, 100, 300, lun=1)
            token = token_of(there, 1, [(0, 20480)])
            self.fill(there, 100, 300, seed=2, lun=1)
            self.assertEqual(self.write(here, token, lba=0, blocks=20480), "GOOD")
            self.assert_reads(here, 100, data)
            self.assert_reads(here, 0, bytes(100 * BLOCK))
            self.assertEqual(self.write(here, token, lba=40000, blocks=7, offset=101), "GOOD")
            self.assert_reads(here, 40000, data[BLOCK:8 * BLOCK])
            self.assertEqual(self.remote_tokens(here), 4)
            # 10 MiB of which 150 KiB are no zeros: the rest arrives as holes.
            log_lines = self.status(near)
            self.assertLess(log_lines["memory_used"], 3 * MIB)

    def status(self, odxd):
        before = odxd.log().count("memory: ")
        odxd.process.send_signal(signal.SIGUSR1)
        odxd.wait_for_log("memory: ", count=before + 1)
        line = [each for each in odxd.log().splitlines() if each.startswith("memory: ")][-1]
        number, unit = line.removeprefix("memory: ").split(" used")[0].split()
        return {"memory_used": float(number) * {"B": 1, "KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30}[unit]}

    def test_a_large_copy_comes_in_pieces(self):
        with self.odxd(self.FAR, "far") as far, self.odxd(self.NEAR + peer_table(far, "far"), "near") as near:
            there, here = self.session(far, "far", 2), self.session(near, "near")
            pieces = [self.fill(there, lba, 512, seed=lba) for lba in range(0, 65536, 512)]
            token = token_of(there, 0, [(0, 65536)])
            self.assertEqual(self.write(here, token, lba=8, blocks=65536), "GOOD")
            for number in (0, 1, 63, 127):
                self.assert_reads(here, 8 + 512 * number, pieces[number])

    def test_the_maker_judges_its_token(self):
        with self.odxd(self.FAR, "far") as far, self.odxd(self.NEAR + peer_table(far, "far"), "near") as near:
            there, here = self.session(far, "far"), self.session(near, "near")
            token = token_of(there, 0, [(0, 8)])
            altered = bytearray(token)
            altered[300] ^= 1
            self.assertEqual(self.write(here, bytes(altered)), TOKEN_CORRUPT)
            cdb, parameters = write_using_token(7, token, [(0, 8)])
            delete = bytearray(parameters)
            delete[2] |= 0x02  # DEL_TKN
            self.assertEqual(there.command(cdb, data_out=bytes(delete)).status, GOOD)
            self.assertEqual(self.write(here, token), TOKEN_DELETED)
            stranger = bytearray(token)
            stranger[24 + 15] ^= 0x40  # the creator's designator
            self.assertEqual(self.write(here, bytes(stranger)), REMOTE_USE_NOT_SUPPORTED)

    def test_a_maker_that_is_gone_or_was_restarted(self):
        far = self.start(self.FAR, "far")
        with self.odxd(self.NEAR + peer_table(far, "far", "timeout_s = 2\n"), "near") as near:
            there, here = self.session(far, "far"), self.session(near, "near")
            token = token_of(there, 0, [(0, 8)])
            self.assertEqual(self.write(here, token), "GOOD")
            port = far.port
            far.end(signal.SIGKILL)
            begin = time.monotonic()
            self.assertEqual(self.write(here, token), DEVICE_NOT_REACHABLE)
            self.assertLess(time.monotonic() - begin, 4)
            with self.odxd(self.FAR, "far", portal=f"127.0.0.1:{port}"):
                deadline = time.monotonic() + 10
                while (outcome := self.write(here, token)) == DEVICE_NOT_REACHABLE and time.monotonic() < deadline:
                    pass
                self.assertEqual(outcome, TOKEN_UNKNOWN)

    def test_chap_towards_a_peer_and_no_secret_in_any_log(self):
        chap = ('chap = { name = "near", secret = "near-secret@12%", '
                'mutual = { name = "far", secret = "far-secret/1?2" } }\n')
        far_text = self.FAR.replace('name = "iqn.2026-11.org.example:far"\n',
                                    'name = "iqn.2026-11.org.example:far"\n' + chap +
                                    'allowed_initiators = ["iqn.2026-11.org.example:near"]\n')
        good = 'initiator = "iqn.2026-11.org.example:near"\n' + chap
        bad = good.replace("near-secret", "wrong-secret")
        with self.odxd(far_text, "far") as far:
            # Nobody can ask for a token of it here; a well-formed one that its maker does not know does as well.
            with self.odxd(self.FAR.replace("memory:1G", "memory:2G"), "clone") as clone:
                token = token_of(self.session(clone, "far"), 0, [(0, 8)])
            with self.odxd(self.NEAR + peer_table(far, "far", good), "near") as near:
                self.assertEqual(self.write(self.session(near, "near"), token), TOKEN_UNKNOWN)
            with self.odxd(self.NEAR + peer_table(far, "far", bad), "near") as near:
                self.assertEqual(self.write(self.session(near, "near"), token), DEVICE_NOT_REACHABLE)
                self.assertIn("cannot log in", near.log())
        logs = "".join((self.folder / f"{name}.log").read_text() for name in ("far", "near"))
        for secret in ("near-secret", "far-secret", "wrong-secret"):
            self.assertNotIn(secret, logs)

    def test_a_maker_that_does_not_answer_holds_nothing_up(self):
        far = self.start(self.FAR, "far")
        self.addCleanup(far.end, signal.SIGKILL)
        with self.odxd(self.NEAR + peer_table(far, "far", "timeout_s = 2\n"), "near") as near:
            here = self.session(near, "near")
            token = token_of(self.session(far, "far"), 0, [(0, 8)])
            self.assertEqual(self.write(here, token), "GOOD")
            far.process.send_signal(signal.SIGSTOP)
            begin = time.monotonic()
            cdb, parameters = write_using_token(50, token, [(0, 8)])
            waiting = threading.Thread(target=lambda: outcomes.append(self.write(other, token)))
            outcomes, other = [], self.session(near, "near", initiator="iqn.2026-01.example.odx:other")
            waiting.start()
            self.assert_reads(here, 0, self.read(here, 0, 8))
            self.assertFalse(outcomes)  # reads are served meanwhile
            waiting.join()
            self.assertEqual(outcomes, [DEVICE_NOT_REACHABLE])
            self.assertLess(time.monotonic() - begin, 4)
            # And for a second nobody waits for it again.
            begin = time.monotonic()
            self.assertEqual(here.command(cdb, data_out=parameters).key, DEVICE_NOT_REACHABLE)
            self.assertLess(time.monotonic() - begin, 0.5)
            far.process.send_signal(signal.SIGCONT)
            deadline = time.monotonic() + 10
            while (outcome := self.write(here, token)) == DEVICE_NOT_REACHABLE and time.monotonic() < deadline:
                pass
            self.assertEqual(outcome, "GOOD")

    def test_odxd_ends_while_a_copy_waits_for_a_peer(self):
        far = self.start(self.FAR, "far")
        self.addCleanup(far.end, signal.SIGKILL)
        near = self.start(self.NEAR + peer_table(far, "far", "timeout_s = 3600\n"), "near")
        token = token_of(self.session(far, "far"), 0, [(0, 8)])
        here = self.session(near, "near")
        self.assertEqual(self.write(here, token), "GOOD")
        far.process.send_signal(signal.SIGSTOP)
        cdb, parameters = write_using_token(50, token, [(0, 8)])
        here.send(here.command_pdu(cdb, parameters, immediate=8192))
        self.assertEqual(near.end(), 0)

    def test_the_refusal_for_a_peer_that_is_not_there_is_configured(self):
        text = self.NEAR + '[copy]\nrefusal = "remote-token-usage-not-supported"\n'
        far = self.start(self.FAR, "far")
        token = token_of(self.session(far, "far"), 0, [(0, 8)])
        with self.odxd(text + peer_table(far, "far"), "near") as near:
            far.end(signal.SIGKILL)
            self.assertEqual(self.write(self.session(near, "near"), token), REMOTE_USE_NOT_SUPPORTED)


if __name__ == "__main__":
    unittest.main(verbosity=2)
