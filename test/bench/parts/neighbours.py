"""What another session feels of copies, of trees that are freed, and of readers that are slow.

Offloaded copies of 64 GiB between memory LUNs, where they are metadata, and from memory to a file and back, where data
is really moved; one copy of 64 GiB of data, which one chunk of memory holds, to a file, ended when the session has been
measured; a million extents of memory that are freed by UNMAP, and with their LUN. The session reads 4 KiB of a
LUN of its own, one after the other. odxd has CPU 0, what disturbs CPU 1; the session is measured on CPU 1, and on CPU 0
beside odxd. Takes 6 GiB of memory and 1 GiB of disk.
"""
import tempfile
import time
from pathlib import Path

from beside import PLACES, READY_WITHIN_S, Beside, Control, Disturber
from frame import BENCH, GIBIBYTE, MEBIBYTE, ONE_CPU, Failed, Server, client, fill

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
"""
IQN = "iqn.2026-01.example.odx:neighbours"
VICTIM, FROM, TO, IMAGE, DATA = range(5)


class Array:
    """odxd with the LUNs above."""

    def __init__(self, options, folder):
        self.options = options
        socket = Path(folder) / "control"
        self.server = Server("neighbours", [options.odxd], prefix=ONE_CPU,
                             config=CONFIG.format(socket=socket, iqn=IQN, image=Path(folder) / "disk.img",
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

    def copying_data(self):
        """Starts one copy of a LUN full of data to a file, and gives what ends it and says how fast it was."""
        copy = Disturber(BENCH / "disturb", "copy-of-data", self.lun(DATA), "--count", IMAGE - FROM)
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

    def scatter(self):
        """A tree of so many extents, each with memory of its own."""
        client(self.options, "copy_bench", self.lun(FROM), self.lun(TO), "--bytes", self.extents * 8192 * 4 // 3,
               "--extents", self.extents, "--runs", 1, "--in-place", "--no-read", "--sample", 0)
        self.empty(TO)

    def empty(self, number):
        unmap = Disturber(BENCH / "disturb", "unmap", self.lun(number))
        unmap.tell()
        unmap.stop()

    def freeing(self, begin):
        """Begins it, and waits until odxd has nothing left to free."""
        started, used = time.monotonic(), self.used()
        begin()
        while used > self.left:
            if time.monotonic() - started > READY_WITHIN_S:
                raise Failed(f"{used} bytes are held {READY_WITHIN_S} s after all was freed, before it {self.left}")
            time.sleep(0.05)
            used = self.used()
        self.did = f"{self.extents:,} extents in {time.monotonic() - started:.1f} s"

    def used(self):
        return self.control.ask("GET", "/v1/memory")["used"]

    def unmap(self):
        """Ready to UNMAP the LUN that holds the extents: gives what begins it, and what ends it."""
        unmap = Disturber(BENCH / "disturb", "unmap", self.lun(FROM))
        return lambda: self.freeing(unmap.tell), unmap.stop

    def remove(self):
        number = 0  # of FROM, in a target of its own: sessions are told of LUNs that come and go
        path = f"/v1/targets/{IQN}/luns/{number}"

        def again():
            self.control.ask("POST", f"/v1/targets/{IQN}/luns", {"number": number, "store": "memory:129G"})
        return lambda: self.freeing(lambda: self.control.ask("DELETE", path)), again


def rows(array, options):
    """What goes on: its name, what is made before it, and what measures it once."""
    def beside_copies(to, extents, *words):
        def measure(beside):
            beside.measure(options, array.url, array.pid, running=lambda: array.copying(to, extents, *words))
        return measure

    def beside_freeing(ready):
        def measure(beside):
            array.scatter()
            begin, end = ready()
            beside.measure(options, array.url, array.pid, begin=begin)
            end()
        return measure

    def beside_data(beside):
        beside.measure(options, array.url, array.pid, running=array.copying_data)

    def slow_readers(beside):
        def running():
            readers = Disturber(BENCH / "disturb", "slow-readers", array.url)

            def end():
                said = readers.stop()
                array.did = f"{said['bytes'] / said['seconds']:,.0f} bytes/s"
            return end
        beside.measure(options, array.url, array.pid, running=running)

    size = f"{array.copied // GIBIBYTE} GiB"
    return {
        f"copies of {size} in 1 extent": beside_copies(TO, 1, "--in-place"),
        f"copies of {size} in {array.extents:,} extents": beside_copies(TO, array.extents),
        f"copies of {array.filled // MEBIBYTE} MiB of data to a file and back": beside_copies(IMAGE, 0, "--in-place"),
        f"one copy of {'16' if options.quick else '64'} GiB of data to a file": beside_data,
        "UNMAP": beside_freeing(array.unmap),
        "a LUN is removed": beside_freeing(array.remove),
        "slow readers": slow_readers,
    }


def run(options, report):
    report.section("Neighbours", __doc__.split("\n\n", 1)[1].strip().replace("\n", " "))
    table = report.table("Beside it", "which does", *Beside.COLUMNS)
    with tempfile.TemporaryDirectory(prefix="odx-neighbours-") as folder:
        array = Array(options, folder)
        with array.server:
            array.left = array.used() + MEBIBYTE
            for name, measure in rows(array, options).items():
                if options.only not in name:
                    continue
                for beside in map(Beside, PLACES):
                    for _ in range(min(options.runs, 5)):
                        measure(beside)
                    table.row(name, array.did, *beside.cells(), beside=vars(beside))
                    beside.judge(report, f"beside {name}")
