"""Runs layers of tests for scripts/test, counts their cases, and prints the time each layer used of its budget.

A layer fails when a case fails, when a program dies without saying what it ran, or when it ran nothing.
"""
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Seconds a layer should take on two cores, building not counted. Printed, never enforced.
BUDGET_S = {"style": 10, "unit": 10, "sim": 60, "system": 240, "windows": 60,
            "interop": 300, "vm": 300, "vm-all": 1200, "asan": 300, "threads": 120, "tsan": 900,
            "fuzz": 90, "bench": 120}
FUZZ_SECONDS = 5
# By how much a test may take longer than in the folder "build" before it is stopped.
SLOWER = {"build-sanitize": 3, "build-tsan": 10}
# The system tests in which odxd, the one program with threads, uses most of them: workers, file stores, peers, signals.
# It has two event loops there, whatever the machine.
TESTS_OF_THREADS = ("odxd", "between_arrays", "online_changes", "threads")

# How the kinds of test programs we run say what they did.
DOCTEST = re.compile(r"\[doctest\] test cases: +\d+ \| +(\d+) passed \| +(\d+) failed \| +(\d+) skipped")
OWN = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
UNITTEST = re.compile(r"^Ran (\d+) tests? in .*\n\n(?:OK|FAILED)(?: \((.*)\))?$", re.M)


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def counted(output, status):
    """What a finished program ran, from its own words; a program that says nothing is one case."""
    if match := DOCTEST.search(output):
        tally = Tally(*map(int, match.groups()))
    elif match := UNITTEST.search(output):
        notes = dict(part.split("=") for part in (match.group(2) or "").split(", ") if "=" in part)
        failed = int(notes.get("failures", 0)) + int(notes.get("errors", 0))
        skipped = int(notes.get("skipped", 0))
        tally = Tally(int(match.group(1)) - failed - skipped, failed, skipped)
    elif matches := OWN.findall(output):
        tally = Tally(*map(int, matches[-1]))
    else:
        return Tally(passed=1) if status == 0 else Tally(failed=1)
    if status != 0 and tally.failed == 0:
        tally.failed = 1
    return tally


def run(name, command, timeout_s, env=None, cwd=ROOT, show=False):
    """Runs one program; prints what it said when it failed (or always, with `show`)."""
    started = time.monotonic()
    try:
        done = subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, timeout=timeout_s, text=True,
                              errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        output, status = done.stdout, done.returncode
        tally = counted(output, status)
    except subprocess.TimeoutExpired as expired:
        output = (expired.stdout or b"").decode(errors="replace") + f"\nstopped after {timeout_s} s"
        tally = Tally(failed=1)
    took = time.monotonic() - started
    print(f"  {name:32} {tally} ({took:.1f} s)")
    if tally.failed and not show:
        print(f"  command: {shlex.join(map(str, command))}")
    if show or tally.failed:
        lines = output.rstrip().splitlines()
        if not show:  # what went well is not what somebody looks for now
            lines = [line for line in lines if not re.match("(passed|skipped) ", line)][-60:]
        print("\n".join("    " + line for line in lines), flush=True)
    return tally


def build(folder, *targets):
    started = time.monotonic()
    done = subprocess.run(["scripts/build", folder, *targets], cwd=ROOT, text=True, errors="replace", check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(f"  built {folder} ({time.monotonic() - started:.0f} s)", flush=True)
    if done.returncode != 0:
        wrong = [line for line in done.stdout.splitlines() if re.search("error|FAILED|ERROR", line)]
        print("\n".join(wrong[:40] or done.stdout.splitlines()[-40:]))
    return done.returncode == 0


def meson_tests(folder, suites, names=()):
    """Runs the tests that meson knows in these suites, or those of them with these names, two at a time."""
    introspected = subprocess.run(["meson", "introspect", "--tests", folder], cwd=ROOT, check=True, text=True,
                                  stdout=subprocess.PIPE)
    tests = [t for t in json.loads(introspected.stdout) if any(s.split(":")[-1] in suites for s in t["suite"])]
    if names:
        by_name = {t["name"]: t for t in tests}
        tests = [by_name[name] for name in names]
    total = Tally()
    with concurrent.futures.ThreadPoolExecutor(1 if "system" in suites else 2) as pool:
        jobs = [pool.submit(run, t["name"], t["cmd"], t["timeout"] * SLOWER.get(folder, 1), t["env"],
                            t["workdir"] or ROOT / folder) for t in tests]
        for job in jobs:
            total.add(job.result())
    return total


def style():
    return run("scripts/check", ["scripts/check"], 60)


def unit():
    return meson_tests("build", ["unit", "conversation"]) if build("build") else Tally(failed=1)


def sim():
    """The simulation, and which lines of the copy engine it and the unit tests reach."""
    if not build("build"):
        return Tally(failed=1)
    total = run("test_sim", ["build/test/sim/test_sim"], 120, show=True)
    total.add(run("scripts/coverage", ["scripts/coverage"], 1200, show=True))
    return total


def system():
    if not build("build") or not build("build-plain", "cli/odx"):
        return Tally(failed=1)
    total = meson_tests("build", ["system", "once"])
    without_ntfs = ["test/cli/without_ntfs_test.py", "build/target/odxd", "build-plain/cli/odx"]
    total.add(run("odx without NTFS", without_ntfs, 60))
    return total


def windows():
    total = Tally()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for tally in pool.map(lambda program: run(program, ["python3", f"test/windows/{program}"], 900),
                              ("fsctl_test.py", "module_test.py")):
            total.add(tally)
    return total


def interop():
    if not build("build"):
        return Tally(failed=1)
    return run("test/interop/run", ["test/interop/run", "--odxd", "build/target/odxd", "--odx", "build/cli/odx"], 900)


def vm(*options):
    """What CI runs with kernels in qemu."""
    if not build("build"):
        return Tally(failed=1)
    return run("test/vm/run", ["test/vm/run", *options], 1800, show=True)


def vm_all():
    """Everything with kernels in qemu."""
    return vm("--all")


def asan():
    if not build("build-sanitize"):
        return Tally(failed=1)
    # binutils' addr2line names the lines of a report; clang's own symbolizer is a package of 100 MB.
    os.environ.setdefault("ASAN_SYMBOLIZER_PATH", "/usr/bin/addr2line")
    total = meson_tests("build-sanitize", ["unit", "sim", "conversation"])
    total.add(meson_tests("build-sanitize", ["system"]))
    return total


def under_tsan(tests):
    """Runs `tests`; each report of the thread sanitizer is a failure, also of a program that is killed in the end."""
    reports = ROOT / "build-tsan" / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir()
    os.environ.setdefault("TSAN_SYMBOLIZER_PATH", "/usr/bin/addr2line")
    # Without io_sync=0, what one thread writes to a file would be in order with what another reads from it.
    os.environ["TSAN_OPTIONS"] = f"halt_on_error=0:exitcode=66:io_sync=0:log_path={reports}/report"
    os.environ["ODX_THREADS"] = "2"
    total = tests()
    for report in sorted(reports.iterdir()):
        lines = report.read_text(errors="replace").splitlines()
        print(f"  {report.relative_to(ROOT)}, {len(lines)} lines:", *lines[:100], sep="\n    ", flush=True)
        total.failed += 1
    return total


def threads():
    """What CI runs with the thread sanitizer."""
    if not build("build-tsan", "target/odxd", "target/tcmu/handler_odx.so", "test/tcmu/test_tcmu"):
        return Tally(failed=1)

    def tests():
        total = meson_tests("build-tsan", ["system"], TESTS_OF_THREADS)
        total.add(meson_tests("build-tsan", ["unit"], ("tcmu",)))
        return total

    return under_tsan(tests)


def tsan():
    """Everything with the thread sanitizer, though most programs have one thread."""
    def everything():
        total = meson_tests("build-tsan", ["unit", "sim", "conversation"])
        total.add(meson_tests("build-tsan", ["system"]))
        return total

    return under_tsan(everything) if build("build-tsan") else Tally(failed=1)


def fuzz():
    if not build("build-sanitize"):
        return Tally(failed=1)
    listed = subprocess.run(["scripts/fuzz", "--list"], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    total = Tally()
    for target in listed.stdout.split():
        total.add(run(target, ["scripts/fuzz", target, str(FUZZ_SECONDS)], FUZZ_SECONDS + 60))
    return total


def bench():
    if not build("build"):
        return Tally(failed=1)
    return run("scripts/bench --quick", ["scripts/bench", "--quick"], 600, {"ODX_BUILT": "1"}, show=True)


LAYERS = {f.__name__.replace("_", "-"): f for f in (style, unit, sim, system, windows, interop, vm, vm_all, asan,
                                                    threads, tsan, fuzz, bench)}


def main(names):
    total = Tally()
    summary = []
    for name in names:
        print(f"{name}:", flush=True)
        started = time.monotonic()
        tally = LAYERS[name]()
        if tally == Tally():
            print(f"  nothing ran in the layer '{name}'")
            tally.failed = 1
        total.add(tally)
        summary.append(f"{name:10}{tally}, {time.monotonic() - started:.0f} s with building, "
                       f"budget {BUDGET_S[name]} s without")
        print(f"{name}: {tally}", flush=True)
    print()
    print(*summary, sep="\n")
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
