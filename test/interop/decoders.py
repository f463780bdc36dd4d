"""Decoders nobody here wrote read what odxd sends: sg_vpd, sg_logs, sdparm, sg_decode_sense, and tshark on a recorded
session."""
import socket
import struct
import threading
import time
import types
from urllib.parse import urlparse

from harness import Failed, check, expect, run
from offload import extended_copy, populate_token, read16, write_using_token
from wire import CHECK_CONDITION, Session


def vpd(session, page, lun=0):
    answer = session.command(bytes([0x12, 1, page, 0x04, 0x00, 0]), data_in=1024, lun=lun)
    if answer.status != 0:
        raise Failed(f"INQUIRY VPD {page:02X}h: {answer}")
    return answer.data


def sg_vpd(context, page, data):
    path = context.folder / f"vpd-{page:02x}"
    path.write_bytes(data)
    return run("sg_vpd", "--raw", f"--inhex={path}", "--page", f"{page:#x}")


@check
def sg_vpd_decodes_third_party_copy(context):
    """sg_vpd reads VPD 8Fh: ROD limits first, the commands, the features and types"""
    with context.target("memory:1G") as target:
        session = Session(target).clear_unit_attentions()
        data = vpd(session, 0x8F)
        session.close()
    assert data[4:8] == bytes.fromhex("00000020"), "Block Device ROD Token Limits do not stand first"
    shown = sg_vpd(context, 0x8F, data)
    for line in (r"Block Device ROD Token Limits:\n +Maximum range descriptors: [1-9]", "Populate token",
                 "Write using token", "Receive ROD token information", "Receive copy status", r"Extended copy\(LID1\)",
                 r"CSCD: Identification Descriptor \[0xe4\]", r"CSCD: ROD \[0xfe\]", "Held data limit: [1-9]",
                 "ROD token features:", r"point in time copy - default \[0x800000\]",
                 r"block device zero \[0xffff0001\]"):
        expect(shown, line, "VPD 8Fh")
    limit = struct.unpack_from(">H", data, 14)[0]
    expect(shown, rf"Maximum range descriptors: {limit}$")
    if "Unexpected" in shown or "too short" in shown or "malformed" in shown.lower():
        raise Failed(shown)


@check
def sg_vpd_decodes_the_other_pages(context):
    """sg_vpd reads VPD 00h 80h 83h 86h B0h B1h B2h, listed in ascending order"""
    known = {0x00: "Third party copy", 0x80: "Unit serial number: .+", 0x83: "NAA", 0x86: "SIMPSUP=1",
             0xB0: "Maximum compare and write length: [1-9]", 0xB1: "(?i)non-rotating", 0xB2: r"\(LBPU\): 1"}
    with context.target("memory:1G") as target:
        session = Session(target).clear_unit_attentions()
        listed = vpd(session, 0x00)[4:]
        pages = {page: vpd(session, page) for page in known}
        session.close()
    assert list(listed) == sorted([*known, 0x8F]), f"VPD 00h lists {listed.hex(' ')}"
    for page, pattern in known.items():
        expect(sg_vpd(context, page, pages[page]), pattern, f"VPD {page:02X}h")


def log_page(session, page, subpage=0):
    answer = session.command(bytes([0x4D, 0, 0x40 | page, subpage, 0, 0, 0, 4, 0, 0]), data_in=1024)
    if answer.status != 0:
        raise Failed(f"LOG SENSE {page:02X}h/{subpage:02X}h: {answer}")
    return answer.data


@check
def sg_logs_decodes_the_log_pages(context):
    """sg_logs reads every log page: the lists of them, error counters, resources, temperature, exceptions"""
    with context.target("memory:1G") as target:
        session = Session(target).clear_unit_attentions()
        session.command(bytes([0x2A, 0, 0, 0, 0, 0, 0, 0x20, 0, 0]), data_out=b"\x01" * (4 << 20))
        session.command(read16(0, 8), data_in=4096)
        listed = log_page(session, 0x00)[4:]
        pages = {(page, 0): log_page(session, page) for page in listed} | {(0, 0xFF): log_page(session, 0, 0xFF)}
        session.close()
    known = {(0x00, 0): r"0x0c +Logical block provisioning",
             (0x00, 0xFF): r"0x00,0xff +Supported log pages and subpages",
             (0x02, 0): "Total bytes processed = 4194304", (0x03, 0): "Total bytes processed = 4096",
             (0x05, 0): "Total uncorrected errors = 0",
             (0x0C, 0): r"Used LBA mapping threshold resource count: 4\n +Scope: not dedicated to lu",
             (0x0D, 0): "Current temperature = <not available>", (0x2F, 0): "IE asc = 0x0, ascq = 0x0"}
    assert set(pages) == set(known), f"log pages {listed.hex(' ')}"
    for (page, subpage), data in pages.items():
        path = context.folder / f"log-{page:02x}-{subpage:02x}"
        path.write_bytes(data)
        expect(run("sg_logs", "--raw", f"--in={path}", "--pdt=0"), known[page, subpage], f"log page {page:02X}h")


@check
def sdparm_decodes_the_mode_pages(context):
    """sdparm reads every mode page and subpage: WCE, LBPERE, the longest sense data, a configured threshold"""
    config = context.folder / "array.toml"
    config.write_text('[[target]]\n[[target.lun]]\nstore = "memory:1G"\nsoft_threshold = "10M"\n')
    with context.target(options=["--config", str(config)]) as target:
        session = Session(target).clear_unit_attentions()
        answer = session.command(bytes([0x5A, 0x08, 0x3F, 0xFF, 0, 0, 0, 4, 0, 0]), data_in=1024)
        session.close()
    path = context.folder / "mode-pages"
    path.write_text(answer.data.hex(" "))
    shown = run("sdparm", f"--inhex={path}", "--all", "--long")
    for line in (r"Read write error recovery \[rw\] mode page:", r"LBPERE +1 ", "Disconnect-reconnect", r"WCE +1 ",
                 r"Control \[co\] mode page:", r"D_SENSE +0 ", r"QERR +0 ", r"Control extension \[coe\] mode page:",
                 r"MSDL +252 ", "Power condition", "Informational exceptions control",
                 r"Logical block provisioning \(SBC\) \[lbp\] mode page:", r"SITUA +0 ", r"LBP_EN +1 ", r"LBP_ARM +0 ",
                 r"LBP_RES +1 ", r"LBP_COUNT +10 ", r"LBP_EN.3 +0 "):
        expect(shown, line, "mode pages")


@check
def sg_tools_decode_ports_and_access_states(context):
    """sg_vpd, sg_inq and sg_decode_sense read what differs between two target ports"""
    config = context.folder / "ports.toml"
    config.write_text('[[target]]\nalua = "explicit"\n[[target.access]]\ngroup = 2\nstate = "standby"\n'
                      '[[target.lun]]\nstore = "memory:1G"\n')
    with context.target(options=["--config", str(config), "--portal", "127.0.0.1:0,2"]) as target:
        for group, url in enumerate(target.urls, 1):
            there = types.SimpleNamespace(host=target.host, port=urlparse(url).port, iqn=target.iqn, lun=target.lun)
            session = Session(there)
            session.command(bytes(6))  # the unit attention of its birth
            shown = sg_vpd(context, 0x83, vpd(session, 0x83))
            expect(shown, f"Relative target port: {group:#x}$", "VPD 83h")
            expect(shown, f"Target port group: {group:#x}$", "VPD 83h")
            expect(shown, f",t,0x{group:04x}$", "VPD 83h")
            inquiry = context.folder / "inquiry"
            inquiry.write_bytes(session.command(bytes([0x12, 0, 0, 0, 96, 0]), data_in=96).data)
            expect(run("sg_inq", "--raw", f"--inhex={inquiry}"), r"TPGS=2 .*3PC=1(.|\n)*MultiP=1", "INQUIRY")
            answer = session.command(read16(0, 1), data_in=512)
            if group == 2:
                shown = run("sg_decode_sense", *(f"{byte:02x}" for byte in answer.sense))
                expect(shown, "Sense key: Not Ready")
                expect(shown, "Logical unit not accessible, target port in standby state")
            session.close()
        assert group == 2, target.urls


@check
def sg_decode_sense_names_our_errors(context):
    """sg_decode_sense reads the sense data of refused commands, field pointers included"""
    flipped = bytearray(512)
    populate, populate_list = populate_token(1, [])
    write, write_list = write_using_token(2, bytes(flipped), [(0, 8)])
    commands = (
        (bytes([0xEE] + [0] * 15), b"", "Illegal Request", "Invalid command operation code", ""),
        (read16(1 << 40, 1), b"", "Illegal Request", "Logical block address out of range", ""),
        (bytes([0x12, 0x01, 0xEE, 0, 96, 0]), b"", "Illegal Request", "Invalid field in cdb", "byte 2"),
        (bytes([0x00, 0x10, 0, 0, 0, 0]), b"", "Illegal Request", "Invalid field in cdb", "byte 1 bit 4"),
        (populate, populate_list[:10], "Illegal Request", "Parameter list length error", ""),
        (write, write_list, "Illegal Request", "Invalid token operation", ""),
        (*extended_copy(9, 0xFFFF), "Copy Aborted", "Unreachable copy target", "start of segment descriptor, byte 4"),
    )
    with context.target("memory:1G") as target:
        session = Session(target).clear_unit_attentions()
        for cdb, data_out, key, additional, pointer in commands:
            if data_out and len(data_out) < int.from_bytes(cdb[10:14], "big"):
                cdb = cdb[:10] + struct.pack(">I", len(data_out)) + cdb[14:]
            answer = session.command(cdb, data_out=data_out, data_in=0 if data_out else 512)
            assert answer.status == CHECK_CONDITION, f"{cdb.hex(' ')}: {answer}"
            shown = run("sg_decode_sense", *(f"{byte:02x}" for byte in answer.sense))
            expect(shown, f"Sense key: {key}", cdb.hex(" "))
            expect(shown, f"Additional sense: {additional}", cdb.hex(" "))
            if pointer:
                expect(shown.replace(" ", ""), pointer.replace(" ", ""), cdb.hex(" "))
        session.close()


# libiscsi asks for 64 bytes of a VPD page before the whole of it; tshark takes what its allocation length cut off for
# missing.
CUT_SHORT = "iscsi.opcode == 0x25 && iscsi.datasegmentlength == 64"


class Relay:
    """Passes connections on to a target and keeps what passed, so that no capture permission is needed."""

    def __init__(self, target):
        self.target = (target.host, target.port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.passed = []  # (time, connection, from the client, bytes)
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, url):
        return url.replace(f":{self.target[1]}/", f":{self.port}/", 1)

    def _accept(self):
        connection = 0
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            connection += 1
            server = socket.create_connection(self.target)
            for source, sink, from_client in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, sink, connection, from_client), daemon=True).start()

    def _pump(self, source, sink, connection, from_client):
        try:
            while data := source.recv(32768):
                with self.lock:
                    self.passed.append((time.time(), connection, from_client, data))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()

    def pcap(self, path):
        """Writes what passed as TCP over IPv4 between 10.0.0.N and 10.0.1.1 port 3260 (raw IP link type, 101)."""
        sequence = {}
        with open(path, "wb") as file:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101))
            for when, connection, from_client, data in self.passed:
                ends = [(bytes([10, 0, 0, connection]), 40000 + connection), (bytes([10, 0, 1, 1]), 3260)]
                (source, source_port), (sink, sink_port) = ends if from_client else ends[::-1]
                sent = sequence.get((connection, from_client), 1)
                acknowledged = sequence.get((connection, not from_client), 1)
                sequence[connection, from_client] = (sent + len(data)) & 0xFFFFFFFF
                tcp = struct.pack(">HHIIBBHHH", source_port, sink_port, sent, acknowledged, 5 << 4, 0x18, 65535, 0, 0)
                ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(data), 0, 0, 64, 6, 0, source, sink)
                packet = ip + tcp + data
                file.write(struct.pack("<IIII", int(when), int(when % 1 * 1e6), len(packet), len(packet)) + packet)


@check
def tshark_dissects_a_session(context):
    """tshark finds nothing malformed in recorded sessions of iscsi-ls, iscsi-inq, qemu-img and an offload"""
    with context.target("memory:64M", "memory:64M") as target:
        relay = Relay(target)
        run("iscsi-ls", "-s", relay.url(target.portal_url + "/").rstrip("/"))
        run("iscsi-inq", relay.url(target.urls[0]))
        run("iscsi-readcapacity16", relay.url(target.urls[0]))
        run("qemu-io", "-f", "raw", "-c", "write -P 7 0 1M", "-c", "read -P 7 0 1M", "-c", "flush",
            relay.url(target.urls[0]))
        run(context.odx[0], *context.odx[1:], "copy", relay.url(target.urls[0]), relay.url(target.urls[1]))
        relay.close()
        capture = context.folder / "session.pcap"
        relay.pcap(capture)
    preferences = ("-o", "ip.check_checksum:FALSE", "-o", "tcp.check_checksum:FALSE")
    shown = run("tshark", "-n", "-r", capture, *preferences, "-Y",
                f"(_ws.malformed && !({CUT_SHORT})) || _ws.unreassembled || iscsi.opcode == 0x3f")
    frames = [line for line in shown.splitlines() if "Running as user" not in line and line.strip()]
    if frames:
        raise Failed("tshark complains:\n" + "\n".join(frames[:20]))
    listed = run("tshark", "-n", "-r", capture, *preferences, "-Y", "iscsi", "-T", "fields", "-e", "iscsi.opcode")
    words = [word for line in listed.splitlines() for word in line.split(",")]
    opcodes = {int(word, 16) for word in words if word.startswith("0x")}
    missing = {0x01, 0x03, 0x04, 0x06, 0x21, 0x23, 0x24, 0x25, 0x26} - opcodes
    if missing:
        raise Failed(f"tshark saw no PDU of opcodes {[hex(code) for code in sorted(missing)]}")
