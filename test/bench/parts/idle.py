"""odxd with nothing to do: memory, wake-ups and processor time, and how long its start takes until it is ready.

A wake-up is a context switch, voluntary or not, of any thread of the process. Sessions are logged in and silent; NOP-In
pings, which would wake it as often as they are configured, are off as they are by default.
"""
import statistics
import subprocess
import time
from pathlib import Path

from frame import Failed, Server, memory_mib
from wire import Session

MOST_RESIDENT_MIB = 30
MOST_START_MS = 100
SESSIONS = 10
STARTS = 4  # in each run
CONFIG = """\
[[portal]]
listen = "127.0.0.1:0"
[control]
listen = "127.0.0.1:0"
token = "not-a-secret-at-all"
[[target]]
name = "iqn.2026-01.example.odx:idle"
[[target.lun]]
store = "memory:64G"
"""


def threads(pid):
    return list(Path(f"/proc/{pid}/task").iterdir())


def wake_ups(pid):
    return sum(int(line.split()[1]) for thread in threads(pid)
               for line in (thread / "status").read_text(encoding="ascii").splitlines() if "ctxt_switches:" in line)


def cpu_ms(pid):
    return sum(int((thread / "schedstat").read_text(encoding="ascii").split()[0]) for thread in threads(pid)) / 1e6


def rest(server, seconds):
    """What it does while nobody asks anything."""
    time.sleep(0.3)  # what came before is over
    before = wake_ups(server.pid), cpu_ms(server.pid)
    time.sleep(seconds)
    return wake_ups(server.pid) - before[0], cpu_ms(server.pid) - before[1]


def row(report, table, what, server, seconds):
    wakes, cpu = rest(server, seconds)
    resident = memory_mib(server.pid)
    table.row(what, f"{resident:.1f}", len(threads(server.pid)), wakes, f"{cpu:.2f}",
              resident_mib=resident, wake_ups=wakes, cpu_ms=cpu)
    report.goal(f"{what}: resident", resident, at_most=MOST_RESIDENT_MIB, unit="MiB")
    report.goal(f"{what}: wake-ups in {seconds} s", wakes, at_most=0)


def memory_and_wake_ups(options, report):
    seconds = 1 if options.quick else 10
    report.section("odxd with nothing to do", f"{seconds} s each.")
    table = report.table("What", "resident, MiB", "threads", "wake-ups", "CPU, ms")
    with Server("idle", [options.odxd], "memory:1G") as server:
        row(report, table, "one memory LUN", server, seconds)
    with Server("idle-control", [options.odxd], config=CONFIG) as server:
        row(report, table, "control interface and journal", server, seconds)
        sessions = [Session(server.target, isid=b"\x80" + number.to_bytes(5, "big")).clear_unit_attentions()
                    for number in range(SESSIONS)]
        row(report, table, f"the same with {SESSIONS} silent sessions", server, seconds)
        for session in sessions:
            session.close()


def start_ms(options, words):
    """From the start of the process to its line "ready"."""
    started = time.monotonic()
    with subprocess.Popen([str(options.odxd), *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        ready = any(line == b"ready\n" for line in process.stdout)
        took = (time.monotonic() - started) * 1000
        process.terminate()
    if not ready:
        raise Failed(f"odxd {' '.join(words)} printed no ready line")
    return took


def starts(options, report):
    report.section("From the start to ready", f"Medians of {STARTS * options.runs} starts.")
    table = report.table("What", "ms", "slowest, ms")
    for what, words in (("one memory LUN", ["memory:1G"]), ("256 memory LUNs", ["memory:1G"] * 256)):
        times = [start_ms(options, ["--portal", "127.0.0.1:0", *words]) for _ in range(STARTS * options.runs)]
        median = statistics.median(times)
        table.row(what, f"{median:.1f}", f"{max(times):.1f}", ms=median)
        report.goal(f"start to ready, {what}", median, at_most=MOST_START_MS, unit="ms")


def run(options, report):
    memory_and_wake_ups(options, report)
    starts(options, report)
