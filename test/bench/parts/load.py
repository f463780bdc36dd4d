"""How much clients that do harm hurt a session beside them, and how much memory they make odxd hold.

The victim reads 4 KiB at random, one at a time. Each kind of disturbance (test/bench/disturb --list) runs in a process
of its own. odxd and the victim share CPU 0, the disturber has CPU 1; both raise their descriptor limit as far as they
may. What fails the part is when odxd does not serve the victim, does not go on afterwards or does not give descriptors
back.
"""
import os
import resource
import statistics
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from beside import TOGETHER, Beside, Disturber
from frame import BENCH, ONE_CPU, Failed, Server, fill, memory_mib

KINDS = ("busy-neighbour", "slow-readers", "never-readers", "stalled-writers", "slow-logins", "login-flood",
         "connection-flood", "garbage", "many-sessions")
CONFIG = """\
log_level = "error"
memory_limit = "2G"
[[portal]]
listen = "127.0.0.1:0"
[iscsi]
max_sessions = 30000
max_connections = 30000
[[target]]
name = "iqn.2026-01.example.odx:load"
[[target.lun]]
store = "memory:1G"
[[target.lun]]
store = "file:{image},size=256M"
"""
MOST_P99 = 3  # times undisturbed


@dataclass
class Outcome:
    """Of one kind: the victim with and without it, memory of odxd in MiB."""
    beside: Beside = field(default_factory=lambda: Beside(TOGETHER))
    memory_mib: list = field(default_factory=list)
    grown_mib: list = field(default_factory=list)
    did: dict = field(default_factory=dict)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def measure(options, server, kind, outcome):
    before = descriptors(server.pid)
    memory_before = memory_mib(server.pid)

    def disturb():
        disturber = Disturber(BENCH / "disturb", kind, server.url, *(["--count", 20] if options.quick else []))

        def end():
            outcome.memory_mib.append(memory_mib(server.pid))
            outcome.grown_mib.append(outcome.memory_mib[-1] - memory_before)
            did = disturber.stop()
            seconds = did.pop("seconds")
            for what, count in did.items():
                outcome.did.setdefault(what, []).append(count if what == "sessions" else count / seconds)
        return end

    outcome.beside.measure(options, server.url, server.pid, running=disturb)
    if descriptors(server.pid) > before + 16:
        raise Failed(f"after {kind} odxd holds {descriptors(server.pid)} descriptors, before it {before}")


def row(table, report, kind, outcome):
    did = ", ".join(f"{statistics.median(values):,.0f} {what}{'' if what == 'sessions' else '/s'}"
                    for what, values in outcome.did.items())
    table.row(kind, did or "-", *outcome.beside.cells(), f"{max(outcome.memory_mib):.0f}",
              f"{max(outcome.grown_mib):.1f}", outcome=asdict(outcome))
    report.goal(f"p99 of a session beside {kind}", outcome.beside.ratio(), at_most=MOST_P99, unit="times undisturbed")


def per_session(outcome):
    """The first run is the one that grows: later ones use its memory again."""
    return (f"Each idle session of many-sessions: {outcome.grown_mib[0] * 1024 / outcome.did['sessions'][0]:.1f} KiB. "
            f"Descriptor limit of odxd and of the disturber: {resource.getrlimit(resource.RLIMIT_NOFILE)[1]} each.")


def run(options, report):
    kinds = [kind for kind in KINDS if options.only in kind]
    outcomes = {kind: Outcome() for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="odx-load-") as folder:
        config = CONFIG.format(image=Path(folder) / "disk.img")
        with Server("load", [options.odxd], prefix=ONE_CPU, config=config) as server:
            for url in server.urls:
                fill(options, url)
            idle = memory_mib(server.pid)
            for _ in range(options.runs):
                for kind in kinds:
                    measure(options, server, kind, outcomes[kind])
            left = memory_mib(server.pid)
    report.section("Under load and attack",
                   "The victim: 4 KiB random reads, depth 1, of the LUN in memory that the disturber uses too. odxd "
                   f"held {idle:.0f} MiB when idle with its data, {left:.0f} MiB at the end.")
    if "sessions" in outcomes.get("many-sessions", Outcome()).did:
        print(per_session(outcomes["many-sessions"]))
    table = report.table("Beside it", "which does", *Beside.COLUMNS, "odxd, MiB", "more than before it, MiB")
    for kind in kinds:
        row(table, report, kind, outcomes[kind])
