"""What the parts of scripts/bench share: targets, clients, measuring in turn, and the report.

A part is a module in test/bench/parts with a docstring and a function run(options, report). It measures, and raises
Failed when something does not work. No figure fails anything: what we mean to hold is written down with
Report.goal(), and printed as held or not.
"""
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

BENCH = Path(__file__).resolve().parent
sys.path.insert(0, str(BENCH.parent / "interop"))
from harness import Failed, Target, tool  # noqa: E402

KIBIBYTE, MEBIBYTE, GIBIBYTE = 1 << 10, 1 << 20, 1 << 30
REGION = 256 * MEBIBYTE
ONE_CPU = ("taskset", "-c", "0")
TMPFS = "/dev/shm"


def named(size):
    return f"{size >> 20} MiB" if size >= MEBIBYTE else f"{size >> 10} KiB"


@dataclass(frozen=True)
class Asked:
    """What a logical unit is asked for: reads or writes of so many bytes, so many under way."""
    write: bool
    size: int
    depth: int

    def __str__(self):
        return f"{named(self.size)} {'write' if self.write else 'read'}, depth {self.depth}"

    def words(self):
        return ["--size", self.size, "--depth", self.depth, *(["--write"] if self.write else [])]


@dataclass
class Options:
    """How to measure. `plots` is a folder or None; `only` limits a part's cases to those whose text has it."""
    build: Path
    odxd: Path
    odx: Path
    runs: int = 5
    seconds: float = 1
    only: str = ""
    quick: bool = False
    plots: Path | None = None


class Server:
    """A running target with its process id; `prefix` is a command to run it by, such as ONE_CPU."""

    def __init__(self, name, command, *arguments, prefix=(), config=None):
        self.name = name
        portal = ["--portal", "127.0.0.1:0"]
        if config:
            self._config = tempfile.NamedTemporaryFile("w", prefix=f"odx-bench-{name}-", suffix=".toml")
            self._config.write(config)
            self._config.flush()
            portal = ["--config", self._config.name]
        self.target = Target([*prefix, *map(str, command)], f"bench-{name}", *portal, *map(str, arguments))
        self.urls = self.target.urls
        self.url = self.urls[0] if self.urls else None
        named = [line for line in self.target.lines if line.startswith("pid ")]
        self.pid = int(named[0].split()[1]) if named else self.target.process.pid

    def stop(self):
        self.target.stop(30)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        elif self.target.alive():
            self.target.kill()


def client(options, name, *words, prefix=(), timeout=600):
    """Runs a program of test/bench; its line of JSON as a dict."""
    command = [*prefix, str(options.build / "test/bench" / name), *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout,
                          check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def io_bench(options, server, *words, prefix=(), url=None, name="io_bench"):
    """One measurement of `options.seconds`."""
    return client(options, name, url or server.url, "--region", REGION, "--server-pid", server.pid, "--seconds",
                  options.seconds, *words, prefix=prefix)


def fill(options, url, region=REGION):
    """So that no block is met for the first time while measuring."""
    client(options, "io_bench", url, "--region", region, "--fill", "--size", MEBIBYTE, "--depth", 4)


def medians(runs):
    """Of each figure; "runs" has all of them."""
    return {**{key: statistics.median(run[key] for run in runs) for key in runs[0]}, "runs": runs}


@dataclass(frozen=True)
class Ratio:
    """A figure of one variant by another's, measured in turn: the median of the rounds' ratios, and their extremes."""
    value: float
    least: float
    most: float

    def __str__(self):
        return f"{self.value:.2f} ({self.least:.2f}-{self.most:.2f})"


def ratio(ours, others, key="iops"):
    """Round by round, of two of the figures that in_turn() gives."""
    each = [one[key] / other[key] for one, other in zip(ours["runs"], others["runs"])]
    return Ratio(statistics.median(each), min(each), max(each))


def in_turn(options, variants):
    """{name: medians} of `options.runs` calls of each of {name: function}, in turn, so that a slow minute of the
    machine hits all of them; every other round goes backwards."""
    runs = {name: [] for name in variants}
    for at in range(options.runs):
        order = list(variants) if at % 2 == 0 else list(reversed(variants))
        for name in order:
            runs[name].append(variants[name]())
    return {name: medians(figures) for name, figures in runs.items()}


def memory_mib(pid):
    """What of a process is resident."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    resident = next((line for line in status if line.startswith("VmRSS:")), None)
    if not resident:
        raise Failed(f"process {pid} is gone")
    return int(resident.split()[1]) / 1024


def machine():
    """The machine in a few words."""
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} virtual CPUs ({model}), Linux {platform.release()}"


@dataclass
class Table:
    """Rows go to standard output as they come, and into the report's JSON."""
    columns: tuple
    rows: list = field(default_factory=list)

    def __post_init__(self):
        print("| " + " | ".join(self.columns) + " |\n|" + " --- |" * len(self.columns), flush=True)

    def row(self, *cells, **figures):
        """The cells as they are printed; the figures with all their digits, for programs."""
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        self.rows.append({"cells": list(map(str, cells)), **figures})


class Report:
    """Collects what all parts measured."""

    def __init__(self):
        self.sections = []
        self.goals = []

    def section(self, title, text=""):
        """What was said above another one is not said again."""
        text = "" if any(each["text"] == text for each in self.sections) else text
        print(f"\n## {title}" + (f"\n\n{text}" if text else ""), flush=True)
        self.sections.append({"title": title, "text": text, "tables": []})

    def table(self, *columns):
        print()
        table = Table(columns)
        self.sections[-1]["tables"].append(table)
        return table

    def goal(self, what, value, at_least=None, at_most=None, unit=""):
        """What we mean to hold, and what was measured: a number, or a Ratio."""
        spread = value if isinstance(value, Ratio) else None
        value = spread.value if spread else value
        held = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        rule = f"at least {at_least:g}" if at_most is None else f"at most {at_most:g}"
        self.goals.append({"what": what, "value": value, "rule": f"{rule} {unit}".strip(), "unit": unit, "held": held,
                           **({"least": spread.least, "most": spread.most} if spread else {})})

    def print_goals(self):
        if not self.goals:
            return
        print("\n## What we hold\n\n| What | we hold | measured | |\n| --- | --- | --- | --- |")
        for goal in self.goals:
            value = f"{goal['value']:.3g} {goal['unit']}".strip()
            if "least" in goal:
                value += f" ({goal['least']:.2f}-{goal['most']:.2f})"
            print(f"| {goal['what']} | {goal['rule']} | {value} | {'held' if goal['held'] else '**not held**'} |")

    def as_json(self, options):
        return {"machine": machine(), "runs": options.runs, "seconds": options.seconds, "goals": self.goals,
                "sections": [{**section, "tables": [{"columns": table.columns, "rows": table.rows}
                                                    for table in section["tables"]]} for section in self.sections]}


def plot(path, script):
    """Runs gnuplot on a script that draws to standard settings, as SVG."""
    head = (f"set terminal svg size 900,480 font 'sans-serif,13' background 'white'\nset output '{path}'\n"
            "set grid\nset style fill solid 0.8\n")
    subprocess.run([tool("gnuplot")], input=head + script, text=True, check=True)
