"""What the tests of FSCTL_OFFLOAD_READ and FSCTL_OFFLOAD_WRITE stand on: arrays (odxd behind a relay that writes down
every command), disks with volumes made by other programs, hosts, and the CDBs a Windows host sends.
"""
import atexit
import collections
import contextlib
import functools
import itertools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from urllib.parse import urlparse

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "target"), str(HERE.parent / "interop")]
# pylint: disable=wrong-import-position
from host_client import (FSCTL_OFFLOAD_READ, FSCTL_OFFLOAD_WRITE, READ_OUTPUT, WRITE_OUTPUT, Host,  # noqa: E402
                         read_input, token_of, write_input)
from ntfs_reader import NtfsReader  # noqa: E402
from odxd_process import Odxd  # noqa: E402
from offload import write16  # noqa: E402
from scsi_relay import Command, Relay  # noqa: E402
from wire import GOOD, Session  # noqa: E402

HOST_PROCESS = os.environ["HOST_PROCESS"]
NTFS_IMAGE = os.environ["NTFS_IMAGE"]
MIB = 1 << 20
BLOCK = 512
CLUSTER = 4096
PARTITION = 1  # number of the volume's partition
PARTITION_AT = MIB
DISK = 40 * MIB
# Of VPD 8Fh of an array whose limits are the default ones, in bytes of a parameter list.
POPULATE_ANSWER = 805
WRITE_ANSWER = 536 + 64 * 16

REACHABILITY_TAKEN = "SIGUSR2: "

# In memory where that can be had: hosts flush often, and disks are slow at it.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
TEMPLATES = Path(tempfile.mkdtemp(prefix="odx-fsctl-", dir=MEMORY))
atexit.register(shutil.rmtree, TEMPLATES, ignore_errors=True)


os.environ["PATH"] += ":/usr/sbin:/sbin"


def need(program):
    """Skips the test where the program is not installed; in CI it has to be."""
    if shutil.which(program) is None and os.environ.get("CI") != "true":
        raise unittest.SkipTest(f"{program} is not installed")


def run(*words):
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    if done.returncode != 0:
        raise AssertionError(f"{words}: exit status {done.returncode}: {done.stdout}")


# Disks. Each is made once and copied for each test.

def whole_disk(*format_words, size=DISK):
    """A disk without partitions, formatted by a program that is given its name."""
    def make(disk):
        with open(disk, "wb") as file:
            file.truncate(size)
        if format_words:
            need(format_words[0])
            run(*format_words, disk)
    return make


def ntfs(sector=BLOCK, table="gpt"):
    """A disk with one NTFS volume: a file of each kind that matters, and free space enough."""
    files = ["data,size=1M", "fragmented,size=1M,runs=100", "directory,kind=directory"]
    files += [f"{kind},size=256K,kind={kind}"
              for kind in ("compressed", "sparse", "encrypted", "deduplicated", "transacted")]

    def make(disk):
        run(NTFS_IMAGE, disk, "--size", DISK, "--sector", sector, "--cluster", CLUSTER, "--table", table, "--label",
            "rows", "--seed", 4, *(word for file in files for word in ("--file", file)))
    return make


DISKS = {
    "ntfs": ntfs(),
    "ntfs of 4096 byte blocks": ntfs(4096),
    "ntfs behind MBR": ntfs(table="mbr"),
    "ntfs without partitions": ntfs(table="none"),
    "fat": whole_disk("mkfs.vfat", "-F", "16"),
    "ext4": whole_disk("mkfs.ext4", "-q", "-F"),
    "xfs": whole_disk("mkfs.xfs", "-q", "-f", size=300 * MIB),
    "unformatted": whole_disk(),
}

# What a host recognises there.
KINDS = {"fat": "FAT", "ext4": "ext2/3/4", "xfs": "XFS", "unformatted": "nothing known"}


@functools.lru_cache(maxsize=None)
def template(kind):
    path = TEMPLATES / (kind.replace(" ", "-") + ".img")
    DISKS[kind](path)
    return path


@functools.lru_cache(maxsize=None)
def content():
    """Of the file "data" of the NTFS disks, as an independent reader finds it."""
    with NtfsReader(template("ntfs"), PARTITION_AT, BLOCK) as disk:
        return disk.data("data")


class Tgtd:
    """Debian's tgtd behind a relay: a target that offers no ODX. Its disks start at LUN 1."""

    def __init__(self, disk):
        need("tgtd")
        self.disks = [disk]
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [sys.executable, HERE.parent / "bench" / "tgtd_target", f"file:{disk}"], stdout=subprocess.PIPE, text=True)
        lines = list(itertools.takewhile(lambda line: line != "ready\n", self.process.stdout))
        self.urls = [line.split()[1] for line in lines if line.startswith("lun ")]
        if not self.urls:
            raise AssertionError(f"tgtd does not serve: {lines}")
        address = urlparse(self.urls[0])
        self.relay = Relay(address.hostname, address.port)

    def url(self, number):
        return self.relay.url(self.urls[number])

    def end(self):
        self.relay.close()
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


# The commands of a Windows host.

def cdb(*fields):
    return struct.pack(*fields).ljust(16, b"\0")


def populate_token(lun, list_identifier, extents, inactivity_timeout_s=0):
    descriptors = b"".join(struct.pack(">QII", lba, blocks, 0) for lba, blocks in extents)
    data = struct.pack(">HBBIIHH", 14 + len(descriptors), 0, 0, inactivity_timeout_s, 0, 0,
                       len(descriptors)) + descriptors
    return Command(lun, cdb(">BBIIIBB", 0x83, 0x10, 0, list_identifier, len(data), 0, 0), data)


def receive_rod_token_information(lun, list_identifier, allocation_length):
    return Command(lun, cdb(">BBIIIBB", 0x84, 0x07, list_identifier, 0, allocation_length, 0, 0), b"")


def write_using_token(lun, list_identifier, token, extents, offset_into_rod=0):
    descriptors = b"".join(struct.pack(">QII", lba, blocks, 0) for lba, blocks in extents)
    data = struct.pack(">HBBIQ", 534 + len(descriptors), 0, 0, 0, offset_into_rod) + token
    data += bytes(6) + struct.pack(">H", len(descriptors)) + descriptors
    return Command(lun, cdb(">BBIIIBB", 0x83, 0x11, 0, list_identifier, len(data), 0, 0), data)


def write10(lun, extent):
    return Command(lun, cdb(">BBIBHB", 0x2A, 0, extent.lba, 0, extent.blocks, 0), b"")


class Array:
    """odxd with a relay before it. `disks` are the files of its LUNs, in their order."""

    def __init__(self, text, disks, folder, name):
        self.text = text
        self.disks = disks
        self.config = folder / f"{name}.toml"
        self.config.write_text(text, encoding="utf-8")
        self.odxd = Odxd("--config", self.config, "--json", log_path=folder / f"{name}.log")
        self.relay = Relay(self.odxd.host, self.odxd.port)

    def url(self, number):
        return self.relay.url(self.odxd.urls[number])

    def status(self):
        """What SIGUSR1 makes it report."""
        self.odxd.process.send_signal(signal.SIGUSR1)
        return json.loads(self.odxd.next_line())

    def cut(self, *pair):
        """From now on no data moves between the two; without names, all links are whole again."""
        links = f'[[unreachable]]\na = "{pair[0]}"\nb = "{pair[1]}"\n' if pair else ""
        self.config.write_text(self.text + links, encoding="utf-8")
        count = self.odxd.log().count(REACHABILITY_TAKEN)
        self.odxd.process.send_signal(signal.SIGUSR2)
        self.odxd.wait_for_log(REACHABILITY_TAKEN, count + 1)

    def wait_until(self, condition, within_s=20):
        """Until its report is as wanted."""
        deadline = time.monotonic() + within_s
        while not condition(report := self.status()):
            if time.monotonic() > deadline:
                raise AssertionError(f"the array still reports {report}")

    def end(self):
        self.relay.close()
        status = self.odxd.end()
        if status != 0:
            raise AssertionError(f"odxd ended with status {status}\n{self.odxd.log()}")


# What a request came to, and the commands the arrays saw meanwhile.
Outcome = collections.namedtuple("Outcome", "status output reason commands")


class SituationTest(unittest.TestCase):
    """setUp makes nothing: each test says which arrays, disks and hosts it needs."""

    maxDiff = 4000

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odx-fsctl-", dir=MEMORY))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.ends = contextlib.ExitStack()
        self.addCleanup(self.ends.close)
        self.arrays = []
        self.host = None

    # Situations.

    def disk(self, kind="ntfs"):
        """A file with a disk of this kind, the test's own."""
        path = self.folder / f"disk{len(list(self.folder.glob('disk*')))}"
        run("cp", "--sparse=always", "--reflink=auto", template(kind), path)
        return path

    def serve(self, luns, head="", tail="", name="array"):
        """An array; `luns` are (name, disk[, more lines]). Each LUN has the number of its place."""
        text = head + '[[target]]\nname = "iqn.2026-11.org.example:disks"\n'
        for lun, disk, *more in luns:
            text += f'[[target.lun]]\nname = "{lun}"\nstore = "file:{disk}"\n' + "".join(line + "\n" for line in more)
        return self.serve_text(text + tail, [disk for _, disk, *_ in luns], name)

    def serve_text(self, text, disks, name="array"):
        array = Array(text, disks, self.folder, name)
        self.ends.callback(array.end)
        self.arrays.append(array)
        return array

    def serve_by_tgtd(self, disk):
        array = Tgtd(disk)
        self.ends.callback(array.end)
        self.arrays.append(array)
        return array

    def new_host(self, name="windows"):
        host = Host(HOST_PROCESS, f"iqn.2026-11.org.example:{name}")
        self.ends.callback(host.end)
        return host

    def mount(self, array, lun, partition=PARTITION, host=None, first_byte=PARTITION_AT, **options):
        """A volume of an array (anything with url() and disks), by self.host unless another host is named."""
        if not host:
            host = self.host = self.host or self.new_host()
        disk = host.connect(array.url(lun))
        volume = disk.mount(partition, **options)
        volume.disk = disk
        volume.lun = lun
        volume.reader = functools.partial(NtfsReader, array.disks[lun], first_byte, disk.found["block_length"])
        return volume

    def two_volumes(self, head="", tail=""):
        """LUN 0 and LUN 1 of one array with an NTFS volume each, mounted by self.host."""
        self.array = self.serve([("source", self.disk()), ("target", self.disk())], head, tail)
        self.source_volume, self.target_volume = self.mount(self.array, 0), self.mount(self.array, 1)

    def copy_of_data(self, **options):
        """A token for all of the file "data" of LUN 0, and a new file of LUN 1 that it fits: no valid data yet."""
        self.two_volumes(**options)
        self.source = self.source_volume.open("data")
        self.token = self.make_token(self.source)
        self.file = self.new_file(self.target_volume)
        return self.file

    @staticmethod
    def new_file(volume, length=MIB):
        """"target", with clusters for its length and no valid data; everything known of it is on the disk."""
        file = volume.open("target", disposition="create")
        file.must("set_end_of_file", length=length)
        # Its record is not the last of the table: of that the rest of the cluster would be written too.
        volume.open("later", disposition="create").must("close")
        volume.must("flush")
        return file

    @staticmethod
    def written_file(volume, data):
        file = volume.open("written", disposition="create")
        file.must("write", offset=0, data=data.hex())
        return file

    @staticmethod
    def place_of(file):
        """Where an independent reader finds the file's clusters, while the array serves the disk."""
        file.volume.must("flush")
        with file.volume.reader() as disk:
            return disk.extents(file.path)

    def format_behind_its_back(self, array, lun):
        """Another initiator writes the first blocks of a FAT volume where the NTFS volume was."""
        with open(self.disk("fat"), "rb") as fat:
            blocks = fat.read(8 * BLOCK)
        with contextlib.closing(Session(array.odxd)) as session:
            session.clear_unit_attentions(lun)
            answer = session.command(write16(PARTITION_AT // BLOCK, 8), data_out=blocks, lun=lun)
        self.assertEqual(answer.status, GOOD)

    @staticmethod
    def record_written(lun, disk, path="target"):
        """What an offload write changes of the file system: the record with the valid data length and the times."""
        return write10(lun, disk.record(path))

    def record_now(self, file):
        """The same, while the array serves the disk."""
        file.volume.must("flush")
        with file.volume.reader() as disk:
            return self.record_written(file.volume.lun, disk, file.path)

    def make_token(self, file, length=MIB, **options):
        outcome = self.offload_read(file, 0, length, **options)
        self.assertEqual(outcome.status, "STATUS_SUCCESS", outcome.reason)
        return token_of(outcome.output)

    # Requests.

    def commands(self):
        """Of all arrays, since it was last asked."""
        return [command for array in self.arrays for command in array.relay.take()[1]]

    def fsctl(self, file, code, given, output_length):
        self.commands()
        reply = file.fsctl(code, given, output_length)
        return Outcome(*reply, self.commands())

    def offload_read(self, file, file_offset=0, copy_length=MIB, output_length=READ_OUTPUT, **fields):
        return self.fsctl(file, FSCTL_OFFLOAD_READ, read_input(file_offset, copy_length, **fields), output_length)

    def offload_write(self, file, file_offset=0, copy_length=MIB, transfer_offset=0, token=None,
                      output_length=WRITE_OUTPUT, **fields):
        given = write_input(file_offset, copy_length, transfer_offset, token or self.token, **fields)
        return self.fsctl(file, FSCTL_OFFLOAD_WRITE, given, output_length)

    # Verdicts.

    @contextlib.contextmanager
    def blocks_untouched(self, file):
        """Whatever is asked of the array meanwhile, the file's blocks on the disk stay as they are."""
        place = self.place_of(file)
        with file.volume.reader() as disk:
            before = disk.blocks(place)
        yield place
        with file.volume.reader() as disk:
            self.assertEqual(disk.blocks(place), before)

    def assert_succeeded(self, outcome, output, commands):
        self.assertEqual(outcome.status, "STATUS_SUCCESS", outcome.reason)
        self.assertEqual(outcome.output.hex(), output.hex())
        self.assert_commands(outcome.commands, commands)

    def assert_refused(self, outcome, status, commands=()):
        """Not a byte of output; and the array saw exactly these commands: none, unless they are named."""
        self.assertEqual(outcome.status, status, outcome.reason)
        self.assertEqual(outcome.output, b"")
        self.assert_commands(outcome.commands, commands)

    def assert_commands(self, seen, expected):
        def lines(commands):
            return [f"LUN {lun} {each.hex(' ')} | {parameters.hex()}" for lun, each, parameters in commands]
        self.assertEqual(lines(seen), lines(expected))

    def end_all(self):
        """Hosts and arrays end, and what they wrote is on the disks."""
        self.ends.close()
