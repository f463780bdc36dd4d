"""A TCP relay between an initiator and a target that counts what passes: bytes both ways, and SCSI commands by name.
The CDBs of third-party copy it keeps whole.

It belongs to neither side, so what it says about a copy is not the copier's own word. It reads the headers of PDUs on
their way to the target (RFC 7143, 11.2.1) and changes nothing. It counts wrongly when header digests are in use, and so
ends the connection when it meets a header it cannot have understood.
"""
import collections
import socket
import threading

BHS = 48
SCSI_COMMAND = 0x01
INITIATOR_OPCODES = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10}
CDB_AT = 32
THIRD_PARTY_COPY = {0x83, 0x84}
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


class PduCounter:
    """Follows one stream of PDUs to the target."""

    def __init__(self, counted, copy_cdbs):
        self.counted = counted
        self.copy_cdbs = copy_cdbs
        self.header = b""
        self.skip = 0

    def feed(self, data):
        at = 0
        while at < len(data):
            if self.skip:
                step = min(self.skip, len(data) - at)
                self.skip -= step
                at += step
                continue
            take = data[at:at + BHS - len(self.header)]
            self.header += take
            at += len(take)
            if len(self.header) == BHS:
                self.count(self.header)
                self.header = b""

    def count(self, bhs):
        opcode = bhs[0] & 0x3F
        if opcode not in INITIATOR_OPCODES:
            raise ValueError(f"opcode {opcode:02X}h in a PDU to the target")
        if opcode == SCSI_COMMAND:
            cdb = bhs[CDB_AT:]
            self.counted[name_of(cdb)] += 1
            if cdb[0] in THIRD_PARTY_COPY:
                self.copy_cdbs.append(cdb)
        data_length = int.from_bytes(bhs[5:8], "big")
        self.skip = bhs[4] * 4 + (data_length + 3) // 4 * 4


class Relay:
    """Listens on a port of its own on 127.0.0.1. take() gives what passed since it was last called."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.lock = threading.Lock()
        self.bytes = 0
        self.commands = collections.Counter()
        self.copy_cdbs = []
        self.pumps = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink, to_target in ((near, far, True), (far, near, False)):
                pump = threading.Thread(target=self.pump, args=(source, sink, to_target), daemon=True)
                with self.lock:
                    self.pumps.append(pump)
                pump.start()

    def pump(self, source, sink, to_target):
        commands = collections.Counter()
        copy_cdbs = []
        reader = PduCounter(commands, copy_cdbs)
        total = 0
        try:
            while data := source.recv(PIECE):
                total += len(data)
                if to_target:
                    reader.feed(data)
                sink.sendall(data)
        except OSError:
            pass  # the other side is gone; what was counted counts
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            source.close()
            with self.lock:
                self.bytes += total
                self.commands += commands
                self.copy_cdbs += copy_cdbs

    def take(self):
        """Call it when the client has ended: waits for its connections to drain."""
        with self.lock:
            pumps, self.pumps = self.pumps, []
        for pump in pumps:
            pump.join(10)
        with self.lock:
            taken = self.bytes, self.commands, self.copy_cdbs
            self.bytes, self.commands, self.copy_cdbs = 0, collections.Counter(), []
        return taken

    def close(self):
        """No new connections; those that are there end with their programs."""
        self.listener.close()
