"""What another session feels of copies, of trees that are freed, and of readers that are slow.

Offloaded copies of 64 GiB between memory LUNs, where they are metadata, and from memory to a file and back, where data
is really moved; one copy of 64 GiB of data, which one chunk of memory holds, to a file in memory and to one on disk,
ended when the session has been measured, and fio in its place, which writes as much to a file on that disk from odxd's
processor while odxd has nothing else to do; a million extents of memory that are freed by UNMAP, and with their LUN.
The session reads 4 KiB of a LUN of its own, one after the other. odxd has CPU 0, what disturbs CPU 1; the session is
measured on CPU 1, and on CPU 0 beside odxd. Watched once on a busy machine, up to the first tree that is freed, odxd
held 9 GiB of memory, and up to 1.4 GiB of tmpfs and 2.6 GiB of disk were written; where copies are faster that is more.
"""
import json
import subprocess
import tempfile
import time
from pathlib import Path

from beside import PLACES, READY_WITHIN_S, Beside, Control, Disturber, lasting
from frame import BENCH, GIBIBYTE, MEBIBYTE, ONE_CPU, TMPFS, Failed, Server, client, fill, tool

CONFIG = """\
log_level = "error"
[control]
unix = "{socket}"
[tokens]
maximum_transfer = "128G"
[[portal]]
listen = "127.0.0.1:0"
[[target]]
name = "{iqn}.session"
[[target.lun]]
store = "memory:1G"
[[target]]
name = "{iqn}"
[[target.lun]]
store = "memory:129G"
[[target.lun]]
store = "memory:129G"
[[target.lun]]
store = "file:{image},size={data}"
[[target.lun]]
store = "memory:{data}"
[[target.lun]]
store = "file:{quick_image},size={data}"
"""
IQN = "iqn.2026-01.example.odx:neighbours"
VICTIM, FROM, TO, IMAGE, DATA, QUICK_IMAGE = range(6)
PEER = "fio writes to a file on disk"


class Array:
    """odxd with the LUNs above."""

    def __init__(self, options, folder, quick_folder):
        self.options, self.folder = options, Path(folder)
        socket = self.folder / "control"
        self.server = Server("neighbours", [options.odxd], prefix=ONE_CPU,
                             config=CONFIG.format(socket=socket, iqn=IQN, image=self.folder / "disk.img",
                                                  quick_image=Path(quick_folder) / "quick.img",
                                                  data="16G" if options.quick else "64G"))
        self.url, self.pid = self.server.url, self.server.pid
        self.control = Control(socket)
        self.extents = 1000 if options.quick else 1_000_000
        self.copied = GIBIBYTE if options.quick else 64 * GIBIBYTE
        self.filled = 16 * MEBIBYTE if options.quick else GIBIBYTE
        self.left = 0  # bytes that odxd holds with no extents
        self.did = ""
        fill(options, self.url)

    def lun(self, number):
        return self.server.urls[number]

    def copying(self, to, extents, *words):
        """Starts copies to and fro between a LUN in memory and another; with no extents, of what fill() wrote."""
        if extents == 0:
            fill(self.options, self.lun(FROM), self.filled)
        if extents > 1:
            self.freeing(lambda: [self.empty(number) for number in (FROM, TO)])  # those of the last time
        size = self.copied if extents else self.filled
        copies = Disturber(self.options.build / "test/bench/copy_bench", self.lun(FROM), self.lun(to), "--until-told",
                           "--no-read", "--bytes", size, "--piece", size, "--extents", extents, *words)

        def end():
            said = copies.stop()
            self.did = f"{said['copies'] / said['seconds']:,.0f} copies/s"
        return end

    def copying_data(self, to):
        """Starts one copy of a LUN full of data to a file, and gives what ends it and says how fast it was."""
        copy = Disturber(BENCH / "disturb", "copy-of-data", self.lun(DATA), "--count", to - FROM)
        started = time.monotonic()

        def end():
            going_on = self.control.ask("GET", "/v1/operations")["operations"]
            if not going_on:
                raise Failed("the copy ended before the session beside it")
            self.did = f"{going_on[0]['bytes'] / (time.monotonic() - started) / 1e6:,.0f} MB/s"
            copy.stop()
            while self.control.ask("GET", "/v1/operations")["operations"]:
                time.sleep(0.05)
            for token in self.control.ask("GET", "/v1/tokens")["tokens"]:  # which keep the data
                self.control.ask("POST", f"/v1/tokens/{token['id']}/cancel")
            self.empty(DATA)
        return end

    def writing(self):
        """Starts fio where odxd and its workers are, with the priority of a worker that copies."""
        path = self.folder / "fio.img"
        command = [*ONE_CPU, "nice", tool("fio"), "--name=beside", f"--filename={path}", "--size=64G", "--bs=64k",
                   "--rw=write", "--ioengine=psync", "--thread", "--time_based", "--runtime=600", "--fallocate=none",
                   "--output-format=json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started = time.monotonic()
        while not (path.exists() and path.stat().st_blocks > 0):
            if process.poll() is not None or time.monotonic() - started > READY_WITHIN_S:
                raise Failed("fio does not write")
            time.sleep(0.05)

        def end():
            if process.poll() is not None:
                raise Failed("fio ended before the session beside it")
            process.terminate()  # it says what it did
            said = process.communicate(timeout=60)[0]
            path.unlink(missing_ok=True)
            written = json.loads(said[said.index("{"):])["jobs"][0]["write"]
            self.did = f"{written['bw_bytes'] / 1e6:,.0f} MB/s"
        return end

    def scatter(self):
        """A tree of so many extents, each with memory of its own."""
        client(self.options, "copy_bench", self.lun(FROM), self.lun(TO), "--bytes", self.extents * 8192 * 4 // 3,
               "--extents", self.extents, "--runs", 1, "--in-place", "--no-read", "--sample", 0)
        self.empty(TO)

    def empty(self, number):
        unmap = Disturber(BENCH / "disturb", "unmap", self.lun(number))
        unmap.tell()
        unmap.stop()

    def freeing(self, begin, *seen):
        """Begins it, and waits until odxd has nothing left to free; as lasting()."""
        lasted = lasting(begin, lambda: self.used() > self.left, *seen)
        self.did = f"{self.extents:,} extents in {lasted:.1f} s"
        return lasted

    def used(self):
        return self.control.ask("GET", "/v1/memory")["used"]

    def unmap(self):
        """Ready to UNMAP the LUN that holds the extents: gives what begins it, and what ends it."""
        unmap = Disturber(BENCH / "disturb", "unmap", self.lun(FROM))
        return lambda seen: self.freeing(unmap.tell, seen), unmap.stop

    def remove(self):
        number = 0  # of FROM, in a target of its own: sessions are told of LUNs that come and go
        path = f"/v1/targets/{IQN}/luns/{number}"

        def again():
            self.control.ask("POST", f"/v1/targets/{IQN}/luns", {"number": number, "store": "memory:129G"})
        return lambda seen: self.freeing(lambda: self.control.ask("DELETE", path), seen), again


def rows(array, options):
    """What goes on: its name, what is made before it, and what measures it once."""
    def beside_running(start):
        def measure(beside):
            beside.measure(options, array.url, array.pid, running=start)
        return measure

    def beside_copies(to, extents, *words):
        return beside_running(lambda: array.copying(to, extents, *words))

    def beside_freeing(ready):
        def measure(beside):
            array.scatter()
            begin, end = ready()
            beside.measure(options, array.url, array.pid, begin=begin)
            end()
        return measure

    def slow_readers():
        readers = Disturber(BENCH / "disturb", "slow-readers", array.url)

        def end():
            said = readers.stop()
            array.did = f"{said['bytes'] / said['seconds']:,.0f} bytes/s"
        return end

    size, data = f"{array.copied // GIBIBYTE} GiB", f"{'16' if options.quick else '64'} GiB of data"
    return {
        f"copies of {size} in 1 extent": beside_copies(TO, 1, "--in-place"),
        f"copies of {size} in {array.extents:,} extents": beside_copies(TO, array.extents),
        f"copies of {array.filled // MEBIBYTE} MiB of data to a file and back": beside_copies(IMAGE, 0, "--in-place"),
        f"one copy of {data} to a file in memory": beside_running(lambda: array.copying_data(QUICK_IMAGE)),
        f"one copy of {data} to a file on disk": beside_running(lambda: array.copying_data(IMAGE)),
        PEER: beside_running(array.writing),
        "UNMAP": beside_freeing(array.unmap),
        "a LUN is removed": beside_freeing(array.remove),
        "slow readers": beside_running(slow_readers),
    }


def run(options, report):
    report.section("Neighbours", __doc__.split("\n\n", 1)[1].strip().replace("\n", " "))
    table = report.table("Beside it", "which does", *Beside.COLUMNS)
    with (tempfile.TemporaryDirectory(prefix="odx-neighbours-") as folder,
          tempfile.TemporaryDirectory(prefix="odx-neighbours-", dir=TMPFS) as quick_folder):
        array = Array(options, folder, quick_folder)
        with array.server:
            array.left = array.used() + MEBIBYTE
            for name, measure in rows(array, options).items():
                if options.only not in name:
                    continue
                for beside in map(Beside, PLACES):
                    for _ in range(min(options.runs, 5)):
                        measure(beside)
                    table.row(name, array.did, *beside.cells(), beside=vars(beside))
                    if name != PEER:
                        beside.judge(options, report, f"beside {name}")
