"""A Windows host played by test/host/host_process, and the bytes of its two FSCTLs (MS-FSCC 2.3.41 to 2.3.44).

The layouts and the NTSTATUS values are written down here a second time, from the documents, so that a mistake of
host/ does not excuse itself.
"""
import collections
import json
import os
import select
import struct
import subprocess

FSCTL_OFFLOAD_READ = 0x00094264
FSCTL_OFFLOAD_WRITE = 0x00098268
READ_INPUT, READ_OUTPUT, WRITE_INPUT, WRITE_OUTPUT, TOKEN = 32, 528, 544, 16, 512
ALL_ZERO_BEYOND_CURRENT_RANGE = 1
# STORAGE_OFFLOAD_TOKEN of type well-known zero: big-endian, FFFF0001h and an id length of 504.
ZERO_TOKEN = bytes.fromhex("FFFF0001" "0000" "01F8").ljust(TOKEN, b"\0")

FILE_READ_DATA, FILE_WRITE_DATA, DELETE = 0x1, 0x2, 0x00010000
LIMIT_S = 60

# MS-ERREF 2.3.1.
STATUS = {
    "STATUS_SUCCESS": 0x00000000,
    "STATUS_INVALID_HANDLE": 0xC0000008,
    "STATUS_INVALID_PARAMETER": 0xC000000D,
    "STATUS_INVALID_DEVICE_REQUEST": 0xC0000010,
    "STATUS_END_OF_FILE": 0xC0000011,
    "STATUS_ACCESS_DENIED": 0xC0000022,
    "STATUS_BUFFER_TOO_SMALL": 0xC0000023,
    "STATUS_FILE_LOCK_CONFLICT": 0xC0000054,
    "STATUS_INSUFFICIENT_RESOURCES": 0xC000009A,
    "STATUS_MEDIA_WRITE_PROTECTED": 0xC00000A2,
    "STATUS_NOT_SUPPORTED": 0xC00000BB,
    "STATUS_FILE_DELETED": 0xC0000123,
    "STATUS_FILE_CLOSED": 0xC0000128,
    "STATUS_TOO_LATE": 0xC0000189,
    "STATUS_VOLUME_DISMOUNTED": 0xC000026E,
    "STATUS_DEVICE_FEATURE_NOT_SUPPORTED": 0xC0000463,
    "STATUS_DEVICE_UNREACHABLE": 0xC0000464,
    "STATUS_INVALID_TOKEN": 0xC0000465,
    "STATUS_OFFLOAD_READ_FLT_NOT_SUPPORTED": 0xC000A2A1,
    "STATUS_OFFLOAD_WRITE_FLT_NOT_SUPPORTED": 0xC000A2A2,
    "STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED": 0xC000A2A3,
    "STATUS_OFFLOAD_WRITE_FILE_NOT_SUPPORTED": 0xC000A2A4,
}

# What a request came to: "STATUS_SUCCESS", the bytes of its output, why it was refused.
Reply = collections.namedtuple("Reply", "status output reason")


def read_input(file_offset, copy_length, *, size=READ_INPUT, flags=0, time_to_live_ms=0, reserved=0):
    return struct.pack("<IIIIQQ", size, flags, time_to_live_ms, reserved, file_offset, copy_length)


def write_input(file_offset, copy_length, transfer_offset, token, *, size=WRITE_INPUT, flags=0):
    return struct.pack("<IIQQQ", size, flags, file_offset, copy_length, transfer_offset) + token


def read_output(transfer_length, token, flags=0):
    return struct.pack("<IIQ", READ_OUTPUT, flags, transfer_length) + token


def write_output(length_written):
    return struct.pack("<IIQ", WRITE_OUTPUT, 0, length_written)


def token_of(output):
    """The token of an FSCTL_OFFLOAD_READ_OUTPUT."""
    return output[READ_OUTPUT - TOKEN:]


class Host:
    """One Windows host: a process of its own, which ends when this is closed."""

    def __init__(self, program, initiator_name="iqn.2026-11.org.example:windows"):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [program, initiator_name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.received = b""

    def send(self, action, **fields):
        """Without waiting for the answer."""
        self.process.stdin.write(json.dumps({"do": action, **fields}).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self):
        while b"\n" not in self.received:
            readable = select.select([self.process.stdout], [], [], LIMIT_S)[0]
            data = os.read(self.process.stdout.fileno(), 1 << 20) if readable else b""
            if not data:
                raise AssertionError(f"the host {'is silent' if not readable else 'ended'}")
            self.received += data
        line, _, self.received = self.received.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(f"the host does not understand: {answer['error']}")
        return answer

    def do(self, action, **fields):
        self.send(action, **fields)
        return self.answer()

    def must(self, action, **fields):
        """The same, for what has to succeed."""
        answer = self.do(action, **fields)
        if answer.get("status", {}).get("name", "STATUS_SUCCESS") != "STATUS_SUCCESS":
            raise AssertionError(f"{action} {fields}: {answer['status']}")
        return answer

    def connect(self, url):
        answer = self.do("connect", url=url)
        if "disk" not in answer:
            raise AssertionError(f"{url}: {answer}")
        return Disk(self, answer)

    def end(self):
        self.process.stdin.close()
        try:
            status = self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()
        if status != 0:
            raise AssertionError(f"the host ended with status {status}")


class Disk:
    def __init__(self, host, found):
        self.host = host
        self.found = found
        self.number = found["disk"]

    def mount(self, partition, read_only=False):
        return Volume(self.host, self.host.must("mount", disk=self.number, partition=partition, read_only=read_only))

    def partitions(self):
        """(number, first byte, bytes) of each."""
        found = self.host.must("partitions", disk=self.number)["partitions"]
        return [(each["number"], each["first_byte"], each["length"]) for each in found]

    def trace(self):
        """The CDBs the class driver sent since this was last asked, padded to 16 bytes as they are on the wire."""
        commands = self.host.do("trace", disk=self.number)["commands"]
        return [bytes.fromhex(command["cdb"]).ljust(16, b"\0") for command in commands]


class Volume:
    def __init__(self, host, found):
        self.host = host
        self.found = found
        self.number = found["volume"]

    def do(self, action, **fields):
        return self.host.do(action, volume=self.number, **fields)

    def must(self, action, **fields):
        return self.host.must(action, volume=self.number, **fields)

    def open(self, path, **options):
        """access=, stream=, disposition=, transacted="""
        return File(self, path, self.must("open", path=path, **options)["handle"])

    def open_volume(self):
        return File(self, "", self.must("open_volume")["handle"])


class File:
    """A handle."""

    def __init__(self, volume, path, handle):
        self.volume = volume
        self.path = path
        self.host = volume.host
        self.handle = handle

    def do(self, action, **fields):
        return self.host.do(action, handle=self.handle, **fields)

    def must(self, action, **fields):
        return self.host.must(action, handle=self.handle, **fields)

    def sizes(self):
        found = self.do("sizes")
        return found["end_of_file"], found["valid_data_length"]

    def send_fsctl(self, code, given, output_length):
        self.host.send("fs_control", handle=self.handle, code=code, input=given.hex(), output_length=output_length)

    def fsctl(self, code, given, output_length):
        self.send_fsctl(code, given, output_length)
        return self.answer_fsctl()

    def answer_fsctl(self):
        return reply_of(self.host.answer())


class Reference(File):
    """What a pending request holds: the file object, whatever becomes of the handle."""

    def __init__(self, file):
        super().__init__(file.volume, file.path, file.must("reference")["reference"])

    def send_fsctl(self, code, given, output_length):
        self.host.send("fs_control", reference=self.handle, code=code, input=given.hex(), output_length=output_length)


def reply_of(answer):
    name, value = answer["status"]["name"], int(answer["status"]["value"], 16)
    if STATUS.get(name, value) != value:
        raise AssertionError(f"{name} is {STATUS[name]:08X}h, not {value:08X}h")
    return Reply(name, bytes.fromhex(answer["output"]), answer["reason"])
