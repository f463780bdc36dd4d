"""A TCP relay between initiators and a target that writes down what passes: bytes both ways, and every SCSI command.

It belongs to neither side, so what it says about a copy is not the copier's own word, and it shares no code with
odx. It reads the PDUs on their way to the target (RFC 7143, 11.2.1) and changes nothing. A command is written down
before the target gets it: who has the answer to a command finds it here. It misreads the stream when digests are in
use, and so ends the connection when it meets a header it cannot have understood.
"""
import collections
import socket
import threading

BHS = 48
SCSI_COMMAND = 0x01
INITIATOR_OPCODES = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10}
LUN_AT = 8
CDB_AT = 32
THIRD_PARTY_COPY_OUT, THIRD_PARTY_COPY_IN = 0x83, 0x84
THIRD_PARTY_COPY = {THIRD_PARTY_COPY_OUT, THIRD_PARTY_COPY_IN}
PIECE = 1 << 20

NAMES = {0x00: "TEST UNIT READY", 0x12: "INQUIRY", 0x15: "MODE SELECT", 0x1A: "MODE SENSE", 0x25: "READ CAPACITY",
         0x28: "READ", 0x2A: "WRITE", 0x35: "SYNCHRONIZE CACHE", 0x41: "WRITE SAME", 0x42: "UNMAP", 0x5A: "MODE SENSE",
         0x88: "READ", 0x8A: "WRITE", 0x91: "SYNCHRONIZE CACHE", 0x93: "WRITE SAME", 0xA0: "REPORT LUNS"}
SERVICE_ACTIONS = {
    (0x83, 0x10): "POPULATE TOKEN", (0x83, 0x11): "WRITE USING TOKEN", (0x84, 0x07): "RECEIVE ROD TOKEN INFORMATION",
    (0x9E, 0x10): "READ CAPACITY", (0x9E, 0x12): "GET LBA STATUS",
}


def name_of(cdb):
    action = SERVICE_ACTIONS.get((cdb[0], cdb[1] & 0x1F))
    return action or NAMES.get(cdb[0], f"operation code {cdb[0]:02X}h")


class Command(collections.namedtuple("Command", "lun cdb parameters")):
    """One SCSI Command PDU: the LUN, the 16 bytes of its CDB field, and of third-party copy the immediate data."""

    @property
    def name(self):
        return name_of(self.cdb)


class PduReader:
    """Follows one stream of PDUs to the target; `see` is called with each Command when the last byte of its PDU is
    there."""

    def __init__(self, see):
        self.see = see
        self.header = b""
        self.skip = 0  # bytes of the PDU that are still to come
        self.kept = None  # those of a PDU whose data matter

    def feed(self, data):
        at = 0
        while at < len(data):
            if not self.skip:
                take = data[at:at + BHS - len(self.header)]
                self.header += take
                at += len(take)
                if len(self.header) == BHS:
                    self.begin()
                continue
            step = min(self.skip, len(data) - at)
            if self.kept is not None:
                self.kept += data[at:at + step]
            self.skip -= step
            at += step
            if not self.skip:
                self.end()

    def begin(self):
        bhs = self.header
        opcode = bhs[0] & 0x3F
        if opcode not in INITIATOR_OPCODES:
            raise ValueError(f"opcode {opcode:02X}h in a PDU to the target")
        data_length = int.from_bytes(bhs[5:8], "big")
        self.skip = bhs[4] * 4 + (data_length + 3) // 4 * 4
        self.kept = b"" if opcode == SCSI_COMMAND and bhs[CDB_AT] == THIRD_PARTY_COPY_OUT else None
        if not self.skip:
            self.end()

    def end(self):
        bhs, kept = self.header, self.kept
        self.header, self.kept = b"", None
        if bhs[0] & 0x3F != SCSI_COMMAND:
            return
        additional = bhs[4] * 4
        parameters = kept[additional:additional + int.from_bytes(bhs[5:8], "big")] if kept is not None else b""
        self.see(Command(int.from_bytes(bhs[LUN_AT:LUN_AT + 2], "big") & 0x3FFF, bhs[CDB_AT:], parameters))


class Relay:
    """Listens on a port of its own on 127.0.0.1, for any number of connections."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.lock = threading.Lock()
        self.bytes = 0
        self.commands = []
        self.pumps = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, url):
        """A URL of the target, by way of the relay."""
        return url.replace(f":{self.target[1]}/", f":{self.port}/", 1)

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink, to_target in ((near, far, True), (far, near, False)):
                pump = threading.Thread(target=self._pump, args=(source, sink, to_target), daemon=True)
                with self.lock:
                    self.pumps.append(pump)
                pump.start()

    def _see(self, command):
        with self.lock:
            self.commands.append(command)

    def _pump(self, source, sink, to_target):
        reader = PduReader(self._see)
        try:
            while data := source.recv(PIECE):
                with self.lock:
                    self.bytes += len(data)
                if to_target:
                    reader.feed(data)
                sink.sendall(data)
        except OSError:
            pass  # the other side is gone; what was written down counts
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            source.close()

    def drain(self):
        """Waits for the connections to end: for clients that have ended."""
        with self.lock:
            pumps, self.pumps = self.pumps, []
        for pump in pumps:
            pump.join(10)

    def take(self):
        """What passed since the last call: bytes of both directions, and the commands in their order."""
        with self.lock:
            taken = self.bytes, self.commands
            self.bytes, self.commands = 0, []
        return taken

    def close(self):
        """No new connections; those that are there end with their programs."""
        self.listener.close()
