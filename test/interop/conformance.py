"""Runs Debian's iscsi-test-cu test by test, on logical units of several profiles, and compares with the committed list
beside this file."""
import os
import queue
import re
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from harness import Failed, tool

EXPECTED = Path(__file__).with_name("iscsi-test-cu.expected")
LIMIT_S = 40


@dataclass
class Profile:
    """A kind of logical unit; it has a target of its own, so that a target reset meets nobody else's tests."""
    lun: str  # keys of [[target.lun]]
    array: str = "usual"
    paths: int = 1
    only: tuple = ("",)  # what its tests' names start with
    limit_s: int = LIMIT_S


# Each test runs in each profile, unless the list says why not.
PROFILES = {
    "thin": Profile(""),
    "thick": Profile('provisioning = "thick"'),
    "physical-4096": Profile("physical_block_exponent = 3"),
    "read-only": Profile("read_only = true"),
    "removable": Profile("removable = true"),
    "self-encrypting": Profile("self_encrypting = true", only=("Sanitize.",)),
    # Tests that need a second path to the same logical unit take it as a second URL: through another portal group.
    "two-paths": Profile("", paths=2),
    # MAXIMUM ATOMIC TRANSFER LENGTH has to be at most MAXIMUM TRANSFER LENGTH, which is not reported elsewhere.
    "limited": Profile("physical_block_exponent = 3", array="limited", only=("WriteAtomic16.", "Inquiry.", "Read16.")),
    # SANITIZE has to take longer than the test's sleeps; after them it looks once a minute.
    "slow": Profile("", array="slow", only=("Sanitize.Reset",), limit_s=120),
}
ARRAYS = """
[[array]]
name = "usual"
[[array]]
name = "limited"
[array.block_limits]
maximum_transfer = "4M"
[[array]]
name = "slow"
[array.block_limits]
erase_rate = "100M"
"""


def array_config():
    targets = [f'[[target]]\narray = "{profile.array}"\nname = "iqn.2026-01.example.odx:{name}"\n'
               f'portal_groups = {list(range(1, profile.paths + 1))}\n'
               f'alua = "{"both" if profile.paths > 1 else "none"}"\n'
               f'[[target.lun]]\nstore = "memory:1G"\n{profile.lun}\n' for name, profile in PROFILES.items()]
    return ARRAYS + "".join(targets)


@dataclass
class Expectation:
    outcome: str  # PASS, SKIP, OMIT: not run there, NOWHERE: SKIP, and no profile passes, EXCLUDED: never run
    reason: str


@dataclass
class Outcome:
    outcome: str  # PASS, SKIP or FAIL
    detail: str
    seconds: float


class Expectations:
    """The committed list: for each test what is to happen, and where that differs, for which profiles."""

    def __init__(self, lines):
        self.found = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, outcome, *reason = line.split(None, 2)
            test, _, profiles = name.partition("@")
            reason = reason[0] if reason else ""
            right = reason if outcome in ("SKIP", "OMIT", "EXCLUDED", "NOWHERE") else outcome == "PASS" and not reason
            if not right or not set(profiles.split(",")) <= {"", *PROFILES}:
                raise Failed(f"{EXPECTED.name}:{number}: expected 'TEST[@PROFILE,PROFILE] PASS', or SKIP, OMIT, "
                             "EXCLUDED or NOWHERE, and why")
            for profile in profiles.split(","):
                if (test, profile) in self.found:
                    raise Failed(f"{EXPECTED.name}:{number}: {name} is there twice")
                self.found[test, profile] = Expectation(outcome, reason)

    def tests(self):
        return {test for test, _ in self.found}

    def of(self, test, profile):
        if not test.startswith(PROFILES[profile].only):
            return Expectation("OMIT", "nothing new here")
        return self.found.get((test, profile)) or self.found.get((test, ""))

    def uncovered(self, test):
        """Why a test passes in no profile; '' when it does; None when the list owes a reason."""
        wanted = [self.of(test, profile) for profile in PROFILES]
        if any(each and each.outcome == "PASS" for each in wanted):
            return ""
        return next((each.reason for each in wanted if each and each.outcome in ("NOWHERE", "EXCLUDED")), None)


def known_tests():
    """Every test of the installed tool, as SUITE.TEST."""
    listed = subprocess.run([tool("iscsi-test-cu"), "-l"], stdout=subprocess.PIPE, text=True, check=True)
    return [line[4:] for line in listed.stdout.splitlines() if line.startswith("ALL.") and line.count(".") == 2]


def run_test(name, urls, limit_s=LIMIT_S):
    """One test in a process of its own. The tool counts skipped tests as passed, so its words are read."""
    command = [tool("iscsi-test-cu"), "-d", "-S", "-v", "-t", f"ALL.{name}", *urls]
    started = time.monotonic()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=limit_s, check=False, cwd=os.environ.get("TMPDIR", "/tmp"))
    except subprocess.TimeoutExpired:
        return Outcome("FAIL", f"no end after {limit_s} s", limit_s)
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


def run_profiles(urls, wanted):
    """Runs wanted(profile) on each profile's logical unit, profiles side by side: yields (profile, test, Outcome)."""
    results = queue.Queue()

    def run_profile(name, profile):
        try:
            for test in wanted(name):
                results.put((name, test, run_test(test, urls[name], profile.limit_s)))
        finally:
            results.put(None)

    threads = [threading.Thread(target=run_profile, args=each) for each in PROFILES.items()]
    for thread in threads:
        thread.start()
    for _ in threads:
        yield from iter(results.get, None)
    for thread in threads:
        thread.join()


def serve(context):
    config = context.folder / "array.toml"
    config.write_text(array_config())
    return context.target(options=["--config", str(config), "--portal", "127.0.0.1:0,2"])


def urls_of(target):
    """Of each profile: one URL for each path."""
    urls = {name: [url for url in target.urls if f":{name}/" in url] for name in PROFILES}
    assert all(len(urls[name]) == profile.paths for name, profile in PROFILES.items()), target.urls
    return urls


def compared(name, profile, expected, got):
    want = expected.of(name, profile)
    where = f"{profile}.{name}"
    if got.outcome == {"NOWHERE": "SKIP"}.get(want.outcome, want.outcome):
        return where, "skipped" if got.outcome == "SKIP" else "passed", want.reason or f"{got.seconds:.2f} s"
    return where, "failed", f"expected {want.outcome} {want.reason}; got {got.outcome}: {got.detail}"


def conformance(context, only=""):
    """Yields (PROFILE.TEST, outcome, detail) for every test: passed, failed or skipped as compared with the list."""
    expected = Expectations(EXPECTED.read_text().splitlines())
    known = known_tests()
    for name in sorted(expected.tests() - set(known)):
        yield name, "failed", "in the list, but the tool has no such test"
    for name in known:
        reason = expected.uncovered(name)
        if reason is None:
            yield name, "failed", "not in the list, or passes in no profile and no line says NOWHERE"
        elif reason:
            yield name, "skipped", f"in every profile: {reason}"

    def wanted(profile):
        return [name for name in known if f"{profile}.{name}".startswith(only) and expected.of(name, profile) and
                expected.of(name, profile).outcome in ("PASS", "SKIP", "NOWHERE")]

    counts = {profile: Counter() for profile in PROFILES}
    with serve(context) as target:
        for profile, name, got in run_profiles(urls_of(target), wanted):
            result = compared(name, profile, expected, got)
            counts[profile][result[1]] += 1
            yield result
    for profile, count in counts.items():
        words = ", ".join(f"{count[word]} {word}" for word in ("passed", "failed", "skipped"))
        print(f"{profile:14} {words}", flush=True)


def record(context, file):
    """What the tests do in each profile, as lines for the list: what happens in most profiles, then the others."""
    known = known_tests()
    seen = {name: {} for name in known}

    def wanted(profile):
        return [name for name in known if name.startswith(PROFILES[profile].only)]

    with serve(context) as target:
        for profile, name, got in run_profiles(urls_of(target), wanted):
            seen[name][profile] = (got.outcome, got.detail)
    for name, outcomes in seen.items():
        by_outcome = {}
        for profile, outcome in outcomes.items():
            by_outcome.setdefault(outcome, []).append(profile)
        groups = sorted(by_outcome.items(), key=lambda group: -len(group[1]))
        for index, ((outcome, detail), profiles) in enumerate(groups):
            where = name if index == 0 else f"{name}@{','.join(profiles)}"
            file.write(f"{where:44}{outcome:10}{detail}".rstrip() + "\n")
