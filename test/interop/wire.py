"""A small iSCSI initiator in plain Python, for what no real initiator sends: raw CDBs, broken PDUs, stalls.

A connection at a time, no digests, one command at a time. RFC 7143 section numbers in the comments.
"""
import socket
import struct
from dataclasses import dataclass

BHS = 48
GOOD = 0x00
CHECK_CONDITION = 0x02
UNIT_ATTENTION = 0x06
TIMEOUT_S = 60  # long: a sanitizer on a busy machine is slow, and a test that passes waits for nothing

# Opcodes, RFC 7143 11.2.1.2.
NOP_OUT, SCSI_COMMAND, LOGIN_REQUEST, DATA_OUT, LOGOUT_REQUEST = 0x00, 0x01, 0x03, 0x05, 0x06
NOP_IN, SCSI_RESPONSE, LOGIN_RESPONSE, DATA_IN, R2T, ASYNC, REJECT = 0x20, 0x21, 0x23, 0x25, 0x31, 0x32, 0x3F


class Closed(Exception):
    """The target closed the connection."""


@dataclass
class Pdu:
    bhs: bytes
    data: bytes

    @property
    def opcode(self):
        return self.bhs[0] & 0x3F


@dataclass
class Answer:
    status: int
    sense: bytes
    data: bytes

    @property
    def key(self):
        """Sense key, additional sense code and qualifier of fixed or descriptor format sense data."""
        if len(self.sense) < 4:
            return None
        if self.sense[0] & 0x7F in (0x72, 0x73):
            return self.sense[1] & 0x0F, self.sense[2], self.sense[3]
        return self.sense[2] & 0x0F, self.sense[12], self.sense[13]


def pdu_bytes(bhs, data=b""):
    """A whole PDU: the data segment length filled in, the data padded to four bytes (11.2.1.5, 11.7)."""
    header = bytearray(bhs)
    header[5:8] = len(data).to_bytes(3, "big")
    return bytes(header) + data + bytes(-len(data) % 4)


def lun_field(lun):
    return bytes([0, lun, 0, 0, 0, 0, 0, 0])


class Connection:
    """A TCP connection that knows how to read and write PDUs, and nothing about sessions."""

    source = None  # a function: the address and port to connect from; None: the system chooses

    def __init__(self, host, port):
        source = Connection.source() if Connection.source else None
        self.socket = socket.create_connection((host, port), timeout=TIMEOUT_S, source_address=source)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, count):
        parts = bytearray()
        while len(parts) < count:
            try:
                data = self.socket.recv(count - len(parts))
            except ConnectionError as error:
                raise Closed from error
            if not data:
                raise Closed
            parts += data
        return bytes(parts)

    def receive_pdu(self):
        bhs = self.receive(BHS)
        length = int.from_bytes(bhs[5:8], "big")
        padded = length + -length % 4
        ahs = bhs[4] * 4
        return Pdu(bhs, self.receive(ahs + padded)[ahs:ahs + length])

    def closed_within(self, seconds):
        """Whether the target closes the connection; what it sends before is dropped."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(TIMEOUT_S)

    def close(self):
        self.socket.close()


class Session(Connection):
    """A normal session in full feature phase; with `joins`, a further connection of that one, which shares its CmdSN
    and task tags as the caller sees to it."""

    def __init__(self, target, initiator="iqn.2026-01.example.odx:interop", isid=b"\x80\x00\x00\x00\x00\x01",
                 joins=None):
        super().__init__(target.host, target.port)
        self.target = target
        self.task_tag = joins.task_tag if joins else 1
        self.command_number = joins.command_number if joins else 1
        self.session_handle = joins.session_handle if joins else 0
        self.connection_number = joins.connection_number + 1 if joins else 0
        self.expected_status_number = 0
        self._login({"InitiatorName": initiator, "SessionType": "Normal", "TargetName": target.iqn,
                     "HeaderDigest": "None", "DataDigest": "None", "InitialR2T": "Yes", "ImmediateData": "Yes",
                     "MaxRecvDataSegmentLength": "262144", "MaxBurstLength": "1048576",
                     "FirstBurstLength": "65536", "MaxConnections": "8", "ErrorRecoveryLevel": "0"}, isid)

    def _login(self, keys, isid):
        text = b"".join(f"{key}={value}\0".encode() for key, value in keys.items())
        tsih = self.session_handle
        for _ in range(4):  # a target may want another round before it agrees to the transition
            bhs = bytearray(BHS)
            bhs[0] = LOGIN_REQUEST | 0x40
            bhs[1] = 0x87  # T, from operational negotiation to full feature phase (11.12)
            bhs[8:14] = isid
            struct.pack_into(">HIHHII", bhs, 14, tsih, self.task_tag, self.connection_number, 0, self.command_number,
                             self.expected_status_number)
            self.send(pdu_bytes(bhs, text))
            response = self.receive_pdu()
            if response.opcode != LOGIN_RESPONSE or response.bhs[36:38] != b"\0\0":
                raise Closed(f"login refused: {response.bhs.hex()} {response.data!r}")
            self._note_status_number(response)
            if response.bhs[1] & 0x80:
                self.session_handle = int.from_bytes(response.bhs[14:16], "big")
                return
            tsih = int.from_bytes(response.bhs[14:16], "big")
            text = b""
        raise Closed("the target does not end the login")

    def _note_status_number(self, pdu):
        self.expected_status_number = int.from_bytes(pdu.bhs[24:28], "big") + 1

    def command_pdu(self, cdb, data_out=b"", data_in=0, lun=0, immediate=None, expected=None):
        """A SCSI Command PDU with the next task tag and CmdSN (11.3). `immediate` bytes of data go with it.

        `lun` is an index into the target's URLs.
        """
        bhs = bytearray(BHS)
        bhs[0] = SCSI_COMMAND
        bhs[1] = 0x80 | (0x40 if data_in else 0) | (0x20 if data_out else 0) | 0x01  # F, R, W, SIMPLE
        bhs[8:16] = lun_field(self.target.lun(lun))
        self.task_tag += 1
        length = expected if expected is not None else data_in or len(data_out)
        struct.pack_into(">IIII", bhs, 16, self.task_tag, length, self.command_number, self.expected_status_number)
        self.command_number += 1
        bhs[32:32 + len(cdb)] = cdb
        sent = data_out if immediate is None else data_out[:immediate]
        return pdu_bytes(bhs, sent)

    def command(self, cdb, data_out=b"", data_in=0, lun=0):
        """Executes one command; the first 8 KiB of data-out are immediate, the rest follows R2Ts."""
        self.send(self.command_pdu(cdb, data_out, data_in, lun, immediate=8192))
        return self.answer(data_out)

    def answer(self, data_out=b""):
        """Serves the task sent last until its status is here."""
        data = bytearray()
        while True:
            pdu = self.receive_pdu()
            if pdu.opcode == DATA_IN:
                offset = int.from_bytes(pdu.bhs[40:44], "big")
                data[offset:offset + len(pdu.data)] = pdu.data
                if pdu.bhs[1] & 0x01:  # S: the status is in here (11.7.1)
                    self._note_status_number(pdu)
                    return Answer(pdu.bhs[3], b"", bytes(data))
            elif pdu.opcode == R2T:
                self._serve_r2t(pdu, data_out)
            elif pdu.opcode == SCSI_RESPONSE:
                self._note_status_number(pdu)
                return Answer(pdu.bhs[3], pdu.data[2:], bytes(data))
            elif pdu.opcode == NOP_IN:
                self._answer_nop(pdu)
            elif pdu.opcode == REJECT:
                raise Closed(f"rejected, reason {pdu.bhs[2]:#x}")

    def _serve_r2t(self, r2t, data_out):
        offset, length = struct.unpack_from(">II", r2t.bhs, 40)
        piece = data_out[offset:offset + length]
        for number, start in enumerate(range(0, len(piece), 8192)):
            part = piece[start:start + 8192]
            bhs = bytearray(BHS)
            bhs[0] = DATA_OUT
            bhs[1] = 0x80 if start + len(part) == len(piece) else 0
            bhs[8:24] = r2t.bhs[8:24]  # LUN, Initiator Task Tag, Target Transfer Tag
            struct.pack_into(">I", bhs, 28, self.expected_status_number)
            struct.pack_into(">II", bhs, 36, number, offset + start)
            self.send(pdu_bytes(bhs, part))

    def _answer_nop(self, pdu):
        if pdu.bhs[20:24] == b"\xff\xff\xff\xff":
            return
        bhs = bytearray(BHS)
        bhs[0] = NOP_OUT | 0x40
        bhs[1] = 0x80
        bhs[8:16] = pdu.bhs[8:16]
        bhs[16:20] = b"\xff\xff\xff\xff"
        bhs[20:24] = pdu.bhs[20:24]
        struct.pack_into(">II", bhs, 24, self.command_number, self.expected_status_number)
        self.send(pdu_bytes(bhs))

    def clear_unit_attentions(self, *luns):
        for lun in luns or (0,):
            for _ in range(8):
                if self.command(bytes(6), lun=lun).status == GOOD:
                    break
        return self

    def close(self):
        bhs = bytearray(BHS)
        bhs[0] = LOGOUT_REQUEST | 0x40
        bhs[1] = 0x80
        struct.pack_into(">III", bhs, 16, 0x7FFFFFFF, 0, self.command_number)
        try:
            self.send(pdu_bytes(bhs))
            self.receive_pdu()
        except (Closed, OSError):
            pass
        super().close()
