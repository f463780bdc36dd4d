"""What a READ or WRITE asks of the processor: allocations, copied bytes, locks, system calls, and instructions.

The first table counts in odxd as it runs, with a library loaded before it (test/bench/cost_counter.cc). What a small
write brings is copied once, from where it was received into the store; a large one is received in memory that the store
takes over. The second is from callgrind: instructions in user space for each command, as the difference
between many commands and few, so that logging in does not count; with what can be switched on beside it.
"""
import re
import subprocess
import tempfile
from pathlib import Path

from features import PLAIN, VARIANTS, config_of
from frame import Asked, Failed, Server, fill, client, io_bench, tool

CASES = [Asked(write, size, depth) for size, depth in ((4096, 32), (65536, 16), (1 << 20, 8), (4096, 1))
         for write in (False, True)]


def counts(options, report):
    report.section("What a command asks for",
                   "For each command, once warm. One event loop, a memory LUN.")
    table = report.table("Case", "allocations", "bytes copied by bytes of data", "mutexes locked", "receives", "sends",
                         "waits")
    with tempfile.TemporaryDirectory(prefix="odx-cost-") as folder:
        file = Path(folder) / "costs"
        environment = (f"ODX_COST_FILE={file}", f"LD_PRELOAD={options.build}/test/bench/libcost_counter.so")
        with Server("cost", [options.odxd], "--threads", 1, "memory:1G", prefix=("env", *environment)) as server:
            fill(options, server.url)
            for case in CASES[:2] if options.quick else CASES:
                figures = io_bench(options, server, "--costs", file, *case.words())
                copied = figures["copied_bytes"] / case.size
                table.row(case, f"{figures['allocations']:.4f}", f"{copied:.3f}", f"{figures['locks']:.2f}",
                          f"{figures['receives']:.2f}", f"{figures['sends']:.2f}", f"{figures['waits']:.2f}",
                          figures=figures)
                report.goal(f"{case}, allocations", figures["allocations"], at_most=0.0005)
                report.goal(f"{case}, mutexes locked", figures["locks"], at_most=0.0005)
                report.goal(f"{case}, copied bytes by bytes of data", copied, at_most=0.0005)


class Callgrind:
    """odxd under callgrind, which dumps its counters when asked."""

    def __init__(self, options, name, config):
        self.folder = tempfile.TemporaryDirectory(prefix="odx-callgrind-")
        self.file = Path(self.folder.name) / "out"
        self.dumps = 0
        command = (tool("valgrind"), "--quiet", "--tool=callgrind", f"--callgrind-out-file={self.file}")
        self.server = Server(f"callgrind-{name}", [options.odxd], "--threads", 1, prefix=command, config=config)

    def instructions(self):
        """Since this was asked last."""
        subprocess.run([tool("callgrind_control"), "--dump", str(self.server.pid)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.dumps += 1
        text = Path(f"{self.file}.{self.dumps}").read_text(encoding="utf-8")
        found = re.search(r"^totals: (\d+)", text, re.M)
        if not found:
            raise Failed(f"{self.file}.{self.dumps}: callgrind wrote no totals")
        return int(found.group(1))

    def __enter__(self):
        return self

    def __exit__(self, *arguments):
        self.server.__exit__(*arguments)
        self.folder.cleanup()


def per_command(options, callgrind, url, words, count):
    def run(how_many):
        callgrind.instructions()
        client(options, "io_bench", url, "--region", 16 << 20, "--count", how_many, *words)
        return callgrind.instructions()

    run(count)  # warm
    few, many = run(count), run(3 * count)
    return (many - few) / (2 * count)


def instructions(options, report):
    count = 200 if options.quick else 4000
    report.section("Instructions of odxd for each command", "In user space, by callgrind, 4 KiB, depth 32, one loop.")
    table = report.table("odxd with", "a read", "a write", "read : plain", "write : plain")
    plain = None
    with tempfile.TemporaryDirectory(prefix="odx-cost-") as folder:
        for name in (PLAIN, "a journal") if options.quick else VARIANTS:
            config, url_of = config_of(name, Path(folder))
            with Callgrind(options, re.sub(r"\W+", "-", name), config) as callgrind:
                url = url_of(callgrind.server.url)
                fill(options, url, 16 << 20)
                read, write = (per_command(options, callgrind, url, ["--size", 4096, "--depth", 32, *more], count)
                               for more in ([], ["--write"]))
            plain = plain or (read, write)
            ratios = read / plain[0], write / plain[1]
            table.row(name, f"{read:.0f}", f"{write:.0f}", *(f"{ratio:.3f}" for ratio in ratios), read=read,
                      write=write)
            if name != PLAIN:
                report.goal(f"instructions for a 4 KiB command with {name} : plain", max(ratios), at_most=1.02)


def run(options, report):
    counts(options, report)
    instructions(options, report)
