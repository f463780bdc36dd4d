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
from pathlib import Path

from frame import ONE_CPU, Server, fill, in_turn, io_bench

SHAPES = ((False, 4096, 32), (True, 4096, 32), (False, 4096, 8), (True, 4096, 8), (False, 65536, 4), (True, 65536, 4))
LOOPS_THAT_SHARE = (1, 2, 4)
OTHER_CPU = ("taskset", "-c", "1")
PROCESSORS = len(os.sched_getaffinity(0))


def case_name(write, size, depth):
    return f"{size >> 10} KiB random {'write' if write else 'read'}, depth {depth}"


def words_of(write, size, depth):
    return ["--size", size, "--depth", depth, *(["--write"] if write else [])]


def cell(figures, text):
    """What each of several loops has."""
    return " / ".join(text(each) for each in figures.values())


def one_and_two(options, report, shapes):
    report.section("One and two event loops",
                   "Four sessions of light_bench. Each cell: one loop / two. The last column is what two loops could "
                   "have at most: all processors busy, and a command no dearer to client and server than with one.")
    with ExitStack() as stack:
        servers = {threads: stack.enter_context(Server(f"odxd-{threads}", [options.odxd], "--threads", threads,
                                                       "memory:1G")) for threads in (1, 2)}
        for server in servers.values():
            fill(options, server.url)
        table = report.table("Case", "thousand I/O per s", "server CPU per I/O, us", "client CPU per I/O, us",
                             "processors used by the server", "by the client", "by nobody", "two : one", "at most")
        for shape in shapes:
            figures = in_turn(options, {threads: lambda s=server: io_bench(options, s, *words_of(*shape),
                                                                           name="light_bench")
                                        for threads, server in servers.items()})
            ratio = figures[2]["iops"] / figures[1]["iops"]
            both = figures[1]["server_cpu_us"] + figures[1]["client_cpu_us"]
            most = PROCESSORS * 1e6 / both / figures[1]["iops"]
            table.row(case_name(*shape), cell(figures, lambda f: f"{f['iops'] / 1000:.1f}"),
                      *(cell(figures, lambda f, key=key: f"{f[key]:.2f}")
                        for key in ("server_cpu_us", "client_cpu_us", "server_cpus", "client_cpus", "idle_cpus")),
                      f"{ratio:.2f}", f"{most:.2f}", figures=figures)
            report.goal(f"{case_name(*shape)}, four sessions, two loops : one", ratio, at_least=1)


class Counted:
    """odxd with so many loops, and with the counter of mutexes."""

    def __init__(self, options, threads, stack, prefix=()):
        self.options = options
        self.file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="odx-locks-"))) / "locks"
        environment = (f"ODX_LOCKS_FILE={self.file}", f"LD_PRELOAD={options.build}/test/bench/liblock_counter.so")
        self.server = stack.enter_context(Server(f"locks-{threads}", [options.odxd], "--threads", threads, "memory:1G",
                                                 prefix=("env", *environment, *prefix)))
        fill(options, self.server.url)

    def run(self, shape, *words, prefix=()):
        return io_bench(self.options, self.server, *words_of(*shape), "--locks", self.file, *words, prefix=prefix,
                        name="light_bench")


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
            table.row(case_name(*shape), *(cell(figures, lambda f, key=key, digits=digits: f"{f[key]:.{digits}f}")
                                           for key, digits in (("locks", 3), ("lock_waits", 4), ("lock_waited_us", 3),
                                                               ("slept", 3), ("preempted", 4))), figures=figures)
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
            table.row(case_name(*shape), f"{turn:.2f}", f"{cpu:.2f}", f"{cpu / turn:.1f}", f"{1000 / turn:.0f}",
                      figures=figures)


def run(options, report):
    shapes = SHAPES[:1] if options.quick else [shape for shape in SHAPES if options.only in case_name(*shape)]
    one_and_two(options, report, shapes)
    more_processors(options, report, shared(options, report, shapes))
