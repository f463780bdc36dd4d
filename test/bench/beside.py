"""A session that is measured while something goes on beside it: 4 KiB random reads, one at a time.

odxd has CPU 0. The session is measured on CPU 1, where whatever odxd does between two commands shows and nothing else
does, and then on CPU 0, where it also waits for its own processor while odxd is busy. What disturbs has CPU 1, where it
lets the session go first (nice 10). Each measurement beside something stands between two without it, so that a slow
minute of the machine hits both.

Neither processor halts meanwhile. To wake one that has halted costs a virtual machine 25 us and more; the session paid
that without, and not beside what kept odxd awake: a ratio below 1 for what does disturb. The loops that keep them awake
give way to everything, but get a tick (4 ms) now and then, which shows among the longest.

What ends by itself ends the measuring with it. Whether it still goes on is asked of odxd every 20 ms, from
where what disturbs is, and only what was measured up to the last answer that said so counts.
"""
import http.client
import json
import math
import os
import select
import signal
import socket
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from frame import ONE_CPU, REGION, Failed

OTHER_CPU = ("taskset", "-c", "1")
APART, TOGETHER = "CPU 1", "CPU 0, odxd's"  # where the session is; what is held is the first
PLACES = {APART: OTHER_CPU, TOGETHER: ONE_CPU}
READY_WITHIN_S = 120
LOOK_EVERY_S = 0.02
MOST_P99 = 2  # times undisturbed
LEAST_SHARE = 0.8  # of the measured time


def lasting(begin, going_on, seen=lambda: None):
    """Begins it, and waits until it is over, with a call of `seen` whenever it is seen going on; gives after how many
    seconds it was last seen."""
    started = time.monotonic()
    begin()
    last = time.monotonic() - started
    while going_on():
        seen()
        last = time.monotonic() - started
        if last > READY_WITHIN_S:
            raise Failed(f"it is not over after {READY_WITHIN_S} s")
        time.sleep(LOOK_EVERY_S)
    return last


@contextmanager
def awake():
    """Lets no processor halt. In our session: sched(7), among the threads of another one SCHED_IDLE means nothing."""
    words = ["setpriv", "--pdeathsig", "KILL", "chrt", "--idle", "0", "sh", "-c", "while :; do :; done"]
    loops = [subprocess.Popen([*cpu, *words]) for cpu in PLACES.values()]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


class Disturber:
    """A program on the other CPU that prints "ready" when it does what it does, or can, and in the end a line of
    JSON."""

    def __init__(self, *command):
        self.name = " ".join(map(str, command[:2]))
        self.process = subprocess.Popen([*OTHER_CPU, "nice", *map(str, command)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        if not select.select([self.process.stdout], [], [], READY_WITHIN_S)[0]:
            self.process.kill()
            raise Failed(f"{self.name} is not ready within {READY_WITHIN_S} s")
        if self.process.stdout.readline() != "ready\n":
            raise Failed(f"{self.name} ended before it was ready")

    def tell(self):
        """A line, for those that wait for one."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def stop(self):
        if self.process.poll() is not None:
            raise Failed(f"{self.name} ended before it was told to")
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=60)[0]
        if self.process.returncode != 0:
            raise Failed(f"{self.name} ended with status {self.process.returncode}")
        return json.loads(said)


class Control:
    """The control interface on a Unix socket."""

    def __init__(self, path):
        self.path = str(path)

    def ask(self, method, path, body=None):
        """The answer's document; any answer that is no success is Failed."""
        connection = http.client.HTTPConnection("odxd", timeout=300)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(300)
        connection.sock.connect(self.path)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise Failed(f"{method} {path}: {answer.status} {said.decode(errors='replace')}")
        return json.loads(said) if said else None


def as_disturber():
    """This thread has the processor and the priority of what disturbs."""
    os.sched_setaffinity(0, {1})
    os.nice(10)  # of a thread, in Linux


def victim(options, url, pid, cpu, begin=None):
    """Its figures, as io_bench gives them. `begin` is called the moment measuring begins, in a thread of its own, and
    is lasting() with the `seen` it is given. When it ends, so does measuring; what came after it was last seen does not
    count. "share": of the measured time it went on."""
    command = [*cpu, str(options.build / "test/bench/io_bench"), url, "--region", str(REGION), "--seconds",
               str(options.seconds), "--server-pid", str(pid), "--tell", str(os.getpid())]
    if options.quick:
        command += ["--warmup", "0.05"]
    worker = ThreadPoolExecutor(1, initializer=as_disturber)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if signal.sigtimedwait([signal.SIGUSR1], 60) is None:
            process.kill()
            raise Failed(f"io_bench did not begin: {process.communicate()[1]}")
        going_on = worker.submit(begin, lambda: process.send_signal(signal.SIGUSR2)) if begin else None
        if going_on:
            going_on.add_done_callback(lambda _: process.terminate())
        said, complaint = process.communicate(timeout=300)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    lasted = going_on.result() if going_on else math.inf
    if process.returncode != 0:
        raise Failed(f"the session beside it: {complaint.strip()}")
    figures = json.loads(said)
    return {**figures, "share": min(1, lasted / figures["seconds"])}


@dataclass
class Beside:
    """What of the session was measured, without and with something beside it. `place`: of PLACES."""
    place: str
    quiet: list = field(default_factory=list)
    disturbed: list = field(default_factory=list)

    def measure(self, options, url, pid, begin=None, running=None):
        """Once. `begin`: as in victim(). `running`: starts what goes on all the time, and gives a function that ends
        it, and raises Failed when it had ended."""
        cpu = PLACES[self.place]
        with awake():
            os.sync()  # what went before is not to be written back meanwhile
            self.quiet.append(victim(options, url, pid, cpu))
            end = running() if running else None
            try:
                self.disturbed.append(victim(options, url, pid, cpu, begin))
            finally:
                if end:
                    end()
            os.sync()
            self.quiet.append(victim(options, url, pid, cpu))

    def median(self, which, key):
        return statistics.median(figures[key] for figures in getattr(self, which))

    def ratio(self, key="p99_us"):
        return self.median("disturbed", key) / self.median("quiet", key)

    def longest_ms(self, which):
        return max(figures["longest_us"] for figures in getattr(self, which)) / 1000

    def share(self):
        """Of the time measured beside something, that in which it went on."""
        return (sum(figures["share"] * figures["seconds"] for figures in self.disturbed)
                / sum(figures["seconds"] for figures in self.disturbed))

    def cells(self):
        return (f"{100 * self.share():.0f}", self.place, f"{self.median('quiet', 'p99_us'):.0f}",
                f"{self.median('disturbed', 'p99_us'):.0f}", f"{self.ratio():.2f}", f"{self.longest_ms('quiet'):.1f}",
                f"{self.longest_ms('disturbed'):.1f}", f"{self.ratio('iops'):.2f}")

    def judge(self, options, report, what):
        """What is held of it; of a session that waits for its processor nothing is. Quick ones are over at once."""
        if self.place != APART:
            return
        if self.share() < LEAST_SHARE and not options.quick:
            raise Failed(f"{what}: that went on for {self.share():.0%} of the measured time")
        report.goal(f"p99 of a session {what}", self.ratio(), at_most=MOST_P99, unit="times undisturbed")

    COLUMNS = ("going on, %", "session on", "p99 without, us", "p99 with, us", "ratio", "longest without, ms",
               "longest with, ms", "I/O per s with : without")
