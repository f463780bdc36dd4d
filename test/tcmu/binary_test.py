"""What the plugin takes Debian's tcmu-runner 1.5.4 to be, looked up in the binary. Usage: binary_test.py HANDLER"""
import re
import shutil
import subprocess
import sys
import unittest

HANDLER = sys.argv[1]
RUNNER = shutil.which("tcmu-runner", path="/usr/bin:/usr/sbin") or "/usr/bin/tcmu-runner"


def text_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def symbols(path, kind):
    listed = re.findall(rf"^[0-9a-f ]* {kind} (\S+)$", text_of("nm", "-D", path), re.M)
    return {name.split("@")[0] for name in listed}


def code_of(function):
    """The instructions of an exported function."""
    at = dict((name.split("@")[0], (int(start, 16), int(size, 16))) for start, size, name in
              re.findall(r"^([0-9a-f]+) ([0-9a-f]+) T (\S+)$", text_of("nm", "-D", "-S", RUNNER), re.M))
    start, size = at[function]
    return text_of("objdump", "-d", "--no-show-raw-insn", f"--start-address={start}", f"--stop-address={start + size}",
                   RUNNER)


def libraries():
    return re.findall(r"=> (/\S*libtcmu\S*)", text_of("ldd", RUNNER))


class Binary(unittest.TestCase):
    """Not tested, and why: structures of libtcmu (libtcmu_test.cc runs it); the whole (test/vm)."""

    def test_it_is_the_version_the_layouts_are_of(self):
        # What --version prints goes to the daemon's log, which it may not have here.
        self.assertRegex(text_of("dpkg-query", "-W", "-f", "${Version}", "tcmu-runner"), r"^1\.5\.4-")

    def test_every_symbol_the_plugin_needs_is_there(self):
        needed = {name for name in symbols(HANDLER, "U") if name.startswith("tcmu")}
        self.assertIn("tcmur_register_handler", needed)
        self.assertIn("tcmulib_command_complete", needed)
        self.assertEqual(len(libraries()), 1)
        there = symbols(RUNNER, "T") | symbols(libraries()[0], "T")
        self.assertEqual(needed - there, set())

    def test_the_plugin_shows_nothing_but_its_entry(self):
        shown = re.findall(r"^[0-9a-f]+ \w (\S+)$", text_of("nm", "-D", "--defined-only", HANDLER), re.M)
        self.assertEqual(shown, ["handler_init"])

    def test_completion_calls_what_we_know_to_be_null(self):
        # tcmur_cmd_complete() jumps to RunnerCommand::done, at offset 88, which nobody has set in handle_cmd().
        self.assertRegex(code_of("tcmur_cmd_complete"), r"jmp +\*0x58\(%rsi\)")

    def test_a_handler_is_laid_out_as_we_declare_it(self):
        code = code_of("tcmur_register_handler")
        self.assertRegex(code, r"mov +0x8\(%r\w+\)")   # subtype
        self.assertRegex(code, r"mov +0xb8\(%r\w+\)")  # init


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
