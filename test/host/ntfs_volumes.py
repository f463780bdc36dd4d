"""Volumes and arrays for the tests of `odx cp`: images made by ntfs_image, and two readers that are none of ours:
ntfscat (ntfs-3g) and pyfsntfs (libfsntfs, another implementation). Imported by scripts run as

    SCRIPT ODXD ODX NTFS_IMAGE
"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

try:
    import pyfsntfs
except ImportError:
    # Debian's package is for Debian's Python only.
    DEBIANS = "/usr/bin/python3"
    if os.path.exists(DEBIANS) and os.path.realpath(sys.executable) != os.path.realpath(DEBIANS):
        os.execv(DEBIANS, [DEBIANS, *sys.argv])
    raise

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "target"), str(HERE.parent / "interop")]
from odxd_process import Odxd  # noqa: E402  pylint: disable=wrong-import-position

ODX, NTFS_IMAGE = sys.argv[1:3]  # odxd_process took its own
del sys.argv[1:3]
KIB, MIB = 1 << 10, 1 << 20
COMMAND_LIMIT_S = 120
IQN = "iqn.2026-11.org.odx:cp"
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def run(*words, status=0):
    """Runs a program to its end; what it printed on standard output, as bytes."""
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**os.environ, "PATH": PATH}, timeout=COMMAND_LIMIT_S, check=False)
    if status is not None and done.returncode != status:
        raise AssertionError(f"{words}: exit status {done.returncode}\n{done.stdout!r}\n{done.stderr.decode()}")
    return done.stdout


def odx(*words):
    """Exit status and standard output of odx."""
    done = subprocess.run([ODX, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=COMMAND_LIMIT_S, check=False)
    return done.returncode, done.stdout


def report(*words):
    """Exit status and the JSON document of odx."""
    status, text = odx(*words, "--json")
    return status, json.loads(text)


def operation(document):
    """The commands of the operation itself, by name."""
    return [c["name"] for c in document["commands"] if c["phase"] == "operation"]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Image:
    """A disk image with one NTFS volume. What is read of it is read by programs of others, while nobody serves it."""

    def __init__(self, path, *words, files=()):
        self.path = Path(path)
        options = [word for file in files for word in ("--file", file)]
        self.made = json.loads(run(NTFS_IMAGE, path, *words, *options))
        self.files = {file["path"]: file for file in self.made["files"]}

    @property
    def whole(self):
        return self.made["volume_offset"] == 0

    def volume(self):
        """The volume as a file of its own; that of a partition is a copy."""
        if self.whole:
            return self.path
        cut = self.path.with_suffix(".volume")
        with open(self.path, "rb") as source, open(cut, "wb") as sink:
            at, end = self.made["volume_offset"], self.made["volume_offset"] + self.made["volume_length"]
            sink.truncate(end - at)
            while at < end:
                try:
                    at = max(at, os.lseek(source.fileno(), at, os.SEEK_DATA))
                except OSError:
                    break
                hole = min(end, os.lseek(source.fileno(), at, os.SEEK_HOLE))
                source.seek(at)
                sink.seek(at - self.made["volume_offset"])
                while at < hole:
                    piece = source.read(min(MIB, hole - at))
                    sink.write(piece)
                    at += len(piece)
        return cut


class Readers:
    """Both readers on one volume, as it is now."""

    def __init__(self, image):
        self.volume = image.volume()
        self.fsntfs = pyfsntfs.volume()
        self.fsntfs.open(str(self.volume))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.fsntfs.close()

    def by_ntfscat(self, name):
        path, _, stream = name.partition(":")
        return run("ntfscat", "-f", *(["-n", stream] if stream else []), self.volume, path)

    def entry(self, path):
        return self.fsntfs.get_file_entry_by_path("\\" + path.replace("/", "\\"))

    def by_fsntfs(self, name):
        path, _, stream = name.partition(":")
        entry = self.entry(path)
        if entry is None:
            raise AssertionError(f"libfsntfs finds no {path}")
        source = entry.get_alternate_data_stream_by_name(stream) if stream else entry
        source.seek(0)
        data = b""
        while piece := source.read(4 * MIB):
            data += piece
        return data

    def read(self, name):
        """What both say it holds."""
        one, other = self.by_ntfscat(name), self.by_fsntfs(name)
        if one != other:
            raise AssertionError(f"{name}: ntfscat reads {len(one)} bytes, {sha256(one)}; libfsntfs {len(other)}, "
                                 f"{sha256(other)}")
        return one

    def check(self):
        """ntfsfix finds nothing to mend, and libfsntfs can walk all of it."""
        text = run("ntfsfix", "-n", self.volume).decode()
        if "processed successfully" not in text:
            raise AssertionError(text)
        self.walk(self.fsntfs.get_root_directory())

    def walk(self, directory):
        for number in range(directory.number_of_sub_file_entries):
            entry = directory.get_sub_file_entry(number)
            if (entry.name or "").startswith("$"):
                continue
            if entry.has_directory_entries_index():
                self.walk(entry)
            elif entry.has_default_data_stream():
                entry.read(1)

    def names(self, path=""):
        directory = self.fsntfs.get_root_directory() if not path else self.entry(path)
        found = [directory.get_sub_file_entry(i).name for i in range(directory.number_of_sub_file_entries)]
        return sorted(name for name in found if name and not name.startswith("$"))


class CopyTest(unittest.TestCase):
    """A folder, and an odxd that serves files of it as LUNs 0, 1, ..."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odx-cp-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.array = None

    def image(self, name, *words, files=()):
        return Image(self.folder / f"{name}.img", *words, files=files)

    def config(self, *images, extra="", sectors=()):
        text = f'id = "cp-{os.getpid()}"\n{extra}\n[[target]]\nname = "{IQN}"\n'
        for number, image in enumerate(images):
            path = image if isinstance(image, Path) else image.path
            sector = sectors[number] if sectors else 512 if isinstance(image, Path) else image.made["sector"]
            text += f'[[target.lun]]\nname = "lun{number}"\nstore = "file:{path}"\nblock_size = {sector}\n'
        path = self.folder / "array.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def serve(self, *images, extra="", sectors=(), portal="127.0.0.1:0"):
        path = self.config(*images, extra=extra, sectors=sectors)
        self.array = Odxd("--config", path, portal=portal, log_path=self.folder / "odxd.log")
        self.addCleanup(self.kill)
        return self.array.urls

    def kill(self):
        if self.array.process.poll() is None:
            self.array.process.kill()
            self.array.process.wait()
        self.array.process.stdout.close()

    def end(self):
        """odxd ends, so that the images can be read."""
        status = self.array.end()
        self.assertEqual(status, 0, self.array.log())
