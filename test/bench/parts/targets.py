"""Reads and writes of odxd, Debian's tgtd on tmpfs and a null target: unpinned, and all on one CPU.

The three run at the same time and are measured in turn. All have the keys that odxd negotiates and its socket options;
the null target logs in and answers READ and WRITE from memory: it is what client and network allow.
"""
from dataclasses import dataclass

from frame import BENCH, ONE_CPU, Server, fill, in_turn, io_bench, named, plot, ratio

STORE = "memory:1G"
NAMES = ("odxd", "tgtd", "null")
HELD = 0.85
# Microseconds of the server's processor for each 4 KiB at depth 32.
MOST_CPU_US = {False: 3.5, True: 5.0}


@dataclass(frozen=True)
class Case:
    """One line of a table: what is asked of each target."""
    write: bool
    size: int
    sessions: int
    depth: int

    @property
    def sequential(self):
        return self.size > 4096

    def __str__(self):
        pattern = "sequential" if self.sequential else "random"
        sessions = f", {self.sessions} sessions" if self.sessions > 1 else ""
        return f"{named(self.size)} {pattern} {'write' if self.write else 'read'}, depth {self.depth}{sessions}"

    def words(self):
        return [*(["--write"] if self.write else []), *(["--sequential"] if self.sequential else []),
                "--size", self.size, "--sessions", self.sessions, "--depth", self.depth]

    def held(self, pinned):
        """Whether the ratio to the null target is one we mean to hold."""
        return pinned or self.depth > 1 or self.size > 4096


SHAPES = ((4096, 1, 1), (4096, 1, 32), (4096, 1, 128), (4096, 4, 1), (4096, 4, 32), (4096, 4, 128),
          (65536, 1, 1), (65536, 1, 16), (65536, 4, 4), (1 << 20, 1, 1), (1 << 20, 1, 8), (1 << 20, 4, 2))
CASES = [Case(write, *shape) for shape in SHAPES for write in (False, True)]
QUICK = [Case(False, 4096, 1, 32), Case(True, 4096, 4, 8), Case(True, 1 << 20, 1, 8)]


def row(table, case, figures):
    def each(text):
        return " / ".join(text(figures[name]) for name in NAMES)

    table.row(case, each(lambda f: f"{f['iops'] / 1000:.1f}"), each(lambda f: f"{f['mb_s']:.0f}"),
              each(lambda f: f"{f['p50_us']:.0f}-{f['p99_us']:.0f}"), each(lambda f: f"{f['server_cpu_us']:.1f}"),
              ratio(figures["odxd"], figures["null"]), f"{ratio(figures['odxd'], figures['tgtd']).value:.2f}",
              figures=figures)


def compare(options, report, place, prefix):
    """One table; the figures of each case."""
    commands = {"odxd": [options.odxd], "tgtd": [BENCH / "tgtd_target"],
                "null": [options.build / "test/bench/null_target"]}
    results = {}
    servers = []
    try:
        for name in NAMES:
            servers.append(Server(name, commands[name], STORE, prefix=prefix))
            fill(options, servers[-1].url)
        report.section(f"odxd, tgtd and the null target, {place}", f"Each cell: {' / '.join(NAMES)}.")
        table = report.table("Case", "thousand I/O per s", "MB/s", "p50-p99, us", "server CPU per I/O, us",
                             "odxd : null", "odxd : tgtd")
        for case in QUICK if options.quick else CASES:
            if options.only not in str(case):
                continue
            figures = in_turn(options, {server.name: lambda s=server: io_bench(options, s, *case.words(), prefix=prefix)
                                        for server in servers})
            row(table, case, figures)
            results[case] = figures
            if case.held(bool(prefix)):
                report.goal(f"{case}, {place}, odxd : null", ratio(figures["odxd"], figures["null"]), at_least=HELD)
            if (case.size, case.depth) == (4096, 32):
                report.goal(f"{case}, {place}, server CPU", figures["odxd"]["server_cpu_us"],
                            at_most=MOST_CPU_US[case.write], unit="us")
    finally:
        for server in servers:
            server.stop()
    return results


def draw(path, results, place):
    """Bars of the three targets' I/O per second, relative to the null target's."""
    lines = "".join('"{}" {}\n'.format(str(case).replace(" sequential", "").replace(" random", ""), " ".join(
        f"{figures[name]['iops'] / figures['null']['iops']:.3f}" for name in NAMES))
                    for case, figures in results.items())
    plot(path, f"""$data << EOD
{lines}EOD
set style data histogram
set style histogram clustered gap 1
set bmargin 11
set xtics rotate by -45 noenhanced font ',9'
set yrange [0:*]
set ylabel 'I/O per second, null target = 1'
set title 'Memory LUN, {place}'
set key top left horizontal
plot $data using 2:xtic(1) title 'odxd' linecolor rgb '#2060a0', \\
  '' using 3 title 'tgtd' linecolor rgb '#c08030', '' using 4 title 'null target' linecolor rgb '#b0b0b0'
""")


def run(options, report):
    for name, place, prefix in (("unpinned", "unpinned", ()), ("one-cpu", "client and server on one CPU", ONE_CPU)):
        results = compare(options, report, place, prefix)
        if options.plots and results:
            draw(options.plots / f"targets-{name}.svg", results, place)
