"""Runs Debian's iscsi-test-cu test by test and compares with the committed list beside this file."""
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from harness import Failed, tool

EXPECTED = Path(__file__).with_name("iscsi-test-cu.expected")
LIMIT_S = 40
# Tests that need a second path to the same logical unit; the tool takes it as a second URL.
TWO_PATHS = "MultipathIO."
# What the tests run on: LUN 0 is a LUN as odxd makes it, LUN 1 has what some tests need instead.
ARRAY = """
[[target]]
name = "iqn.2026-01.example.odx:interop"
[[target.lun]]
store = "memory:1G"
[[target.lun]]
store = "memory:1G"
physical_block_exponent = 3
"""
PHYSICAL_4096 = "physical-4096"


@dataclass
class Expectation:
    outcome: str  # PASS, SKIP or EXCLUDED
    reason: str  # or, for PASS, on which logical unit

    @property
    def lun(self):
        return 1 if self.reason == PHYSICAL_4096 else 0


@dataclass
class Outcome:
    outcome: str  # PASS, SKIP or FAIL
    detail: str
    seconds: float


def expectations():
    """The committed list. Each test once; SKIP and EXCLUDED with a reason, PASS perhaps with a logical unit."""
    found = {}
    for number, line in enumerate(EXPECTED.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, outcome, *reason = line.split(None, 2)
        wanted = {"PASS": reason in ([], [PHYSICAL_4096]), "SKIP": bool(reason), "EXCLUDED": bool(reason)}
        if not wanted.get(outcome) or name in found:
            raise Failed(f"{EXPECTED.name}:{number}: expected 'TEST PASS', 'TEST SKIP why' or 'TEST EXCLUDED proof'")
        found[name] = Expectation(outcome, reason[0] if reason else "")
    return found


def known_tests():
    """Every test of the installed tool, as SUITE.TEST."""
    listed = subprocess.run([tool("iscsi-test-cu"), "-l"], stdout=subprocess.PIPE, text=True, check=True)
    return [line[4:] for line in listed.stdout.splitlines() if line.startswith("ALL.") and line.count(".") == 2]


def run_test(name, url):
    """One test in a process of its own. The tool counts skipped tests as passed, so its words are read."""
    urls = [url, url] if name.startswith(TWO_PATHS) else [url]
    command = [tool("iscsi-test-cu"), "-d", "-S", "-v", "-t", f"ALL.{name}", *urls]
    started = time.monotonic()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=LIMIT_S, check=False, cwd=os.environ.get("TMPDIR", "/tmp"))
    except subprocess.TimeoutExpired:
        return Outcome("FAIL", f"no end after {LIMIT_S} s", LIMIT_S)
    seconds = time.monotonic() - started
    test = name.rsplit(".", 1)[1]
    text = done.stdout.partition(f"Test: {test} ...")[2].partition("Run Summary:")[0]
    # What stands before the verdict is the test's; after it come failed assertions and notices of the clean-up.
    said, verdict, after = [*re.split(r"^(passed|FAILED)", text, maxsplit=1, flags=re.M), "", ""][:3]
    if verdict != "passed" or done.returncode != 0:
        wrong = re.findall(r"^\s*\d+\. (.*)$", after, re.M)
        words = [line.strip() for line in said.splitlines() if "[FAILED]" in line] or said.split("\n")[-3:]
        return Outcome("FAIL", "; ".join([*wrong[:3], *words[:2]]) or f"exit status {done.returncode}", seconds)
    if skipped := re.findall(r"\[SKIPPED\] (.*)", said):
        return Outcome("SKIP", skipped[-1].strip(), seconds)
    return Outcome("PASS", "", seconds)


def conformance(context, only=""):
    """Yields (name, outcome, detail) for every test: outcome passed, failed or skipped as compared with the list."""
    expected = expectations()
    known = known_tests()
    for name in sorted(set(expected) - set(known)):
        yield name, "failed", "in the list, but the tool has no such test"
    names = [name for name in known if name.startswith(only)]
    config = context.folder / "array.toml"
    config.write_text(ARRAY)
    with context.target(options=["--config", str(config)]) as target:
        for name in names:
            if name not in expected:
                yield name, "failed", "not in the list"
                continue
            want = expected[name]
            if want.outcome == "EXCLUDED":
                yield name, "skipped", f"excluded: {want.reason}"
                continue
            got = run_test(name, target.urls[want.lun])
            if got.outcome == want.outcome:
                yield name, "skipped" if got.outcome == "SKIP" else "passed", want.reason or f"{got.seconds:.2f} s"
            else:
                yield name, "failed", f"expected {want.outcome} {want.reason}; got {got.outcome}: {got.detail}"
