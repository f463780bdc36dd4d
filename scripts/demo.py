#!/usr/bin/env python3
"""The demo itself; scripts/demo installs and builds first. Ends everything it starts."""
import argparse
import collections
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlparse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "interop"))
# pylint: disable=wrong-import-position
from scsi_relay import THIRD_PARTY_COPY, Relay, name_of  # noqa: E402

MIB = 1 << 20
BLOCK = 4096
IMAGE = 512 * MIB
FILES_AT_MOST = 400
BYTES_AT_MOST = 160 * MIB
LARGEST_FILE = 40 * MIB
PIECE = 8 * MIB  # of the source that is overwritten under a live token
ZEROED = 64 * MIB
SMALL_VOLUME = 448 * MIB
COMMAND_TIMEOUT_S = 100

CONFIG = """
[[portal]]
listen = "127.0.0.1:0"

[[target]]
name = "iqn.2026-11.org.odx:demo"

[[target.lun]]
name = "source"
store = "memory:{size}"

[[target.lun]]
name = "destination"
store = "memory:{size}"

[[target.lun]]
name = "island"
store = "memory:{size}"

[[unreachable]]
a = "source"
b = "island"

[tokens]
default_inactivity_timeout_s = 30
maximum_inactivity_timeout_s = 60
"""

# What is worth a place in the table, most telling first; the rest is counted together.
SHOWN = ["POPULATE TOKEN", "RECEIVE ROD TOKEN INFORMATION", "WRITE USING TOKEN", "READ", "WRITE", "GET LBA STATUS"]
SHORT = {"POPULATE TOKEN": "PT", "WRITE USING TOKEN": "WUT", "RECEIVE ROD TOKEN INFORMATION": "RRTI"}

# One row of the table. `wrong` is empty when all was as expected.
Step = collections.namedtuple("Step", "what commands copy_cdbs wire copied seconds sense nt_status wrong")


class Expectation(Exception):
    """Something is not as expected."""


def expect(condition, what):
    if not condition:
        raise Expectation(what)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(4 * MIB):
            digest.update(piece)
    return digest.hexdigest()


def human(size):
    if size is None:
        return ""
    for unit, step in (("GiB", 1 << 30), ("MiB", MIB), ("KiB", 1 << 10)):
        if size >= step:
            return f"{size / step:.4g} {unit}"
    return f"{size} B"


def run(*words, status=0):
    """Runs a program to its end; what it printed on standard output."""
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    words = [str(word) for word in words]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="replace", timeout=COMMAND_TIMEOUT_S, check=False)
    if status is not None and done.returncode != status:
        raise Expectation(f"{' '.join(words)}: exit status {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class Array:
    """odxd on a free port, with the relay before it."""

    def __init__(self, program, folder):
        config = folder / "array.toml"
        config.write_text(CONFIG.format(size=IMAGE), encoding="utf-8")
        self.log = open(folder / "odxd.log", "wb")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [program, "--config", config], stdout=subprocess.PIPE, stderr=self.log, text=True)
        urls = []
        for line in self.process.stdout:
            if line.startswith("lun "):
                urls.append(line.removeprefix("lun ").strip())
            if line.startswith("ready"):
                break
        if len(urls) != 3:
            self.process.kill()
            raise Expectation(f"odxd did not start; its log: {(folder / 'odxd.log').read_text(errors='replace')}")
        address = urlparse(urls[0])
        self.relay = Relay(address.hostname, address.port)
        self.urls = [self.relay.url(url) for url in urls]

    def end(self):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.process.stdout.close()
            self.log.close()
            self.relay.close()


class Demo:
    """The steps, in order, and their table."""

    def __init__(self, odx, array, folder):
        self.odx_program = odx
        self.array = array
        self.source, self.destination, self.island = array.urls
        self.folder = folder
        self.image = folder / "ntfs.img"
        self.names = {}
        self.large = []  # the names of some files worth offloading
        self.piece = 0  # of the source, chosen where it holds most data
        self.steps = []

    # How a step is done and recorded.

    def step(self, what, action):
        """Runs `action`, which gives back (bytes copied or None, odx's report or None)."""
        self.array.relay.drain()
        self.array.relay.take()
        started = time.monotonic()
        copied, report, wrong = None, None, ""
        try:
            copied, report = action()
        except (Expectation, subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
            wrong = str(error)
        seconds = time.monotonic() - started
        self.array.relay.drain()
        wire, passed = self.array.relay.take()
        commands = collections.Counter(command.name for command in passed)
        copy_cdbs = [command.cdb for command in passed if command.cdb[0] in THIRD_PARTY_COPY]
        sense = nt_status = ""
        if report:
            answers = [c["sense"] for c in report.get("commands", []) if c["sense"] and c["phase"] == "operation"]
            sense = "; ".join(f"{a['key']:02X}/{a['asc']:02X}/{a['ascq']:02X} {a['text']}" for a in answers[:1])
            nt_status = report["nt_status"]["name"]
            seconds = report.get("seconds", seconds)
        self.steps.append(Step(what, commands, copy_cdbs, wire, copied, seconds, sense, nt_status, wrong))
        print(f"  {'ok' if not wrong else 'WRONG':6}{what}" + (f": {wrong}" if wrong else ""), flush=True)

    def odx(self, *words, nt_status="STATUS_SUCCESS"):
        """A sub-command of odx; its report, which has to carry this NTSTATUS."""
        report = json.loads(run(self.odx_program, *words, "--json", status=None))
        found = report["nt_status"]["name"]
        expect(found == nt_status, f"odx {words[0]}: {found}, expected {nt_status}: {report.get('reason')}")
        return report

    def read_back(self, url, name, offset=0, length=IMAGE):
        """A range of a disk as a file, read by qemu-img."""
        path = self.folder / name
        run("qemu-img", "dd", "-f", "raw", "-O", "raw", f"bs={MIB}", f"skip={offset // MIB}",
            f"count={(offset + length) // MIB}", f"if={url}", f"of={path}")
        data = path.read_bytes()
        path.unlink()
        return data

    # The steps.

    def make_image(self):
        """An NTFS volume full of files of this machine."""
        with open(self.image, "wb") as file:
            file.truncate(IMAGE)
        run("mkntfs", "-F", "-Q", "-L", "odx demo", "-s", 512, "-p", 0, "-H", 255, "-S", 63, self.image)
        total = 0
        for path in self.some_files():
            size = path.stat().st_size
            if total + size > BYTES_AT_MOST or len(self.names) == FILES_AT_MOST:
                continue
            name = f"{len(self.names):04d}-{path.name}"
            run("ntfscp", "-q", "-f", self.image, path, name)
            self.names[name] = path
            total += size
        self.piece = self.fullest_piece()
        expect(len(self.names) >= 50 and total >= 8 * MIB, f"only {len(self.names)} files to fill the image with")
        print(f"  an NTFS volume of {human(IMAGE)} with {len(self.names)} files, {human(total)}", flush=True)

    def fullest_piece(self):
        """Where the image has most blocks that differ from each other."""
        best = (0, 0)
        with open(self.image, "rb") as image:
            for at in range(0, IMAGE, PIECE):
                piece = image.read(PIECE)
                different = len({piece[i:i + BLOCK] for i in range(0, PIECE, BLOCK)})
                best = max(best, (different, -at))
        return -best[1]

    @staticmethod
    def some_files():
        """Readable regular files: a few large ones first, then many small ones."""
        large, small = [], []
        for top in ("/usr/lib", "/usr/include", "/usr/share/doc"):
            for folder, _, files in os.walk(top):
                for name in sorted(files):
                    path = Path(folder, name)
                    if path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK):
                        continue
                    size = path.stat().st_size
                    if 4 * MIB <= size <= LARGEST_FILE and len(large) < 12:
                        large.append(path)
                    elif 2048 <= size <= MIB and len(small) < 3 * FILES_AT_MOST:
                        small.append(path)
        return large + small[::3]

    def load(self):
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", self.image, self.source)
        return IMAGE, None

    def copy(self):
        report = self.odx("copy", self.source, self.destination)
        expect(report["offloaded_bytes"] == IMAGE, f"{report['offloaded_bytes']} bytes were offloaded")
        moved = sum(report["wire"].values())
        expect(moved < 64 * 1024, f"{moved} bytes crossed the wire for a copy that should move none")
        return report["offloaded_bytes"], report

    def compare(self):
        path = self.folder / "copy.img"
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", self.destination, path)
        original, copied = sha256(self.image), sha256(path)
        print(f"         SHA-256 of the image  {original}\n         SHA-256 of LUN 1      {copied}")
        expect(original == copied, "the hashes differ")
        for name in list(self.names)[:: max(1, len(self.names) // 10)]:
            inside = subprocess.run(["ntfscat", "-f", path, name], stdout=subprocess.PIPE, check=True).stdout
            expect(inside == self.names[name].read_bytes(), f"{name} inside the copied volume differs")
        path.unlink()
        return None, None

    def make_token(self):
        report = self.odx("offload-read", self.source, "--offset", self.piece, "--length", PIECE, "--token",
                          self.folder / "live.token")
        expect(report["protected_bytes"] == PIECE, f"the token protects {report['protected_bytes']} bytes")
        return None, report

    def overwrite_source(self):
        run("qemu-io", "-f", "raw", "-c", f"write -P 0xA5 {self.piece} {PIECE}", self.source)
        return None, None

    def write_old_data(self):
        report = self.odx("offload-write", self.destination, "--offset", PIECE, "--length", PIECE, "--token",
                          self.folder / "live.token")
        expect(report["copied_bytes"] == PIECE, f"{report['copied_bytes']} bytes were written")
        return report["copied_bytes"], report

    def block_by_block(self):
        old = self.image.read_bytes()[self.piece:self.piece + PIECE]
        source = self.read_back(self.source, "source.part", self.piece, PIECE)
        copy = self.read_back(self.destination, "copy.part", PIECE, PIECE)
        counts = collections.Counter()
        print("         block   the image       LUN 0 now       the copy")
        for number, at in enumerate(range(0, PIECE, BLOCK)):
            was, now, copied = (data[at:at + BLOCK] for data in (old, source, copy))
            counts["source overwritten"] += now == b"\xA5" * BLOCK
            counts["copy holds the old data"] += copied == was
            if number % (PIECE // BLOCK // 8) == 0:
                print("         " + f"{number:5d}   " + "   ".join(hashlib.sha256(x).hexdigest()[:12] + " "
                                                                 for x in (was, now, copied)).rstrip())
        blocks = PIECE // BLOCK
        for what in ("source overwritten", "copy holds the old data"):
            print(f"         {counts[what]} of {blocks} blocks: {what}")
            expect(counts[what] == blocks, f"{what} in {counts[what]} of {blocks} blocks only")
        return None, None

    def expired(self):
        token = self.folder / "short.token"
        self.odx("offload-read", self.source, "--length", PIECE, "--ttl", 1, "--token", token)
        time.sleep(1.1)
        report = self.odx("offload-write", self.destination, "--length", PIECE, "--token", token,
                          nt_status="STATUS_INVALID_TOKEN")
        self.expect_sense(report, (0x05, 0x23, 0x07))
        return report["copied_bytes"], report

    def unreachable(self):
        token = self.folder / "other.token"
        self.odx("offload-read", self.source, "--length", PIECE, "--token", token)
        report = self.odx("offload-write", self.island, "--length", PIECE, "--token", token,
                          nt_status="STATUS_DEVICE_UNREACHABLE")
        self.expect_sense(report, (0x05, 0x08, 0x04))
        return report["copied_bytes"], report

    def zero_fill(self):
        report = self.odx("offload-write", self.destination, "--offset", 0, "--length", ZEROED, "--token", "zero")
        expect(report["copied_bytes"] == ZEROED, f"{report['copied_bytes']} bytes were zeroed")
        return report["copied_bytes"], report

    def read_zeros(self):
        # qemu-io says so and fails when a byte differs.
        run("qemu-io", "-f", "raw", "-r", "-c", f"read -P 0 0 {ZEROED}", self.destination)
        after = self.image.read_bytes()[ZEROED:ZEROED + MIB]
        expect(self.read_back(self.destination, "after.part", ZEROED, MIB) == after, "bytes after the range changed")
        return None, None

    # Files.

    def new_volume(self, name, *options):
        path = self.folder / name
        with open(path, "wb") as file:
            file.truncate(SMALL_VOLUME)
        run("mkntfs", "-F", "-Q", *options, "-s", 512, "-p", 0, "-H", 255, "-S", 63, path)
        return path

    def load_volumes(self):
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", self.image, self.source)
        empty = self.new_volume("empty.img")
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", empty, self.destination)
        return None, None

    def copy_files(self):
        self.large = sorted(self.names, key=lambda name: -self.names[name].stat().st_size)[:8]
        report = self.odx("cp", *(f"{self.source}#/{name}" for name in self.large), f"{self.destination}#/")
        total = sum(self.names[name].stat().st_size for name in self.large)
        expect(report["offloaded_bytes"] == total, f"{report['offloaded_bytes']} of {total} bytes were offloaded")
        moved = sum(report["wire"].values())
        expect(moved < total / 10, f"{moved} bytes crossed the wire for {total} bytes of files")
        return total, report

    def compare_files(self):
        path = self.folder / "files.img"
        path.write_bytes(self.read_back(self.destination, "files.part", 0, SMALL_VOLUME))
        for name in self.large:
            inside = hashlib.sha256(subprocess.run(["ntfscat", "-f", path, name], stdout=subprocess.PIPE,
                                                   check=True).stdout).hexdigest()
            print(f"         SHA-256 {inside[:16]}  {name}")
            expect(inside == sha256(self.names[name]), f"{name} differs")
        path.unlink()
        return None, None

    def copy_compressed(self):
        image = self.new_volume("compressing.img", "-C")
        name = max(self.names, key=lambda name: self.names[name].stat().st_size)
        run("ntfscp", "-q", "-f", image, self.names[name], "compressed")
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, self.source)
        self.array.relay.take()
        report = self.odx("cp", f"{self.source}#/compressed", f"{self.destination}#/")
        stream = report["streams"][0]
        print(f"         odx cp --explain: {stream['why']}")
        expect(stream["offloaded_bytes"] == 0, "a compressed file was offloaded")
        found = stream["offload_nt_status"]["name"]
        expect(found == "STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED", found)
        return stream["read_written_bytes"], {**report, "nt_status": stream["offload_nt_status"]}

    @staticmethod
    def expect_sense(report, code):
        found = [(c["sense"]["key"], c["sense"]["asc"], c["sense"]["ascq"]) for c in report["commands"] if c["sense"]]
        expect(code in found, f"sense {found}, expected {code}")

    def all(self):
        self.make_image()
        self.step("qemu-img loads the image into LUN 0", self.load)
        self.step("LUN 0 is copied to LUN 1 as Windows does", self.copy)
        self.step("qemu-img reads LUN 1 back: same SHA-256", self.compare)
        self.step(f"a token for {human(PIECE)} of file data on LUN 0", self.make_token)
        self.step("qemu-io overwrites them while the token lives", self.overwrite_source)
        self.step("the token is written to LUN 1", self.write_old_data)
        self.step("block by block: the copy holds the old data", self.block_by_block)
        self.step("a token that waited longer than its 1 s", self.expired)
        self.step("a token used on a LUN its source cannot reach", self.unreachable)
        self.step(f"the zero token over {human(ZEROED)} of LUN 1", self.zero_fill)
        self.step("qemu-io finds zeros there, and the copy after them", self.read_zeros)
        if "built without NTFS" in run(self.odx_program, "ls", f"{self.source}#/", status=None):
            print("  this odx was built without NTFS: no files are copied", flush=True)
            return
        self.step("NTFS on both: LUN 0 with the files, LUN 1 empty", self.load_volumes)
        self.step("eight files go from LUN 0 to LUN 1 as CopyFile does", self.copy_files)
        self.step("ntfscat reads them from LUN 1: same SHA-256", self.compare_files)
        self.step("a compressed file: not offloaded, but copied", self.copy_compressed)

    # The table.

    def table(self):
        rows = [("", "step", "commands", "over the wire", "copied", "time", "NTSTATUS", "sense", "")]
        for number, step in enumerate(self.steps, 1):
            rows.append((f"{number}", step.what, self.commands_text(step.commands), human(step.wire),
                         human(step.copied), f"{step.seconds * 1000:.1f} ms",
                         step.nt_status, step.sense[:len("05/23/07")], "WRONG" if step.wrong else ""))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)

    @staticmethod
    def commands_text(commands):
        """Those that do the step's work, and how many others."""
        shown = [name for name in SHOWN if commands.get(name)]
        others = sum(commands.values()) - sum(commands[name] for name in shown)
        text = ", ".join(f"{commands[name]} {SHORT.get(name, name)}" for name in shown)
        return text + (f" + {others}" if others else "")

    def offload_cdbs(self):
        """Each third-party copy command, with its step."""
        lines = [f"{number:<4}{SHORT.get(name_of(cdb), name_of(cdb)):<6}{cdb.hex(' ').upper()}"
                 for number, step in enumerate(self.steps, 1) for cdb in step.copy_cdbs]
        return "\n".join(["step  CDBs of the offload", *lines])

    def senses(self):
        """What the sense codes of the table mean, each once."""
        return "".join(f"\nSense {text}" for text in dict.fromkeys(step.sense for step in self.steps if step.sense))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--odxd", required=True)
    parser.add_argument("--odx", required=True)
    parser.add_argument("--keep", action="store_true", help="leave the working folder (image, tokens, odxd's log)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="odx-demo-"))
    started = time.monotonic()
    array = None
    demo = None
    status = None
    try:
        array = Array(options.odxd, folder)
        demo = Demo(options.odx, array, folder)
        demo.all()
    except (Expectation, subprocess.SubprocessError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
    finally:
        status = array.end() if array else None
        if options.keep:
            print(f"  kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if not demo or not demo.steps:
        return 1
    print("\n" + demo.table())
    print("\n" + demo.offload_cdbs())
    print(demo.senses())
    print('PT is POPULATE TOKEN, RRTI RECEIVE ROD TOKEN INFORMATION, WUT WRITE USING TOKEN; "+ N" are other commands,'
          "\nmost of them asked at login. Bytes over the wire and commands are counted by a relay between the programs"
          "\nand odxd, logins included.")
    wrong = sum(bool(step.wrong) for step in demo.steps) + (status != 0)
    if status != 0:
        print(f"odxd ended with status {status}")
    print(f"{len(demo.steps)} steps, {wrong} not as expected, {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
