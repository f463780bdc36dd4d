#!/usr/bin/env python3
"""Everything of odxd that has threads, at once: for the thread sanitizer, which sees only what happens.

Two arrays, the second of which fetches from the first. Several hosts read, write, deallocate and copy between LUNs in
memory, in files and of the other array, and abort what they sent, each on blocks of its own; meanwhile a LUN in a file
comes and goes, another grows, the status is asked for, and a journal is written. What was acknowledged is read back.

Not tested, and why: order between hosts (the simulation has a model of it); each of these things alone (the other
system tests).
Usage: threads_test.py ODXD [unittest arguments]; ROUNDS=1000 and SEED=N in the environment for a longer or another run.
"""
import os
import random
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
from odxd_process import Odxd  # noqa: E402
from offload import populate_token, read16, token_of, write16, write_using_token  # noqa: E402
from wire import CHECK_CONDITION, GOOD, R2T, SCSI_RESPONSE, UNIT_ATTENTION, Session, pdu_bytes  # noqa: E402

BLOCK = 512
MIB = 1 << 20
HOSTS = 6
BLOCKS_OF_A_HOST = 1024  # on each LUN
TASK_MANAGEMENT_REQUEST, TASK_MANAGEMENT_RESPONSE, ABORT_TASK = 0x02, 0x22, 1
MEMORY, THIN, THICK = range(3)  # LUNs; those behind the first are files, and the other array has two
DELETE_TOKEN = 0x02  # DEL_TKN of WRITE USING TOKEN
SYNCHRONIZE_CACHE_16 = struct.pack(">BBQIBB", 0x91, 0, 0, 0, 0, 0)
LOG_SENSE_PROVISIONING = bytes([0x4D, 0, 0x4C, 0, 0, 0, 0, 1, 0, 0])


def config(name, *luns, more=""):
    text = f'id = "{name}"\nlog_level = "debug"\n[[target]]\nname = "iqn.2026-11.org.example:{name}"\n'
    return text + "".join(f'[[target.lun]]\nnumber = {number}\n{keys}\n' for number, keys in luns) + more


def write_same16(lba, blocks, unmap):
    return struct.pack(">BBQIBB", 0x93, 0x08 if unmap else 0, lba, blocks, 0, 0)


def get_lba_status(lba):
    return struct.pack(">BBQIBB", 0x9E, 0x12, lba, 512, 0, 0)


class PatientSession(Session):
    """Sends a command again that met a unit attention: they come whenever the configuration changes."""

    def command(self, cdb, data_out=b"", data_in=0, lun=0):
        while True:
            answer = super().command(cdb, data_out, data_in, lun)
            if answer.status != CHECK_CONDITION or answer.key[0] != UNIT_ATTENTION:
                return answer


class Place:
    """The blocks of one host on one LUN: where they are, and what they hold."""

    def __init__(self, session, lun, first):
        self.session = session
        self.lun = lun
        self.first = first
        self.content = bytearray(BLOCKS_OF_A_HOST * BLOCK)


class Host(threading.Thread):
    def __init__(self, near, far, number, rounds, generator):
        super().__init__(daemon=True)
        self.rounds = rounds
        self.generator = generator
        self.failure = None
        self.list_identifier = 0
        sessions = []
        for odxd, name in ((near, "near"), (far, "far")):
            where = types.SimpleNamespace(host=odxd.host, port=odxd.port, iqn=f"iqn.2026-11.org.example:{name}",
                                          lun=int)
            sessions.append(PatientSession(where, f"iqn.2026-11.org.example:host{number}"))
        first = number * BLOCKS_OF_A_HOST
        self.near = [Place(sessions[0], lun, first) for lun in (MEMORY, THIN, THICK)]
        self.places = self.near + [Place(sessions[1], lun, first) for lun in (MEMORY, THIN)]

    def run(self):
        try:
            acts = (self.write, self.write, self.read, self.copy, self.copy, self.copy, self.deallocate, self.ask,
                    self.abort)
            for _ in range(self.rounds):
                self.generator.choice(acts)()
            for place in self.places:
                self.compare(place, 0, BLOCKS_OF_A_HOST)
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure

    def close(self):
        for place in (self.places[0], self.places[-1]):
            place.session.close()

    @staticmethod
    def good(place, cdb, **data):
        answer = place.session.command(cdb, lun=place.lun, **data)
        assert answer.status == GOOD, f"CDB {cdb.hex()} of LUN {place.lun}: {answer}"
        return answer

    def some(self, most=BLOCKS_OF_A_HOST):
        blocks = self.generator.randint(1, most)
        return self.generator.randint(0, BLOCKS_OF_A_HOST - blocks), blocks

    def place(self):
        return self.generator.choice(self.places)

    def compare(self, place, at, blocks):
        data = self.good(place, read16(place.first + at, blocks), data_in=blocks * BLOCK).data
        assert data == place.content[at * BLOCK:(at + blocks) * BLOCK], f"LUN {place.lun}, {blocks} blocks at {at}"

    def put(self, place, at, data):
        self.good(place, write16(place.first + at, len(data) // BLOCK), data_out=data)
        place.content[at * BLOCK:at * BLOCK + len(data)] = data

    def write(self):
        at, blocks = self.some(128)
        self.put(self.place(), at, self.generator.randbytes(blocks * BLOCK))

    def read(self):
        self.compare(self.place(), *self.some(256))

    def deallocate(self):
        place = self.place()
        at, blocks = self.some()
        self.good(place, write_same16(place.first + at, blocks, unmap=place.lun != THICK), data_out=bytes(BLOCK))
        place.content[at * BLOCK:(at + blocks) * BLOCK] = bytes(blocks * BLOCK)

    def ask(self):
        place = self.place()
        self.good(place, get_lba_status(place.first), data_in=512)
        if place.lun != THICK:
            self.good(place, LOG_SENSE_PROVISIONING, data_in=256)
        self.good(place, SYNCHRONIZE_CACHE_16)

    def token(self, place, at, blocks):
        self.list_identifier += 1
        return token_of(place.session, place.lun, [(place.first + at, blocks)], self.list_identifier)

    def copy(self):
        """What is written to the source after its token was made is not in the copy."""
        source, destination = self.place(), self.generator.choice(self.near)
        (at, blocks), saved = self.some(), bytes(source.content)
        token = self.token(source, at, blocks)
        self.put(source, at, self.generator.randbytes(BLOCK))
        to = self.generator.randint(0, BLOCKS_OF_A_HOST - blocks)
        cdb, parameters = write_using_token(self.list_identifier, token, [(destination.first + to, blocks)])
        if source in self.near and self.generator.random() < 0.7:
            parameters = bytes([*parameters[:2], DELETE_TOKEN, *parameters[3:]])
        self.good(destination, cdb, data_out=parameters)
        destination.content[to * BLOCK:(to + blocks) * BLOCK] = saved[at * BLOCK:(at + blocks) * BLOCK]
        self.compare(destination, to, blocks)

    def abort(self):
        """A copy or a capture that may have been made, in part, or not; then the blocks are written."""
        source, destination = self.place(), self.generator.choice(self.near)
        token = self.token(source, 0, BLOCKS_OF_A_HOST)
        self.list_identifier += 1
        ranges = [(destination.first, BLOCKS_OF_A_HOST)]
        cdb, parameters = self.generator.choice((populate_token(self.list_identifier, ranges),
                                                 write_using_token(self.list_identifier, token, ranges)))
        session = destination.session
        session.send(session.command_pdu(cdb, parameters, lun=destination.lun, immediate=len(parameters)))
        request = bytearray(48)
        request[0:2] = bytes([0x40 | TASK_MANAGEMENT_REQUEST, 0x80 | ABORT_TASK])
        request[8:16] = bytes([0, destination.lun, 0, 0, 0, 0, 0, 0])
        struct.pack_into(">IIIII", request, 16, 0x40000000 + session.task_tag, session.task_tag,
                         session.command_number, session.expected_status_number, session.command_number - 1)
        session.send(pdu_bytes(request))
        while (pdu := session.receive_pdu()).opcode != TASK_MANAGEMENT_RESPONSE:
            assert pdu.opcode in (SCSI_RESPONSE, R2T), pdu.bhs.hex()
        session.expected_status_number = int.from_bytes(pdu.bhs[24:28], "big") + 1
        self.put(destination, 0, self.generator.randbytes(BLOCKS_OF_A_HOST * BLOCK // 2))
        self.put(destination, BLOCKS_OF_A_HOST // 2, self.generator.randbytes(BLOCKS_OF_A_HOST * BLOCK // 2))


class Threads(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odxd-threads-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.seed = int(os.environ.get("SEED", "20261126"))
        self.rounds = int(os.environ.get("ROUNDS", "60"))

    def file(self, name, size=8 * MIB):
        return f'store = "file:{self.folder / name},size={size}"'

    def start(self, name, text):
        (self.folder / f"{name}.toml").write_text(text)
        return Odxd("--config", self.folder / f"{name}.toml", log_path=self.folder / f"{name}.log")

    def near(self, far, changes):
        """The second array's configuration after so many changes."""
        luns = [(MEMORY, 'store = "memory:8M"'), (THIN, self.file("thin.img", (8 + changes) * MIB)),
                (THICK, self.file("thick.img") + '\nprovisioning = "thick"')]
        if changes % 2:
            luns.append((9, self.file("guest.img")))
        peer = f'[[peer]]\nportal = "{far.host}:{far.port}"\ntarget = "iqn.2026-11.org.example:far"\ntimeout_s = 60\n'
        return config("near", *luns, more=peer + f'[journal]\nfile = "{self.folder / "journal.jsonl"}"\n')

    def refusals(self):
        """The last of the second array's journal, with their reasons in words."""
        lines = (self.folder / "journal.jsonl").read_text().splitlines()
        return "\n".join([line for line in lines if '"refusal"' in line][-20:])

    def change(self, odxd, text, number):
        (self.folder / "near.toml").write_text(text)
        odxd.process.send_signal(signal.SIGUSR2)
        odxd.wait_for_log("SIGUSR2: ", count=number)
        odxd.wait_for_log("lun9 is removed", count=number // 2)  # then its file may be opened again
        odxd.process.send_signal(signal.SIGUSR1)
        odxd.wait_for_log("memory: ", count=number)

    def test_what_was_acknowledged_is_read_back(self):
        print(f"seed {self.seed}")
        generator = random.Random(self.seed)
        luns = [(MEMORY, 'store = "memory:8M"'), (THIN, self.file("far.img"))]
        with self.start("far", config("far", *luns)) as far, self.start("near", self.near(far, 0)) as near:
            hosts = [Host(near, far, number, self.rounds, random.Random(generator.getrandbits(64)))
                     for number in range(HOSTS)]
            for host in hosts:
                host.start()
            changes = 0
            while any(host.is_alive() for host in hosts):
                changes += 1
                self.change(near, self.near(far, changes), changes)
            for host in hosts:
                host.close()
            self.assertEqual([host.failure for host in hosts], [None] * HOSTS, self.refusals())
            self.assertEqual([line for line in near.log().splitlines() if "nothing changes" in line], [])
            print(f"{HOSTS} hosts, {self.rounds} rounds each, {changes} changes of the configuration")


if __name__ == "__main__":
    unittest.main()
