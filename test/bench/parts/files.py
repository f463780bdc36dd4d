"""File logical units: the store beside fio on the same file, odxd beside tgtd over iSCSI, and flushes that are shared.

In memory, on tmpfs and on loop mounts there of other file systems (which need root, and are left out without): what is
compared is the way to a file, not the disk. Flushes are compared on the machine's own disk as well, where they take as
long as they do.
"""
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from file_systems import MKFS, FileSystem, NoMkfs, NoMount
from frame import (BENCH, MEBIBYTE, ONE_CPU, REGION, TMPFS, Asked, Failed, Server, client, fill, in_turn, io_bench,
                   named, ratio, tool)

HELD = 0.85
DISK, DISK_FOLDER = "disk", "/var/tmp"
PLACES = ("tmpfs", "ext4", "xfs", "btrfs", DISK)
BY_ISCSI = ("tmpfs", "ext4")
QUICK_PLACES = ("tmpfs", "ext4")
FLUSH_US = 1000
SHARED = 5  # times what one flush for each command would give
BESIDE_FIO = """\
`file_bench` keeps so many commands under way in odxd's device server, with odxd's event loop and workers behind it and
no network before it; fio does the same to the same file with one thread for each (psync), which may use every
processor, and with one thread and a queue (io_uring), which like the loop of odxd must not wait. Each cell: odxd /
psync / io_uring. FUA: fdatasync after each write."""
OVER_ISCSI = """\
The same client for all. Each cell: odxd with a file / odxd with a memory LUN / tgtd with a file / null target."""
SHARED_FLUSHES = f"""\
A file on tmpfs, where a preloaded library makes each flush take {FLUSH_US / 1000:g} ms. Each cell: odxd / tgtd."""


@contextmanager
def place(kind, size):
    """A folder on a file system of that kind, gone with what is in it. Raises NoMount."""
    if kind in MKFS:
        with FileSystem(kind, size, TMPFS) as system:
            yield system.mount
        return
    folder = tempfile.mkdtemp(prefix="odx-files-", dir=DISK_FOLDER if kind == DISK else TMPFS)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder)


def new_image(path, size):
    with open(path, "wb") as file:
        for _ in range(size // MEBIBYTE):
            file.write(os.urandom(MEBIBYTE))
        file.flush()
        os.fsync(file.fileno())
    return path


@dataclass(frozen=True)
class Case(Asked):
    """What is asked of a file."""
    fua: bool = False

    def __str__(self):
        return f"{named(self.size)} {'write' if self.write else 'read'}{' FUA' if self.fua else ''}, depth {self.depth}"

    def words(self):
        return [*super().words(), *(["--fua"] if self.fua else [])]


SIZES = (4096, 65536, MEBIBYTE)
CASES = [*(Case(write, size, depth) for size in SIZES for write in (False, True) for depth in (1, 32)),
         *(Case(True, 4096, depth, True) for depth in (1, 32))]
QUICK = [Case(False, 4096, 32), Case(True, 4096, 32, True)]
WARMUP_S = 0.3
LONG_S = 2


def file_bench(options, image, region, case, seconds, prefix):
    return client(options, "file_bench", f"file:{image}", "--region", region, "--seconds", seconds,
                  "--warmup", 0 if options.quick else WARMUP_S, *case.words(), prefix=prefix)


def fio(options, image, region, case, engine, seconds, prefix):
    """Figures as file_bench has them. fio's threads begin to measure when each gets a processor, and the longest of
    their times counts: 32 of them on one processor in a quarter of a second had up to 1.4 times what they have in four
    seconds, and in two."""
    many = ["--thread", f"--numjobs={case.depth}"] if engine == "psync" else [f"--iodepth={case.depth}"]
    # In milliseconds: fio takes half a second for none, and then writes the whole file.
    runtime, warmup = (f"{each * 1000:.0f}ms" for each in (seconds, 0 if options.quick else WARMUP_S))
    command = [*prefix, tool("fio"), "--name=bench", f"--filename={image}", f"--size={region}", f"--bs={case.size}",
               f"--rw={'randwrite' if case.write else 'randread'}", f"--ioengine={engine}", *many, "--group_reporting",
               "--time_based", f"--runtime={runtime}", f"--ramp_time={warmup}", "--norandommap",
               "--gtod_reduce=1", "--invalidate=0", "--fallocate=none", *(["--fdatasync=1"] if case.fua else []),
               "--output-format=json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    figures = job["write" if case.write else "read"]
    return {"iops": figures["iops"], "mb_s": figures["bw_bytes"] / 1e6}


def programs(options, place, image, region, case, prefix):
    """{name: function} of those that are compared."""
    usual = max(options.seconds / 2, LONG_S if place == DISK else 0)
    of_threads = max(usual, LONG_S if case.depth > 1 else 0)
    variants = {"odxd": lambda: file_bench(options, image, region, case, usual, prefix),
                "psync": lambda: fio(options, image, region, case, "psync", of_threads, prefix)}
    if not case.fua:  # a queue does not say which of its writes a flush comes after
        variants["io_uring"] = lambda: fio(options, image, region, case, "io_uring", usual, prefix)
    return variants


def beside_fio(options, report, place, image, where, prefix):
    region = REGION // 8 if options.quick else REGION
    report.section(f"A file on {place} and fio, {where}", BESIDE_FIO)
    table = report.table("Case", "thousand I/O per s", "MB/s", "CPU of odxd per I/O, us", "odxd : psync",
                         "odxd : io_uring")
    ratios = {"psync": {}, "io_uring": {}}
    cases = QUICK if options.quick else CASES
    for case in [case for case in cases if options.only in str(case) and (place != DISK or case.fua)]:
        variants = programs(options, place, image, region, case, prefix)
        figures = in_turn(options, variants)
        for name in variants.keys() - {"odxd"}:
            ratios[name][case] = ratio(figures["odxd"], figures[name])
        table.row(case, " / ".join(f"{each['iops'] / 1000:.1f}" for each in figures.values()),
                  " / ".join(f"{each['mb_s']:.0f}" for each in figures.values()), f"{figures['odxd']['cpu_us']:.1f}",
                  ratios["psync"][case], ratios["io_uring"].get(case, "-"), figures=figures)
    for name, of_cases in ratios.items():
        if not of_cases:
            continue
        lowest = min(of_cases, key=lambda case: of_cases[case].value)
        held = sum(each.value >= HELD for each in of_cases.values())
        report.goal(f"file on {place}, {where}, odxd : fio {name}; {held} of {len(of_cases)} cases held, the lowest is "
                    f"{lowest}", of_cases[lowest], at_least=HELD)


ISCSI_CASES = [Case(write, size, depth) for size, depth in ((4096, 1), (4096, 32), (65536, 16), (MEBIBYTE, 8))
               for write in (False, True)]


def over_iscsi(options, report, place, folder):
    size = REGION // 8 if options.quick else REGION
    files = [f"file:{new_image(folder / name, size)}" for name in ("odxd", "tgtd")]
    servers = {}
    try:
        servers["file"] = Server("odxd-file", [options.odxd], files[0])
        servers["memory"] = Server("odxd-memory", [options.odxd], "memory:1G")
        servers["tgtd"] = Server("tgtd-file", [BENCH / "tgtd_target"], files[1])
        servers["null"] = Server("null", [options.build / "test/bench/null_target"], "memory:1G")
        fill(options, servers["memory"].url)
        report.section(f"A file on {place} over iSCSI", OVER_ISCSI)
        table = report.table("Case", "thousand I/O per s", "p50-p99, us", "server CPU per I/O, us", "file : memory",
                             "file : tgtd", "file : null")
        for case in ISCSI_CASES[2:3] if options.quick else ISCSI_CASES:
            if options.only not in str(case):
                continue
            figures = in_turn(options, {name: lambda s=server, c=case: io_bench(options, s, *c.words())
                                        for name, server in servers.items()})
            ours = figures["file"]["iops"]
            table.row(case, " / ".join(f"{each['iops'] / 1000:.1f}" for each in figures.values()),
                      " / ".join(f"{each['p50_us']:.0f}-{each['p99_us']:.0f}" for each in figures.values()),
                      " / ".join(f"{each['server_cpu_us']:.1f}" for each in figures.values()),
                      *(f"{ours / figures[name]['iops']:.2f}" for name in ("memory", "tgtd", "null")), figures=figures)
    finally:
        for server in servers.values():
            server.stop()


FLUSHED = (("4 KiB write FUA", ["--write", "--fua"]), ("SYNCHRONIZE CACHE", ["--synchronize"]))


def shared_flushes(options, report, folder):
    slow = ("env", f"LD_PRELOAD={options.build / 'test/bench/slow_flush.so'}", f"SLOW_FLUSH_US={FLUSH_US}")
    files = [f"file:{new_image(folder / name, REGION // 8)}" for name in ("slow-odxd", "slow-tgtd")]
    servers = {}
    try:
        servers["odxd"] = Server("odxd-slow", [options.odxd], files[0], prefix=slow)
        servers["tgtd"] = Server("tgtd-slow", [BENCH / "tgtd_target"], files[1], prefix=slow)
        report.section("Flushes that are shared", SHARED_FLUSHES)
        table = report.table("Case", "I/O per s", "p50-p99, us", "times depth 1")
        for name, words in FLUSHED[:1] if options.quick else FLUSHED:
            alone = None
            for depth in (1, 32) if options.quick else (1, 8, 32):
                figures = in_turn(options, {server: lambda s=server, w=words, d=depth: io_bench(
                    options, servers[s], "--depth", d, *w) for server in servers})
                alone = alone or figures
                times = {server: figures[server]["iops"] / alone[server]["iops"] for server in servers}
                table.row(f"{name}, depth {depth}", " / ".join(f"{each['iops']:.0f}" for each in figures.values()),
                          " / ".join(f"{each['p50_us']:.0f}-{each['p99_us']:.0f}" for each in figures.values()),
                          " / ".join(f"{each:.1f}" for each in times.values()), figures=figures)
            report.goal(f"{name}, flush of {FLUSH_US / 1000:g} ms, depth 32 : depth 1", times["odxd"], at_least=SHARED)
    finally:
        for server in servers.values():
            server.stop()


def run(options, report):
    size = REGION // 8 if options.quick else REGION
    for kind in QUICK_PLACES if options.quick else PLACES:
        try:
            with place(kind, 8 * REGION) as folder:
                measure(options, report, kind, folder, size)
        except NoMount as reason:
            print(f"\nNo file on {kind}: {reason}.")
        except NoMkfs as reason:
            raise Failed(str(reason)) from reason


def measure(options, report, kind, folder, size):
    image = new_image(folder / "image", size)
    beside_fio(options, report, kind, image, "unpinned", ())
    if not options.quick:
        beside_fio(options, report, kind, image, "all on one CPU", ONE_CPU)
    image.unlink()
    if kind in (QUICK_PLACES[:1] if options.quick else BY_ISCSI):
        over_iscsi(options, report, kind, folder)
    if kind == "tmpfs":
        shared_flushes(options, report, folder)
