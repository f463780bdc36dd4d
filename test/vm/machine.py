"""A VM: a Debian kernel in qemu, by software emulation, on one CPU, without a network.

Commands and their output pass over a virtio serial port; the kernel's messages, on the UART, go to a file.
"""
import base64
import os
import re
import select
import shlex
import subprocess
import time

import image
from harness import Failed

MEMORY_MIB = 1024
BOOT_LIMIT_S = 300
# Long, since the machine may be busy with other things, and what takes seconds there takes minutes in the VM.
LIMIT_S = 300
# How much longer than its own limit a command may take before the VM counts as lost.
GRACE_S = 30
TROUBLE = re.compile(r"BUG:|WARNING: |Oops|Kernel panic|soft lockup|blocked for more than|Call Trace|protection fault")


class Machine:
    def __init__(self, initramfs, log_path):
        self.log_path = log_path
        self.number = 0
        self.buffer = b""
        self.lost = ""
        self.started = time.monotonic()
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", str(MEMORY_MIB),
                   "-nodefaults", "-display", "none", "-no-reboot", "-net", "none",
                   "-kernel", str(image.kernel()), "-initrd", str(initramfs),
                   "-append", "console=ttyS0 panic=-1 mitigations=off loglevel=6",
                   "-serial", f"file:{log_path}", "-chardev", "stdio,id=commands,signal=off",
                   "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=commands"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._answer(0, BOOT_LIMIT_S, "the boot")

    def run(self, command, status=0, timeout=LIMIT_S):
        """Runs a shell command in the VM and returns what it printed (both streams). status None: any."""
        code, output = self._command(command, timeout)
        if status is not None and code != status:
            end = f" after {timeout} s" if code in (124, 137, 143) else ""
            raise Failed(f"{command}: exit status {code}{end}, expected {status}\n{output}")
        return output

    def modprobe(self, *names):
        for name in names:
            self.run(f"modprobe {name}")

    def write(self, path, text):
        self.run(f"mkdir -p {shlex.quote(os.path.dirname(path))}; "
                 f"echo {base64.b64encode(text.encode()).decode()} | base64 -d > {shlex.quote(path)}")

    def spawn(self, command, log):
        """Starts a daemon; its process id."""
        return int(self.run(f"{command} >{log} 2>&1 </dev/null & echo $!"))

    def wait_for(self, command, timeout=LIMIT_S):
        """Until a command succeeds; what it printed then."""
        deadline = time.monotonic() + timeout
        while True:
            status, output = self._command(f"({command}) || {{ usleep 200000; false; }}", timeout)
            if status == 0:
                return output
            if time.monotonic() > deadline:
                raise Failed(f"{command}: exit status {status} for {timeout} s\n{output}")

    def trouble(self):
        """Lines of the kernel's that a healthy one does not print."""
        log = self.log_path.read_text(errors="replace")
        return [line for line in log.splitlines() if TROUBLE.search(line)]

    def _command(self, command, timeout):
        if self.lost:
            raise Failed(f"the VM is lost since {self.lost}")
        self.number += 1
        line = f"{self.number} {timeout} {base64.b64encode(command.encode()).decode()}\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        return self._answer(self.number, timeout + GRACE_S, command)

    def _answer(self, number, seconds, what):
        deadline = time.monotonic() + seconds
        head = self._until(lambda: re.search(rb"@@ (\d+) (\d+) (\d+)\n", self.buffer), deadline, what)
        got, status, length = map(int, head.groups())
        self.buffer = self.buffer[head.end():]
        self._until(lambda: len(self.buffer) >= length, deadline, what)
        output, self.buffer = self.buffer[:length], self.buffer[length:]
        if got != number:
            self.lost = what
            raise Failed(f"{what}: the answer to command {got}, expected {number}")
        return status, output.decode(errors="replace")

    def _until(self, condition, deadline, what):
        while not (met := condition()):
            left = deadline - time.monotonic()
            readable = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            data = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            if not data:
                self.lost = what
                log = self.log_path.read_text(errors="replace")[-3000:]
                error = "" if self.process.poll() is None else self.process.stderr.read().decode(errors="replace")
                raise Failed(f"{what}: the VM does not answer\n{error}{log}")
            self.buffer += data
        return met

    def end(self):
        """Switches it off; the seconds of CPU time that it used."""
        self.process.kill()
        before = os.times()
        self.process.wait()
        after = os.times()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()
        return after.children_user + after.children_system - before.children_user - before.children_system
