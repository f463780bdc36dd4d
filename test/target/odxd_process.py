"""A running odxd on a free port of 127.0.0.1, for the system tests. Ended by its process id."""
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time

from lun_urls import LunUrls

ODXD = os.environ.get("ODXD") or (sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "odxd")
START_LIMIT_S = 60  # long, as is TIMEOUT_S of test/interop/wire.py
END_LIMIT_S = 60


def odxd_ends(*arguments):
    """Runs an odxd that is not to serve: exit code, standard output, standard error."""
    done = subprocess.run([ODXD, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=START_LIMIT_S, check=False)
    return done.returncode, done.stdout, done.stderr


def tool(*command, timeout=60, env=None):
    """Exit status and everything a program printed."""
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=timeout, check=False, errors="replace", env={**os.environ, **(env or {})})
    return done.returncode, done.stdout


class Odxd(LunUrls):
    """What wire.Session takes as a target, too."""

    def __init__(self, *arguments, portal="127.0.0.1:0", descriptors=None, log_path="/dev/null"):
        def limit():
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        options = ["--portal", portal] if portal else []
        self.log_path = log_path
        self.started_at = time.monotonic()
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen([ODXD, *options, *map(str, arguments)], stdout=subprocess.PIPE, stderr=log,
                                            preexec_fn=limit)
        self.lines = self._lines_until_ready()
        self.seconds_to_ready = time.monotonic() - self.started_at
        self.urls = [line.removeprefix("lun ") for line in self.lines if line.startswith("lun ")]
        self.objects = [json.loads(line) for line in self.lines if line.startswith("{")]
        self.urls += [each["url"] for each in self.objects if each["event"] == "lun"]

    def _lines_until_ready(self):
        deadline = time.monotonic() + START_LIMIT_S
        text = b""
        while not text.endswith(b"ready\n") and b'"ready"' not in text:
            left = max(0, deadline - time.monotonic())
            readable = select.select([self.process.stdout], [], [], left)[0]
            data = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            if not data:
                self.end(signal.SIGKILL)
                raise AssertionError(f"odxd is not ready: {text!r}\n{self.log()}")
            text += data
        return text.decode().splitlines()

    def next_line(self, within_s=START_LIMIT_S):
        """The next line on standard output after those until ready."""
        text = b""
        while not text.endswith(b"\n"):
            readable = select.select([self.process.stdout], [], [], within_s)[0]
            data = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            if not data:
                raise AssertionError(f"no further line: {text!r}\n{self.log()}")
            text += data
        return text.decode().rstrip("\n")

    def wait_for_log(self, text, count=1, within_s=START_LIMIT_S):
        """Until the log holds the text so many times; what a signal does is done in a later turn."""
        deadline = time.monotonic() + within_s
        while self.log().count(text) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"the log has no {text!r}:\n{self.log()}")
            select.select([], [], [], 0.01)

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def end(self, how=signal.SIGTERM, within_s=END_LIMIT_S):
        """Sends a signal and returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.wait(within_s)

    def wait(self, within_s=END_LIMIT_S):
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        status = self.end(signal.SIGTERM if kind is None else signal.SIGKILL)
        if kind is None and status != 0:
            raise AssertionError(f"odxd ended with status {status}\n{self.log()}")
