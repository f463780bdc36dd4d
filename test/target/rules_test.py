#!/usr/bin/env python3
"""Rules of the configuration file, each action as a host sees it through iSCSI.

Not tested, and why: which commands a rule hits, in full (test/scsi/rules_test.cc); each place of a PDU exchange where
a connection can end, and digests PDU by PDU (test/iscsi/rules_test.cc); what Windows shows (docs/faults.md says where
that is from). Usage: rules_test.py ODXD [unittest arguments]. Uses 127.0.0.1 and free ports only.
"""
import json
import shutil
import signal
import struct
import sys
import tempfile
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from odxd_process import Odxd, odxd_ends  # noqa: E402
from offload import (populate_token, read16, receive_rod_token_information, token_of, write16,  # noqa: E402
                     write_using_token)
from wire import ASYNC, CHECK_CONDITION, GOOD, R2T, REJECT, SCSI_RESPONSE, Closed, Session  # noqa: E402
from wire import BHS, Pdu, lun_field, pdu_bytes  # noqa: E402

BLOCK = 512
SOURCE, DESTINATION = 0, 1
TEST_UNIT_READY = bytes(6)
VPD_8F = bytes([0x12, 1, 0x8F, 1, 0, 0])
HOUR_MS = 3600 * 1000
TASK_MANAGEMENT, TASK_MANAGEMENT_RESPONSE, TASK_ABORT = 0x02, 0x22, 1
MARKED = bytes(range(256)) * 4  # two blocks


def toml(value):
    """A value as TOML writes it; tables inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def rule(action, command=None, name=None, set_state=None, **match):
    """A [[rule]]: `action` is its type, or a table."""
    text = "[[rule]]\n"
    if name:
        text += f"name = {toml(name)}\n"
    if set_state:
        text += f"set_state = {toml(set_state)}\n"
    if command:
        match["command"] = command
    if match:
        text += f"match = {toml(match)}\n"
    return text + f"action = {toml({'type': action} if isinstance(action, str) else action)}\n"


def act(kind, **keys):
    return {"type": kind, **keys}


def crc32c(data):
    """The digest of RFC 7143, 13.1, as it is sent."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


class DigestSession(Session):
    """With header and data digests; of the PDU received last it says which was wrong."""
    digests = False
    wrong_digest = None

    def _login(self, keys, isid):
        super()._login({**keys, "HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}, isid)
        self.digests = True

    def send(self, data):
        if self.digests:
            header, data = data[:BHS], data[BHS:]
            data = header + crc32c(header) + data + (crc32c(data) if data else b"")
        super().send(data)

    def receive_pdu(self):
        if not self.digests:
            return super().receive_pdu()
        header = self.receive(BHS)
        self.wrong_digest = None if self.receive(4) == crc32c(header) else "header"
        length = int.from_bytes(header[5:8], "big")
        data = self.receive(length + -length % 4)
        if data and self.receive(4) != crc32c(data):
            self.wrong_digest = "data"
        return Pdu(header, data[:length])


LUNS = """
[[target]]
[[target.lun]]
name = "source"
store = "memory:64M"
[[target.lun]]
name = "destination"
store = "memory:64M"
"""


class Array(Odxd):
    """An odxd that need not wait for logouts when it ends."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.sessions = []

    def __exit__(self, kind, *rest):
        for session in self.sessions:
            session.socket.close()
        super().__exit__(kind, *rest)


class RulesTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odxd-rules-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.config = self.folder / "array.toml"

    def odxd(self, *rules, text=LUNS):
        self.config.write_text(text + "".join(rules))
        return Array("--config", self.config, log_path=self.folder / "odxd.log")

    @staticmethod
    def session(odxd, name="host"):
        session = Session(odxd, f"iqn.2026-11.org.example:{name}")
        odxd.sessions.append(session)
        return session.clear_unit_attentions(SOURCE, DESTINATION)

    @staticmethod
    def read(session, lun=SOURCE, lba=0, blocks=2):
        answer = session.command(read16(lba, blocks), data_in=blocks * BLOCK, lun=lun)
        assert answer.status == GOOD, answer
        return answer.data

    @staticmethod
    def write(session, data=MARKED, lun=SOURCE, lba=0):
        return session.command(write16(lba, len(data) // BLOCK), data_out=data, lun=lun)

    @staticmethod
    def copy(session, token, blocks=8, list_identifier=1, lba=0):
        cdb, data = write_using_token(list_identifier, token, [(lba, blocks)])
        return session.command(cdb, data_out=data, lun=DESTINATION)

    @staticmethod
    def result(session, list_identifier=1, lun=DESTINATION):
        """Copy operation status and transfer count."""
        answer = session.command(receive_rod_token_information(list_identifier), data_in=1024, lun=lun)
        assert answer.status == GOOD, answer
        return answer.data[5], int.from_bytes(answer.data[16:24], "big")

    @staticmethod
    def key(session, lun=SOURCE, cdb=TEST_UNIT_READY, **data):
        answer = session.command(cdb, lun=lun, **data)
        return "GOOD" if answer.status == GOOD else answer.key

    def check_alive(self, session):
        self.assertEqual(self.key(session), "GOOD")


class Answers(RulesTest):
    def test_status(self):
        statuses = ("BUSY", "TASK SET FULL", "RESERVATION CONFLICT", "TASK ABORTED", "22h")
        rules = [rule(act("status", status=each), "WRITE", nth=nth) for nth, each in enumerate(statuses, 1)]
        with self.odxd(*rules) as odxd:
            session = self.session(odxd)
            self.assertEqual([self.write(session).status for _ in range(6)], [0x08, 0x28, 0x18, 0x40, 0x22, GOOD])
            # Before its data: no R2T.
            self.assertEqual(self.read(session), MARKED)

    def test_sense(self):
        with self.odxd(rule(act("sense", sense="03/11/00", information=77), "READ", count=1),
                       rule(act("sense", sense="04/44/00", when="after"), "WRITE", count=1)) as odxd:
            session = self.session(odxd)
            answer = session.command(read16(0, 1), data_in=BLOCK)
            self.assertEqual((answer.key, answer.sense[0], answer.sense[3:7]), ((3, 0x11, 0), 0xF0, b"\0\0\0\x4D"))
            self.assertEqual(self.write(session).key, (4, 0x44, 0))
            self.assertEqual(self.read(session), MARKED)  # it was done all the same

    def test_truncate(self):
        with self.odxd(rule(act("truncate", bytes=BLOCK), ["READ", "WRITE"], lba=[0, 1]),
                       rule(act("truncate", bytes=20), "POPULATE TOKEN")) as odxd:
            session = self.session(odxd)
            self.write(session)
            self.assertEqual(self.read(session, blocks=2), MARKED[:BLOCK])
            self.assertEqual(self.read(session, lba=1, blocks=1), bytes(BLOCK))
            cdb, data = populate_token(1, [(0, 8)])
            self.assertEqual(session.command(cdb, data_out=data).key, (5, 0x1A, 0))

    def test_wrong_data_of_reads_and_writes(self):
        with self.odxd(rule(act("wrong_data", data="zeros"), "READ", nth=1),
                       rule(act("wrong_data", data="inverted"), "READ", nth=2),
                       rule(act("wrong_data", data="not_written"), "WRITE", nth=2),
                       rule(act("wrong_data", data="zeros"), "WRITE", nth=3)) as odxd:
            session = self.session(odxd)
            self.write(session)
            inverted = b"".join(bytes(~each & 0xFF for each in MARKED[at:at + 8]) + MARKED[at + 8:at + BLOCK]
                                for at in (0, BLOCK))
            self.assertEqual([self.read(session) for _ in range(3)], [bytes(2 * BLOCK), inverted, MARKED])
            self.assertEqual(self.write(session, b"x" * 2 * BLOCK).status, GOOD)
            self.assertEqual(self.read(session), MARKED)
            self.assertEqual(self.write(session, b"x" * 2 * BLOCK).status, GOOD)
            self.assertEqual(self.read(session), bytes(2 * BLOCK))

    def test_edited_data(self):
        with self.odxd(rule(act("edit_data", at=4, cut=36, move_to=65536), page=0x8F, nth=1),
                       rule(act("edit_data", at=6, put="00 24"), page=0x8F, nth=2),
                       rule(act("edit_data", at=5, cut=1, move_to=65536), page=0),
                       rule(act("edit_data", at=0, cut=0, put="FF"), "READ", nth=1),
                       rule(act("edit_data", at=BLOCK, cut=BLOCK), "READ", nth=2)) as odxd:
            session = self.session(odxd)
            moved, longer, page = (session.command(VPD_8F, data_in=256).data for _ in range(3))
            self.assertEqual(page[4:8], b"\0\0\0\x20")  # Block Device ROD Limits
            whole = session.command(VPD_8F[:3] + b"\xFF\xFF\0", data_in=0xFFFF).data
            self.assertEqual(moved, (whole[:4] + whole[40:] + whole[4:40])[:256])
            self.assertEqual(longer, page[:6] + b"\0\x24" + page[8:])
            pages = session.command(bytes([0x12, 1, 0, 1, 0, 0]), data_in=256).data
            self.assertEqual((pages[:4], pages[4], pages[-2:]), (bytes([0, 0, 0, len(pages) - 4]), 0, b"\xB2\x80"))
            self.write(session)
            self.assertEqual(self.read(session), b"\xFF" + MARKED[:-1])  # no more than was asked for
            self.assertEqual([self.read(session), self.read(session)], [MARKED[:BLOCK], MARKED])

    def test_states_and_nothing(self):
        with self.odxd(rule("nothing", "READ", set_state="armed"),
                       rule(act("status", status="BUSY"), "WRITE", when_state="armed", set_state="off"),
                       ) as odxd:
            session = self.session(odxd)
            self.assertEqual(self.write(session).status, GOOD)
            self.read(session)
            self.assertEqual([self.write(session).status for _ in range(2)], [0x08, GOOD])


class Time(RulesTest):
    def send_write(self, session):
        session.send(session.command_pdu(write16(0, 2), MARKED, lun=SOURCE, immediate=len(MARKED)))
        return session.task_tag, session.command_number - 1

    def abort(self, session, tag, command_number):
        bhs = bytearray(BHS)
        bhs[0], bhs[1] = TASK_MANAGEMENT | 0x40, 0x80 | TASK_ABORT
        bhs[8:16] = lun_field(SOURCE)
        struct.pack_into(">IIIII", bhs, 16, 0x7000, tag, session.command_number, session.expected_status_number,
                         command_number)
        session.send(pdu_bytes(bhs))
        answer = session.receive_pdu()
        self.assertEqual(answer.opcode, TASK_MANAGEMENT_RESPONSE)
        session.expected_status_number += 1
        return answer.bhs[2]

    def test_delay_and_abort(self):
        for when, stored in (("before", bytes(2 * BLOCK)), ("after", MARKED)):
            delay = rule(act("delay", ms=HOUR_MS, when=when), "WRITE", initiator="iqn.2026-11.org.example:host")
            with self.subTest(when=when), self.odxd(delay) as odxd:
                session, other = self.session(odxd), self.session(odxd, "other")
                tag, number = self.send_write(session)
                session.send(session.command_pdu(TEST_UNIT_READY))  # overtakes it
                answer = session.receive_pdu()
                self.assertEqual(answer.bhs[16:20], session.task_tag.to_bytes(4, "big"))
                session.expected_status_number += 1
                self.assertEqual(self.read(other), stored)
                self.assertEqual(self.abort(session, tag, number), 0)
                self.assertEqual(self.read(other), stored)
                self.check_alive(session)

    def test_delay_that_passes(self):
        with self.odxd(rule(act("delay", ms=20), "WRITE"),
                       rule(act("delay", ms=20, when="after", clock="wire"), "WRITE")) as odxd:
            session = self.session(odxd)
            self.assertEqual(self.write(session).status, GOOD)
            self.assertEqual(self.read(session), MARKED)

    def test_delays_of_array_time(self):
        fast = '[clock]\nmode = "scaled"\nfactor = 100000\n' + LUNS
        with self.odxd(rule(act("delay", ms=HOUR_MS), "WRITE"),
                       rule(act("delay", ms=HOUR_MS, when="after"), "WRITE"),
                       rule(act("delay", ms=HOUR_MS, clock="wire"), "READ"), text=fast) as odxd:
            session = self.session(odxd)
            self.assertEqual(self.write(session).status, GOOD)  # two hours
            session.send(session.command_pdu(read16(0, 2), data_in=2 * BLOCK))
            session.send(session.command_pdu(TEST_UNIT_READY))
            answer = session.receive_pdu()
            self.assertEqual((answer.opcode, answer.bhs[16:20]), (SCSI_RESPONSE, session.task_tag.to_bytes(4, "big")))

    def test_delayed_commands_do_not_keep_odxd_or_a_session(self):
        with self.odxd(rule(act("delay", ms=HOUR_MS), "WRITE")) as odxd:
            gone, staying = self.session(odxd, "gone"), self.session(odxd)
            self.send_write(gone)
            self.key(staying)
            gone.socket.close()
            odxd.wait_for_log("connection ends")
            again = self.session(odxd, "gone")
            self.check_alive(again)
            self.send_write(staying)
            self.check_alive(again)
            odxd.sessions.remove(staying)
        staying.socket.close()  # SIGTERM ended it well, with a write under way and nobody who logs out


class Copies(RulesTest):
    def test_short_copy(self):
        with self.odxd(rule(act("short_copy", blocks=5), "WRITE USING TOKEN", nth=1),
                       rule(act("short_copy", blocks=3, count=False), "WRITE USING TOKEN", nth=2)) as odxd:
            session = self.session(odxd)
            self.write(session, MARKED * 4)
            token = token_of(session, SOURCE, [(0, 8)])
            answer = self.copy(session, token)
            self.assertEqual((answer.key, answer.sense[3:7]), ((0xA, 0x0D, 4), b"\0\0\0\5"))
            self.assertEqual(self.result(session), (0x03, 5))
            self.assertEqual(self.read(session, DESTINATION, 0, 8), (MARKED * 4)[:5 * BLOCK] + bytes(3 * BLOCK))
            answer = self.copy(session, token, list_identifier=2)
            self.assertEqual((answer.key, answer.sense[0], answer.sense[3:7]), ((0xA, 0x0D, 4), 0x70, bytes(4)))
            self.assertEqual(self.result(session, 2), (0x03, 3))
            self.assertEqual(self.copy(session, token, list_identifier=3).status, GOOD)

    def test_wrong_result(self):
        with self.odxd(rule(act("wrong_result", transfer_count=99, copy_status=0x11), "RECEIVE ROD TOKEN INFORMATION",
                            lun="destination", count=1)) as odxd:
            session = self.session(odxd)
            self.copy(session, token_of(session, SOURCE, [(0, 8)]))
            self.assertEqual([self.result(session), self.result(session)], [(0x11, 99), (0x01, 8)])

    def test_wrong_data_of_copies(self):
        with self.odxd(rule(act("wrong_data", data="not_written"), "WRITE USING TOKEN", nth=1),
                       rule(act("wrong_data", data="inverted"), "WRITE USING TOKEN", nth=2),
                       rule(act("wrong_data", data="zeros"), "WRITE USING TOKEN", nth=3)) as odxd:
            session = self.session(odxd)
            self.write(session)
            self.write(session, b"b" * 2 * BLOCK, DESTINATION)
            token = token_of(session, SOURCE, [(0, 2)])
            inverted = bytes(~each & 0xFF for each in MARKED[:8]) + MARKED[8:]
            for number, wanted in enumerate((b"b" * 2 * BLOCK, inverted, bytes(2 * BLOCK), MARKED)):
                self.assertEqual(self.copy(session, token, 2, number).status, GOOD)
                self.assertEqual(self.read(session, DESTINATION), wanted)

    def test_tokens_end(self):
        for action, qualifier in (("expire_token", 7), ("revoke_token", 6), ("cancel_token", 8), ("delete_token", 9)):
            with self.subTest(action), self.odxd(rule(action, "WRITE USING TOKEN", nth=3),
                                                 rule(act(action, when="after"), "POPULATE TOKEN", nth=2)) as odxd:
                session = self.session(odxd)
                token = token_of(session, SOURCE, [(0, 8)])
                ended = (5, 0x23, qualifier)
                self.assertEqual([self.copy(session, token, 8, each).key or "GOOD" for each in range(4)],
                                 ["GOOD", "GOOD", ended, ended])
                self.assertEqual(self.copy(session, token_of(session, SOURCE, [(0, 8)]), 8, 9).key, ended)
                self.assertEqual(self.copy(session, token_of(session, SOURCE, [(0, 8)]), 8, 10).status, GOOD)

    def test_corrupted_tokens(self):
        corrupt = (5, 0x23, 5)
        with self.odxd(rule("corrupt_token", "WRITE USING TOKEN", nth=1),
                       rule("corrupt_token", "RECEIVE ROD TOKEN INFORMATION", nth=2)) as odxd:
            session = self.session(odxd)
            token = token_of(session, SOURCE, [(0, 8)])
            self.assertEqual(self.copy(session, token).key, corrupt)
            self.assertEqual(self.copy(session, token).status, GOOD)
            self.assertEqual(self.copy(session, token_of(session, SOURCE, [(0, 8)])).key, corrupt)


class TheArray(RulesTest):
    def test_unreachable_and_reachable(self):
        pair = {"a": "source", "b": "destination"}
        with self.odxd(rule(act("unreachable", **pair), "WRITE USING TOKEN", nth=2),
                       rule(act("reachable", **pair), "WRITE USING TOKEN", nth=4),
                       rule(act("unreachable", **pair, refusal="copy-target-device-not-reachable"),
                            "WRITE USING TOKEN", nth=5)) as odxd:
            session = self.session(odxd)
            token = token_of(session, SOURCE, [(0, 8)])
            unreachable = (5, 8, 4)
            self.assertEqual([self.copy(session, token, 8, each).key or "GOOD" for each in range(5)],
                             ["GOOD", unreachable, unreachable, "GOOD", (0xA, 0x0D, 2)])

    def test_odx_off_and_on(self):
        with self.odxd(rule(act("odx_off"), "POPULATE TOKEN", nth=2),
                       rule(act("odx_on", when="after"), "READ", nth=2)) as odxd:
            session, other = self.session(odxd), self.session(odxd, "other")
            token = token_of(session, SOURCE, [(0, 8)])
            cdb, data = populate_token(2, [(0, 8)])
            not_supported, changed = (5, 0x20, 0), (6, 0x3F, 3)
            self.assertEqual(session.command(cdb, data_out=data).key, not_supported)
            for each in (session, other):
                self.assertEqual([self.key(each, SOURCE), self.key(each, DESTINATION), self.key(each)],
                                 [changed, changed, "GOOD"])
            self.assertEqual(self.copy(session, token).key, not_supported)
            self.assertEqual(self.key(session, cdb=VPD_8F, data_in=256), (5, 0x24, 0))
            pages = session.command(bytes([0x12, 1, 0, 1, 0, 0]), data_in=256).data
            self.assertNotIn(0x8F, pages[4:])
            self.assertEqual(session.command(bytes([0x12, 0, 0, 0, 36, 0]), data_in=36).data[5] & 0x08, 0)
            self.read(session)
            self.read(session)
            self.assertEqual([self.key(other), self.key(other)], [changed, "GOOD"])
            self.assertEqual(session.command(VPD_8F, data_in=256).data[1], 0x8F)
            session.clear_unit_attentions(SOURCE, DESTINATION)
            self.assertEqual(self.copy(session, token).status, GOOD)

    def test_full_pool(self):
        with self.odxd(rule("fill_pool", "WRITE", nth=2), rule("free_pool", "WRITE", nth=4)) as odxd:
            session = self.session(odxd)
            full, half = (7, 0x27, 7), 1 << 20
            data = bytes([1]) * half
            self.assertEqual([self.write(session, data, lba=each * half // BLOCK).key or "GOOD" for each in range(4)],
                             ["GOOD", full, full, "GOOD"])
            # What has its memory already can be written.
            self.assertEqual(self.write(session, data).status, GOOD)


class Connections(RulesTest):
    def test_lost_commands_and_responses(self):
        with self.odxd(rule("drop_response", "WRITE", nth=1), rule("drop_command", "WRITE", nth=2)) as odxd:
            session = self.session(odxd)
            for data, lba in ((MARKED, 0), (b"x" * 2 * BLOCK, 8)):
                session.send(session.command_pdu(write16(lba, 2), data, immediate=len(data)))
            session.send(session.command_pdu(TEST_UNIT_READY))
            answer = session.receive_pdu()  # the first there is
            self.assertEqual((answer.opcode, answer.bhs[16:20]), (SCSI_RESPONSE, session.task_tag.to_bytes(4, "big")))
            self.assertEqual([self.read(session), self.read(session, lba=8)], [MARKED, bytes(2 * BLOCK)])

    def end_of(self, session):
        """How the connection ends, after the PDUs that came before: their opcodes, and "closed" or "reset"."""
        opcodes, buffer = [], b""
        while True:
            try:
                data = session.socket.recv(65536)
            except ConnectionResetError:
                return opcodes, "reset"
            if not data:
                self.assertEqual(buffer, b"")
                return opcodes, "closed"
            buffer += data
            while len(buffer) >= BHS:
                length = int.from_bytes(buffer[5:8], "big")
                opcodes.append(buffer[0] & 0x3F)
                buffer = buffer[BHS + length + -length % 4:]

    def test_connections_end(self):
        rows = [("command", "WRITE", [], False), ("r2t", "WRITE", [], False), ("response", "WRITE", [], True),
                ("after_response", "WRITE", [SCSI_RESPONSE], True), ("data_in", "READ", [], None),
                ("response", "READ", [], None)]
        for kind, how in (("drop_connection", "closed"), ("reset_connection", "reset")):
            for at, command, sent, done in rows:
                with self.subTest(kind=kind, at=at, command=command), \
                        self.odxd(rule(act(kind, at=at), command, initiator="iqn.2026-11.org.example:host")) as odxd:
                    session, other = self.session(odxd), self.session(odxd, "other")
                    immediate = 0 if at == "r2t" else len(MARKED)
                    if command == "READ":
                        session.send(session.command_pdu(read16(0, 2), data_in=2 * BLOCK))
                    else:
                        session.send(session.command_pdu(write16(0, 2), MARKED, immediate=immediate))
                    self.assertEqual(self.end_of(session), (sent, how))
                    if done is not None:
                        self.assertEqual(self.read(other), MARKED if done else bytes(2 * BLOCK))
                    again = self.session(odxd)  # a new login finds everything in order
                    self.check_alive(again)

    def test_a_connection_ends_within_the_data_of_a_write(self):
        with self.odxd(rule(act("drop_connection", at="data_out", nth=2), "WRITE", count=1)) as odxd:
            session = self.session(odxd)
            data = b"d" * 16384
            session.send(session.command_pdu(write16(0, 32), data, immediate=0))
            r2t = session.receive_pdu()
            self.assertEqual(r2t.opcode, R2T)
            with self.assertRaises((Closed, ConnectionError)):
                session._serve_r2t(r2t, data)  # pylint: disable=protected-access
                session.receive_pdu()
            again = self.session(odxd)
            self.assertEqual(self.read(again, blocks=32), bytes(16384))
            self.assertEqual(self.write(again, data).status, GOOD)  # the host's retry
            self.assertEqual(self.read(again, blocks=32), data)

    def test_async_messages(self):
        for event, number in (("logout_request", 1), ("drop_connection", 2), ("drop_session", 3)):
            with self.subTest(event), self.odxd(rule(act("async_message", event=event, seconds=1), "READ")) as odxd:
                session = self.session(odxd)
                self.read(session, blocks=1)
                message = session.receive_pdu()
                self.assertEqual((message.opcode, message.bhs[36]), (ASYNC, number))
                if number == 1:
                    self.assertEqual(message.bhs[42:44], b"\0\1")
                self.assertTrue(session.closed_within(10))
                self.check_alive(self.session(odxd, "again"))

    def test_wrong_digests(self):
        with self.odxd(rule(act("digest_error", of="header"), "TEST UNIT READY", lun=0, nth=2),
                       rule(act("digest_error", of="data"), "READ", nth=2)) as odxd:
            session = DigestSession(odxd, "iqn.2026-11.org.example:host")
            odxd.sessions.append(session)
            self.assertEqual(session.command(TEST_UNIT_READY).key, (6, 0x29, 0))  # met no rule
            self.check_alive(session)
            for cdb, length, wrong in ((read16(0, 1), BLOCK, None), (TEST_UNIT_READY, 0, "header"),
                                       (TEST_UNIT_READY, 0, None), (read16(0, 1), BLOCK, "data"),
                                       (read16(0, 1), BLOCK, None)):
                session.send(session.command_pdu(cdb, data_in=length))
                session.receive_pdu()
                self.assertEqual(session.wrong_digest, wrong)

    def test_a_data_out_that_is_taken_for_a_wrong_one(self):
        with self.odxd(rule(act("digest_error", of="received_data"), "WRITE", count=1)) as odxd:
            session = self.session(odxd)
            session.send(session.command_pdu(write16(0, 2), MARKED, immediate=0))
            session._serve_r2t(session.receive_pdu(), MARKED)  # pylint: disable=protected-access
            rejected = session.receive_pdu()
            self.assertEqual((rejected.opcode, rejected.bhs[2]), (REJECT, 0x02))
            answer = session.receive_pdu()
            self.assertEqual((answer.opcode, answer.bhs[3], answer.data[4] & 0xF, answer.data[14:16]),
                             (SCSI_RESPONSE, CHECK_CONDITION, 0xB, b"\x47\x05"))
            session.expected_status_number += 2
            self.assertEqual(self.write(session).status, GOOD)
            self.assertEqual(self.read(session), MARKED)


class TheFile(RulesTest):
    def test_rules_are_replaced_when_the_file_is_read_again(self):
        def reload(odxd, *rules):
            before = odxd.log().count("SIGUSR2: ")
            self.config.write_text(LUNS + "".join(rules))
            odxd.process.send_signal(signal.SIGUSR2)
            odxd.wait_for_log("SIGUSR2: ", count=before + 1)
            return odxd.log().split("SIGUSR2: ")[before + 1].splitlines()[0]

        busy, check = rule(act("status", status="BUSY"), "READ", nth=1), rule(act("sense", sense="02/04/00"), "READ")
        with self.odxd(busy) as odxd:
            session = self.session(odxd)

            def statuses(count):
                return [session.command(read16(0, 1), data_in=BLOCK).status for _ in range(count)]

            self.assertEqual(statuses(2), [0x08, GOOD])
            self.assertRegex(reload(odxd, busy), "^0 changes")  # the same: it goes on counting
            self.assertEqual(statuses(1), [GOOD])
            self.assertRegex(reload(odxd, check), "^1 changes")
            self.assertIn("1 rules of the file", odxd.log())
            self.assertEqual(statuses(2), [CHECK_CONDITION] * 2)
            self.assertRegex(reload(odxd, rule("explode")), "^nothing changes: .*array.toml:9:1: rule: action.type is")
            self.assertEqual(statuses(1), [CHECK_CONDITION])
            self.assertRegex(reload(odxd), "^1 changes")
            self.assertEqual(statuses(1), [GOOD])

    def test_a_wrong_rule_keeps_odxd_from_starting(self):
        self.config.write_text(LUNS + rule(act("delay", ms=1, how="long"), name="slow"))
        status, _, error = odxd_ends("--config", self.config)
        self.assertEqual(status, 2)
        self.assertRegex(error, 'array.toml:9:1: rule "slow": action.how is not a key here; '
                                'expected type, ms, when, clock')


if __name__ == "__main__":
    unittest.main()
