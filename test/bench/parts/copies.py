"""Offloaded copies through iSCSI: by size and fragmentation, what they leave behind, and on file systems.

Takes 6 GiB of memory and 4 GiB of disk. What was copied is read and compared, and a difference fails the part. The file
systems need root and loop devices, and are left out without.
"""
import mmap
import statistics
import subprocess
import time

from file_systems import MKFS, SHARING, FileSystem, NoMkfs, NoMount
from frame import MEBIBYTE, REGION, Failed, Server, client, fill, io_bench, plot

SIZES = {"1 MiB": 1 << 20, "16 MiB": 16 << 20, "256 MiB": 256 << 20, "1 GiB": 1 << 30, "16 GiB": 16 << 30,
         "128 GiB": 128 << 30, "1 TiB": 1 << 40}
EXTENTS = (1, 1000, 1_000_000)
SPACING = 8192  # closer extents would touch: memory is kept in granules of 4 KiB
ARRAY = """
[tokens]
maximum_transfer = "{maximum}"
[[portal]]
listen = "127.0.0.1:0"
[[target]]
[[target.lun]]
store = "memory:2T"
[[target.lun]]
store = "memory:2T"
"""


def copy(options, server, *words):
    return client(options, "copy_bench", *server.urls[:2], "--server-pid", server.pid, *words, timeout=900)


def touch_memory(size):
    """So that a virtual machine has it from its host before anything is measured."""
    with mmap.mmap(-1, size) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


def by_size(options, report):
    """The table by size and extents; gives {extents: [(bytes, microseconds)]} for the plot."""
    report.section("Offloaded copies by size and fragmentation",
                   "Between two memory stores, unaligned, one command of each kind for a copy (`maximum_transfer = "
                   "\"1T\"`); in the last row 4 GiB, the default, for each token. The extents were made by scattered "
                   "writes of 512 bytes through iSCSI. Read: the first and the second reading of the copy by 1 MiB, of "
                   "at most 4 GiB of it. Verified: extents compared with what lies around them, all or a seeded "
                   "sample, beside what was read.")
    table = report.table("Size", "extents", "POPULATE TOKEN, us", "RECEIVE ROD TOKEN INFORMATION, us",
                         "WRITE USING TOKEN, us", "whole copy, ms", "odxd CPU per copy, us", "in the background, us",
                         "read, MB/s", "verified")
    points = {}
    for extents in EXTENTS[:2] if options.quick else EXTENTS:
        for name, size in list(SIZES.items())[:3] if options.quick else SIZES.items():
            if size < extents * SPACING:
                continue
            figures = size_row(options, table, name, size, extents, "1T")
            points.setdefault(extents, []).append((size, figures["populate_us"] + figures["write_us"]))
            report.goal(f"offloaded copy of {name} in {extents} extents", figures["copy_ms"], at_most=1, unit="ms")
    if not options.quick:
        size_row(options, table, "1 TiB, 256 tokens", SIZES["1 TiB"], EXTENTS[-1], "4G")
    return points


def size_row(options, table, name, size, extents, maximum):
    piece = min(size, 4 << 30) if maximum == "4G" else size
    with Server("copy", [options.odxd], config=ARRAY.format(maximum=maximum)) as server:
        figures = copy(options, server, "--bytes", size, "--extents", extents, "--piece", piece,
                       "--runs", options.runs)
    table.row(name, extents, f"{figures['populate_us']:.0f}", f"{figures['information_us']:.0f}",
              f"{figures['write_us']:.0f}", f"{figures['copy_ms']:.2f}", f"{figures['cpu_us_per_copy']:.0f}",
              f"{figures['background_cpu_us_per_copy']:.0f}",
              f"{figures['first_read_mb_s']:.0f}, {figures['second_read_mb_s']:.0f}", figures["verified_extents"],
              figures=figures)
    return figures


def draw(path, points):
    """Lines by number of extents."""
    data = "".join(f"$extents{extents} << EOD\n" + "".join(f"{size} {us}\n" for size, us in line) + "EOD\n"
                   for extents, line in points.items())
    titles = {extents: "1 extent" if extents == 1 else f"{extents:,} extents" for extents in points}
    lines = ", ".join(f"$extents{extents} with linespoints linewidth 2 title '{title}'"
                      for extents, title in titles.items())
    ticks = ", ".join(f"'{name}' {size}" for name, size in SIZES.items())
    plot(path, f"""{data}
set title 'POPULATE TOKEN + WRITE USING TOKEN through iSCSI'
set logscale xy
set xtics ({ticks})
set xrange [5e5:2e12]
set yrange [10:10000]
set ytics ('10 us' 10, '100 us' 100, '1 ms' 1000, '10 ms' 10000)
set key top left
plot {lines}
""")


def churn(options, report):
    """Reads and writes of a LUN after copies of copies, against one that was filled as it was and never copied."""
    copies = 200 if options.quick else 10_000
    shapes = [("4 KiB random read, depth 32", 4096, 32, False), ("1 MiB random read, depth 4", MEBIBYTE, 4, False),
              ("4 KiB random write, depth 32", 4096, 32, True), ("1 MiB random write, depth 4", MEBIBYTE, 4, True)]
    report.section(f"After {copies} overlapping copies",
                   f"Within {REGION >> 20} MiB, of up to 16 MiB, from any block to any block, again before each run; "
                   "the other LUN was filled and never copied. Measured in turn.")
    table = report.table("Case", "never copied, I/O per s", "copied, I/O per s", "ratio")
    with Server("churn", [options.odxd], "memory:1G", "memory:1G") as server:
        for url in server.urls:
            fill(options, url)
        for name, size, depth, write in shapes:
            rates = {0: [], 1: []}
            for _ in range(options.runs):
                copy(options, server, "--bytes", REGION, "--churn", copies)
                for lun in (1, 0):
                    rates[lun].append(io_bench(options, server, "--size", size, "--depth", depth, "--warmup", 0.05,
                                               *(["--write"] if write else []), url=server.urls[lun])["iops"])
            copied, fresh = (statistics.median(rates[lun]) for lun in (0, 1))
            table.row(name, f"{fresh:.0f}", f"{copied:.0f}", f"{copied / fresh:.2f}", copied=copied, fresh=fresh)


def files(options, report):
    """Copies between two images on each file system, against cp."""
    size = (32 << 20) if options.quick else (1 << 30)
    report.section("Offloaded copies between files",
                   f"A {size >> 20} MiB image full of data, copied to another one on the same file system (a loop "
                   "mount), from page cache; sync(1) before each. odxd: POPULATE TOKEN to the end of WRITE USING "
                   "TOKEN. cp includes starting the program; it makes a new file where odxd replaces what the other "
                   "image holds.")
    table = report.table("File system", "odxd, ms", "cp --reflink=always, ms", "cp --reflink=never, ms",
                         "odxd : reflink", "odxd : plain")
    for kind in MKFS:
        try:
            with FileSystem(kind, 4 * size + (512 << 20)) as system:
                file_row(options, table, kind, system.mount, size)
        except NoMount as reason:
            print(f"\nNot measured: {reason}.")
            return
        except NoMkfs as reason:
            raise Failed(str(reason)) from reason


def file_row(options, table, kind, mount, size):
    source, destination, other = (mount / name for name in ("a.img", "b.img", "c.img"))
    times = {"odxd": [], "always": [], "never": []}
    stores = [f"file:{image},size={size}" for image in (source, destination)]
    with Server("copy-files", [options.odxd], *stores) as server:
        fill(options, server.url, size)
        for _ in range(options.runs):
            subprocess.run(["sync", "-f", str(mount)], check=True)
            times["odxd"].append(copy(options, server, "--bytes", size, "--extents", 0, "--runs", 1, "--in-place",
                                      "--no-read")["copy_ms"])
            for how in ("always", "never") if kind in SHARING else ("never",):
                other.unlink(missing_ok=True)
                subprocess.run(["sync", "-f", str(mount)], check=True)
                started = time.monotonic()
                subprocess.run(["cp", f"--reflink={how}", str(source), str(other)], check=True)
                times[how].append((time.monotonic() - started) * 1000)
        subprocess.run(["cmp", str(source), str(destination)], check=True)
    odxd, always, never = (statistics.median(times[how]) if times[how] else None for how in ("odxd", "always", "never"))
    table.row(kind, f"{odxd:.1f}", f"{always:.1f}" if always else "-", f"{never:.1f}",
              f"{odxd / always:.2f}" if always else "-", f"{odxd / never:.3f}", odxd=odxd, always=always, never=never)


def run(options, report):
    if not options.quick:
        touch_memory(6 << 30)
    points = by_size(options, report)
    if options.plots:
        draw(options.plots / "benchmarks-copy.svg", points)
    churn(options, report)
    files(options, report)
