"""What the interop checks share: starting a target, running a program, and the registry of named checks.

A check is a function that takes a Context and returns when it is satisfied; it raises Failed (or AssertionError) with
the reason, or Skipped. A Target's log is kept in test/interop/results/ and shown when the check fails.
"""
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from lun_urls import LunUrls

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
CHECKS = {}


class Failed(Exception):
    """The check found something wrong."""


class Skipped(Exception):
    """The check cannot run here; a failure when CI=true."""


class NotPermitted(Exception):
    """The machine does not let the check do what it has to do; no package would help."""


def check(function):
    """Registers a named check; the name is the function's, the sentence its docstring."""
    CHECKS[function.__name__] = function
    return function


def tool(name):
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not path:
        raise Skipped(f"{name} is not installed (scripts/setup interop)")
    return path


def run(*command, status=0, timeout=60, stdin=None):
    """Runs a program to its end and returns what it printed (both streams). status None: any."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run([tool(words[0]), *words[1:]], input=stdin, stdout=subprocess.PIPE, timeout=timeout,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    except subprocess.TimeoutExpired as expired:
        raise Failed(f"{' '.join(words)}: no end after {timeout} s") from expired
    if status is not None and done.returncode != status:
        raise Failed(f"{' '.join(words)}: exit status {done.returncode}, expected {status}\n{done.stdout}")
    return done.stdout


def expect(text, pattern, what=""):
    """The match of a regular expression that has to be in a program's output."""
    match = re.search(pattern, text, re.M)
    if not match:
        raise Failed(f"{what or 'output'}: nothing matches {pattern!r} in:\n{text}")
    return match


class Target(LunUrls):
    """A running target: anything that takes odxd's command line and prints its "lun URL" and "ready" lines."""

    def __init__(self, command, name, *arguments, ready_within_s=30):
        RESULTS.mkdir(exist_ok=True)
        self.log_path = RESULTS / f"{name}.log"
        self.urls = []
        self.lines = []
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=log)
        self._wait_ready(ready_within_s)

    def _wait_ready(self, seconds):
        deadline = time.monotonic() + seconds
        buffer = b""
        while b"ready\n" not in buffer:
            left = deadline - time.monotonic()
            readable = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            data = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            if not data:
                self.kill()
                raise Failed(f"the target printed no ready line: {buffer!r}\n{self.log()}")
            buffer += data
        self.lines = buffer.decode().splitlines()
        self.urls = [line.removeprefix("lun ") for line in self.lines if line.startswith("lun ")]

    def log(self):
        return self.log_path.read_text(errors="replace")

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        """Ends it whatever it does; asked first, since it may have children of its own."""
        self.process.terminate()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def stop(self, within_s=15):
        """SIGTERM, as a service manager does; the target has to end cleanly."""
        if not self.alive():
            raise Failed(f"the target had ended: status {self.process.returncode}\n{self.log()[-4000:]}")
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(within_s)
        except subprocess.TimeoutExpired as expired:
            self.kill()
            raise Failed(f"the target did not end within {within_s} s of SIGTERM") from expired
        if status != 0:
            raise Failed(f"the target ended with status {status}\n{self.log()[-4000:]}")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        elif self.alive():
            self.kill()
        self.process.stdout.close()


class Context:
    """What a check gets: the programs under test and a folder of its own."""

    def __init__(self, name, odxd, odx):
        self.name = name
        self.odxd = odxd
        self.odx = odx
        self.folder = Path(tempfile.mkdtemp(prefix=f"odx-{name}-"))

    def target(self, *stores, prefix=(), options=()):
        """Serves the stores, as LUNs 0, 1, ... of one target on a free port of 127.0.0.1."""
        return Target([*prefix, *self.odxd], self.name, "--portal", "127.0.0.1:0", *options, *stores)

    def clean(self):
        shutil.rmtree(self.folder, ignore_errors=True)
