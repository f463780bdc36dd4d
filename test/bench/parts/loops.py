"""One event loop and two, four sessions of a client that leaves most of two processors to odxd; and what loops share.

light_bench sends batches that it made before and drops the answers in the kernel; libiscsi as the client would use more
of two processors than odxd does, so that a second loop had nothing to run on. Where the first table shows no idle
processor with one loop, there is nothing that a second one could gain here.

What is shared is counted in odxd as it runs, with a library loaded before it (test/bench/lock_counter.cc). Counts hold
for more processors than there are; with more loops than processors the waits are for those that have the turn and no
processor.
"""
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from frame import ONE_CPU, REGION, TMPFS, Asked, Server, fill, in_turn, io_bench, named, ratio

MEMORY, FILE = LUNS = range(2)
LOOPS_THAT_SHARE = (1, 2, 4)
OTHER_CPU = ("taskset", "-c", "1")
PROCESSORS = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Shape(Asked):
    """What each session asks for."""
    lun: int = MEMORY

    def __str__(self):
        return (f"{named(self.size)} random {'write' if self.write else 'read'}"
                f"{' of a file' if self.lun == FILE else ''}, depth {self.depth}")


SHAPES = (Shape(False, 4096, 32), Shape(True, 4096, 32), Shape(False, 4096, 8), Shape(True, 4096, 8),
          Shape(False, 65536, 4), Shape(True, 65536, 4), Shape(False, 4096, 32, FILE), Shape(False, 65536, 4, FILE))


def url_of(server, lun):
    return f"{server.url.rpartition('/')[0]}/{lun}"


def begin(options, stack, name, threads, prefix=()):
    """odxd with so many loops, a LUN in memory and one in a file on tmpfs, both written."""
    image = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="odx-loops-", dir=TMPFS))) / "image"
    server = stack.enter_context(Server(f"{name}-{threads}", [options.odxd], "--threads", threads, "memory:1G",
                                        f"file:{image},size={REGION}", prefix=prefix))
    for lun in LUNS:
        fill(options, url_of(server, lun))
    return server


def light_bench(options, server, shape, *words, prefix=()):
    return io_bench(options, server, *shape.words(), *words, prefix=prefix, url=url_of(server, shape.lun),
                    name="light_bench")


def cell(figures, text):
    """What each of several loops has."""
    return " / ".join(text(each) for each in figures.values())


def one_and_two(options, report, shapes):
    report.section("One and two event loops",
                   "Four sessions of light_bench. Each cell: one loop / two. The last column is what two loops would "
                   "have with all processors busy, and a command as dear to client and server as with one.")
    with ExitStack() as stack:
        servers = {threads: begin(options, stack, "odxd", threads) for threads in (1, 2)}
        table = report.table("Case", "thousand I/O per s", "server CPU per I/O, us", "client CPU per I/O, us",
                             "processors used by the server", "by the client", "by nobody", "two : one",
                             "at most, if a command costs the same")
        for shape in shapes:
            figures = in_turn(options, {threads: lambda s=server: light_bench(options, s, shape)
                                        for threads, server in servers.items()})
            gain = ratio(figures[2], figures[1])
            both = figures[1]["server_cpu_us"] + figures[1]["client_cpu_us"]
            most = PROCESSORS * 1e6 / both / figures[1]["iops"]
            table.row(shape, cell(figures, lambda f: f"{f['iops'] / 1000:.1f}"),
                      *(cell(figures, lambda f, key=key: f"{f[key]:.2f}")
                        for key in ("server_cpu_us", "client_cpu_us", "server_cpus", "client_cpus", "idle_cpus")),
                      gain, f"{most:.2f}", figures=figures)
            report.goal(f"{shape}, four sessions, two loops : one", gain, at_least=1)


class Counted:
    """odxd with so many loops, and with the counter of mutexes."""

    def __init__(self, options, threads, stack, prefix=()):
        self.options = options
        self.file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="odx-locks-"))) / "locks"
        environment = (f"ODX_LOCKS_FILE={self.file}", f"LD_PRELOAD={options.build}/test/bench/liblock_counter.so")
        self.server = begin(options, stack, "locks", threads, ("env", *environment, *prefix))

    def run(self, shape, *words, prefix=()):
        return light_bench(self.options, self.server, shape, "--locks", self.file, *words, prefix=prefix)


def shared(options, report, shapes):
    """Returns the processor time of a command with one loop, in microseconds, for each shape."""
    report.section("What event loops share", "For each command, four sessions of light_bench. Each cell: "
                   f"{' / '.join(map(str, LOOPS_THAT_SHARE))} loops.")
    whole = {}
    with ExitStack() as stack:
        servers = {threads: Counted(options, threads, stack) for threads in LOOPS_THAT_SHARE}
        table = report.table("Case", "the turn's mutex taken", "had to wait for it", "waited, us", "loops slept",
                             "loops were preempted")
        for shape in shapes:
            figures = in_turn(options, {threads: lambda s=server: s.run(shape) for threads, server in servers.items()})
            whole[shape] = figures[1]["server_cpu_us"]
            table.row(shape, *(cell(figures, lambda f, key=key, digits=digits: f"{f[key]:.{digits}f}")
                               for key, digits in (("locks", 3), ("lock_waits", 4), ("lock_waited_us", 3), ("slept", 3),
                                                   ("preempted", 4))), figures=figures)
    return whole


def more_processors(options, report, whole):
    report.section("What the turn leaves to more processors",
                   "One session of light_bench, two loops: the mutex is taken, and nobody else wants it; odxd and "
                   "client have a processor each. Turns follow each other without a pause where loops do one command "
                   "in the time that each has the turn; so many loops are busy then.")
    with ExitStack() as stack:
        server = Counted(options, 2, stack, ONE_CPU)
        table = report.table("Case", "in the turn, us", "server CPU with one loop, us", "loops that can be busy",
                             "thousand I/O per s at most")
        for shape, cpu in whole.items():
            words = ("--sessions", 1)
            figures = in_turn(options, {2: lambda: server.run(shape, *words, prefix=OTHER_CPU)})[2]
            turn = figures["lock_held_us"]
            table.row(shape, f"{turn:.2f}", f"{cpu:.2f}", f"{cpu / turn:.1f}", f"{1000 / turn:.0f}", figures=figures)


def run(options, report):
    shapes = SHAPES[:1] if options.quick else [shape for shape in SHAPES if options.only in str(shape)]
    one_and_two(options, report, shapes)
    more_processors(options, report, shared(options, report, shapes))
