"""What no honest initiator sends, and a disk that fills up: a clear answer each, and no effect on other sessions."""
import contextlib
import os
import random
import shlex
import struct
import subprocess

from harness import Failed, NotPermitted, check
from offload import populate_token, read16, token_of, write16, write_using_token
from wire import BHS, CHECK_CONDITION, GOOD, Closed, Connection, Session, pdu_bytes

BLOCK = 512
LOGIN_LIMIT_S = 40


class Bystander:
    """A session that has nothing to do with the trouble, and must not notice it."""

    def __init__(self, target):
        self.session = Session(target, initiator="iqn.2026-01.example.odx:bystander").clear_unit_attentions()
        self.data = random.Random(1).randbytes(64 * BLOCK)
        self.ask(write16(1024, 64), data_out=self.data)

    def ask(self, cdb, **data):
        answer = self.session.command(cdb, **data)
        if answer.status != GOOD:
            raise Failed(f"the other session noticed: {answer}")
        return answer

    def verify(self):
        if self.ask(read16(1024, 64), data_in=64 * BLOCK).data != self.data:
            raise Failed("the other session reads other data")


def refused(answer, *codes):
    if answer.status != CHECK_CONDITION or answer.key not in codes:
        raise Failed(f"expected one of {[tuple(map(hex, code)) for code in codes]}, got {answer}")


@check
def garbled_pdus_end_only_their_session(context):
    """random bytes, wrong lengths and unknown opcodes in full feature phase: reject or drop, others go on"""
    source = random.Random(2)
    with context.target("memory:64M") as target:
        bystander = Bystander(target)
        for number in range(60):
            session = Session(target, initiator=f"iqn.2026-01.example.odx:garbler{number}")
            good = bytearray(session.command_pdu(read16(0, 8), data_in=8 * BLOCK))
            if number % 3 == 0:
                garbled = source.randbytes(source.randrange(BHS, 4096))
            elif number % 3 == 1:
                garbled = good
                for _ in range(source.randrange(1, 6)):
                    garbled[source.randrange(0, 32)] ^= 1 << source.randrange(8)
            else:
                garbled = good
                garbled[4] = source.randrange(256)  # TotalAHSLength
                garbled[5:8] = source.randbytes(3)  # DataSegmentLength
            session.send(bytes(garbled))
            session.closed_within(0.02)
            session.socket.close()
            bystander.verify()


@check
def strangers_are_shown_out(context):
    """bytes that are not iSCSI on a new connection: it is closed, others go on"""
    with context.target("memory:64M") as target:
        bystander = Bystander(target)
        stranger = Connection(target.host, target.port)
        stranger.send(b"GET / HTTP/1.1\r\nHost: array\r\nUser-Agent: somebody lost\r\n\r\n" * 4)
        if not stranger.closed_within(LOGIN_LIMIT_S):
            raise Failed("an HTTP request leaves the connection open")
        command_first = Connection(target.host, target.port)
        command_first.send(pdu_bytes(bytes([0x01, 0x81]) + bytes(46)))
        if not command_first.closed_within(LOGIN_LIMIT_S):
            raise Failed("a SCSI command before login leaves the connection open")
        bystander.verify()


@check
def a_stalled_login_is_ended(context):
    """half a login request and then silence: closed in time, and meanwhile others log in and work"""
    with context.target("memory:64M") as target:
        bystander = Bystander(target)
        stalled = [Connection(target.host, target.port) for _ in range(8)]
        for connection in stalled[:-1]:
            connection.send(bytes([0x43, 0x87]) + bytes(20))
        bystander.verify()
        Session(target, initiator="iqn.2026-01.example.odx:next").clear_unit_attentions().close()
        for connection in stalled:
            if not connection.closed_within(LOGIN_LIMIT_S):
                raise Failed(f"a login that stalls is still open after {LOGIN_LIMIT_S} s")
        bystander.verify()


@check
def lying_parameter_lists_are_refused(context):
    """lists whose lengths lie: 05/1A/00 or 05/26/00, nothing changes"""
    with context.target("memory:64M") as target:
        bystander = Bystander(target)
        session = Session(target).clear_unit_attentions()
        length_error, invalid_list, invalid_cdb = (5, 0x1A, 0), (5, 0x26, 0), (5, 0x24, 0)
        token = token_of(session, 0, [(0, 64)])
        cdb, data = populate_token(3, [(0, 8)], data_length=0xFFF0)
        refused(session.command(cdb, data_out=data), length_error, invalid_list)
        cdb, data = populate_token(4, [(0, 8)])
        refused(session.command(cdb, data_out=data[:-1] + b"", lun=0), length_error, invalid_list)
        cdb, data = write_using_token(5, token, [(1024, 8)], descriptor_length=0xFFF0)
        refused(session.command(cdb, data_out=data), length_error, invalid_list)
        cdb, data = write_using_token(6, token, [(1024, 8)], descriptor_length=15)
        refused(session.command(cdb, data_out=data), length_error, invalid_list)
        unmap = struct.pack(">HH4xQI4x", 0xFFFE, 0xFFF0, 1024, 64)
        answer = session.command(struct.pack(">BBIBHB", 0x42, 0, 0, 0, len(unmap), 0), data_out=unmap)
        if answer.status != GOOD:  # SBC-3 5.28 lets a truncated list be processed for what is there
            refused(answer, length_error, invalid_list, invalid_cdb)
            bystander.verify()
        session.close()


@check
def a_flipped_token_copies_nothing(context):
    """a token with any one bit flipped is refused with ASC 23h, and the whole one still works"""
    with context.target("memory:64M", "memory:64M") as target:
        session = Session(target).clear_unit_attentions(0, 1)
        data = random.Random(3).randbytes(64 * BLOCK)
        assert session.command(write16(0, 64), data_out=data).status == GOOD
        token = token_of(session, 0, [(0, 64)])
        for number, position in enumerate((*range(0, 32), *range(32, 512, 7), 511)):
            flipped = bytearray(token)
            flipped[position] ^= 1 << (number % 8)
            cdb, parameters = write_using_token(100 + number, bytes(flipped), [(0, 64)])
            answer = session.command(cdb, data_out=parameters, lun=1)
            if answer.status != CHECK_CONDITION or answer.key[:2] != (5, 0x23):
                raise Failed(f"byte {position} flipped: {answer}")
        if any(session.command(read16(0, 64), data_in=64 * BLOCK, lun=1).data):
            raise Failed("a refused copy wrote something")
        cdb, parameters = write_using_token(99, token, [(0, 64)])
        assert session.command(cdb, data_out=parameters, lun=1).status == GOOD, "the token itself no longer works"
        assert session.command(read16(0, 64), data_in=64 * BLOCK, lun=1).data == data, "the copy differs"
        session.close()


@contextlib.contextmanager
def small_file_system(folder):
    """A tmpfs of 4 MiB on the folder: what to put before the command that is to see it."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*unshare, *mount], capture_output=True, check=False).returncode == 0:
        yield [*unshare, "sh", "-c", f"{shlex.join(mount)} && exec \"$@\"", "serve"]
    elif subprocess.run(mount, capture_output=True, check=False).returncode == 0:  # in a chroot there is no unsharing
        try:
            yield []
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)
    else:
        raise NotPermitted("this container may not mount a file system, so none can be full")


@check
def a_full_disk_under_a_file_lun(context):
    """a file LUN on a full file system answers 07/27/07, keeps what it has, and other LUNs go on"""
    folder = context.folder / "small"
    disk = folder / "disk.img"
    with small_file_system(folder) as prefix:
        make = ["sh", "-c", f"truncate -s 64M {shlex.quote(str(disk))} && exec \"$@\"", "serve"]
        fill_and_look(context, disk, [*prefix, *make])


def fill_and_look(context, disk, prefix):
    with context.target(f"file:{disk}", "memory:64M", prefix=prefix) as target:
        session = Session(target).clear_unit_attentions(0, 1)
        piece = random.Random(4).randbytes(256 * BLOCK)
        written = 0
        while written < 64:
            answer = session.command(write16(written * 256, 256), data_out=piece)
            if answer.status != GOOD:
                break
            written += 1
        refused(answer, (7, 0x27, 7))
        assert written >= 16, f"only {written * 128} KiB fit in 4 MiB"
        for number in range(0, written, 5):
            got = session.command(read16(number * 256, 256), data_in=256 * BLOCK)
            assert got.status == GOOD and got.data == piece, f"block {number * 256} lost: {got.sense.hex()}"
        assert session.command(write16(0, 256), data_out=piece[::-1], lun=1).status == GOOD, "the other LUN suffers"
        try:
            session.close()
        except Closed:
            pass
