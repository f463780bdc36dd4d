#!/usr/bin/env python3
"""odx-fsctl.exe, built by mingw-w64 with warnings as errors and run under Wine.

Not tested, and why: that a request succeeds, its decoded reply, and a volume dismounted: Wine answers
STATUS_NOT_SUPPORTED to both control codes; docs/testing.md has the steps by hand.
"""
import json
import os
import re
import struct
import subprocess
import unittest

from tools import MODULE, ROOT, program, run, scratch, tool

ZERO_TOKEN = bytes.fromhex("FFFF0001000001F8") + bytes(504)
USAGE = [
    ([], "which command?"),
    (["offload"], "'offload': no such command"),
    (["--layouts", "x"], "--layouts: takes nothing, not 'x'"),
    (["offload-read"], "FILE is missing"),
    (["offload-read", "a", "b"], "'b': one name too many"),
    (["offload-read", "a", "--transfer-offset", "1"], "--transfer-offset: this command has no such option"),
    (["offload-read", "a", "--size"], "--size: needs a value, N"),
    (["offload-read", "a", "--size", "1", "--size=2"], "--size: given twice"),
    (["offload-read", "a", "--json=1"], "--json: '1' is a value, and it takes none"),
    (["offload-read", "a", "--size", "12x"], "--size: '12x' is not a number"),
    (["offload-read", "a", "--size", "0x100000000"], "--size: '0x100000000' is above 4294967295"),
    (["offload-read", "a", "--copy-length", "16777216T"], "--copy-length: '16777216T' does not fit in 64 bits"),
    (["offload-read", "a", "--input-hex", "123"], "--input-hex: '123' has an odd number of hex digits"),
    (["offload-read", "a", "--input-hex", "1g"], "--input-hex: '1g' is not hex"),
    (["offload-read", "a", "--access", "read,run"], "--access: 'read,run' has an unknown word 'run'"),
    (["offload-read", "a", "--lock", "0,1"], "--lock: '0,1' is not OFFSET,LENGTH,KIND"),
    (["offload-read", "a", "--lock", "0,1,mine"], "--lock: '0,1,mine' ends with none of"),
    (["offload-write", "a", "--zero-token", "--token-hex", "00"], "--zero-token: not together with --token-hex"),
    (["offload-write", "a", "--token-hex", "00" * 513], "--token-hex: 513 bytes, a token has 512"),
    (["copy", "a", "b", "--chunk", "0"], "--chunk: '0' copies nothing"),
    (["property", "C"], "DRIVE: 'C' is not a number"),
]


def as_json(case, *arguments, code):
    exit_code, output, error = run(*arguments, "--json")
    case.assertEqual(exit_code, code, error)
    return json.loads(output)


def file_of(name, content=b""):
    path = scratch() / name
    path.write_bytes(content)
    return name


class Numbers(unittest.TestCase):
    """The same on both sides: host/ plays the Windows that this program runs on."""

    def test_layouts_are_those_of_the_host(self):
        header = (ROOT / "host/fsctl_layouts.h").read_text()
        layouts = json.loads(run("--layouts")[1])
        self.assertEqual(layouts["FSCTL_OFFLOAD_READ"], int(re.search(r"kFsctlOffloadRead = (\w+)", header)[1], 16))
        self.assertEqual(layouts["FSCTL_OFFLOAD_WRITE"], int(re.search(r"kFsctlOffloadWrite = (\w+)", header)[1], 16))
        self.assertEqual(layouts["OFFLOAD_READ_FLAG_ALL_ZERO_BEYOND_CURRENT_RANGE"],
                         int(re.search(r"kAllZeroBeyondCurrentRange = (\w+)", header)[1], 16))
        ours = {s["name"]: s for s in layouts["structures"]}
        found = re.findall(r"struct (Offload\w+) \{\n(.*?)\n\};", header, re.S)
        self.assertEqual(len(found), 4)
        for name, body in found:
            offset, fields = 0, []
            for kind, field in re.findall(r"^  (le32|le64|Token) (\w+);", body, re.M):
                size = {"le32": 4, "le64": 8, "Token": 512}[kind]
                spelled = "".join(word.capitalize() for word in re.sub("_ms$", "", field).split("_"))
                fields.append({"name": spelled, "offset": offset, "size": size})
                offset += size
            windows = "FSCTL" + re.sub("([A-Z])", r"_\1", name).upper()
            self.assertEqual(ours[windows], {"name": windows, "size": offset, "fields": fields})

    def test_every_status_of_the_host_has_its_name_and_value(self):
        values = re.findall(r"^  (\w+) = (0x[0-9A-F]{8}),", (ROOT / "host/nt_status.h").read_text(), re.M)
        spelled = dict(re.findall(r'\{NtStatus::(\w+), "(\w+)"\}', (ROOT / "host/nt_status.cc").read_text()))
        statuses = json.loads(run("--statuses")[1])
        self.assertGreater(len(values), 50)
        for name, value in values:
            self.assertEqual(statuses.get(spelled[name]), int(value, 16), name)


    def test_the_property_is_laid_out_as_in_the_module(self):
        source = (MODULE / "Native.ps1").read_text()
        sizes = {"uint": 4, "ulong": 8, "ushort": 2}
        ours = [{"name": name, "offset": int(offset), "size": sizes[kind]} for offset, kind, name in
                re.findall(r"\[FieldOffset\((\d+)\)\] public (\w+) (\w+);", source)]
        structure = json.loads(run("--layouts")[1])["structures"][-1]
        self.assertEqual(structure["name"], "DEVICE_COPY_OFFLOAD_DESCRIPTOR")
        self.assertEqual(ours, structure["fields"][:-1])  # all but Reserved


class Program(unittest.TestCase):
    def test_it_needs_only_what_windows_has(self):
        listed = subprocess.run([tool("x86_64-w64-mingw32-objdump"), "-p", program()], capture_output=True, text=True,
                                check=True).stdout
        self.assertLessEqual({name.lower() for name in re.findall(r"DLL Name: (\S+)", listed)},
                             {"kernel32.dll", "msvcrt.dll", "ntdll.dll"})

    def test_errors_of_the_command_line_name_option_and_value(self):
        for arguments, message in USAGE:
            with self.subTest(arguments):
                code, output, error = run(*arguments)
                self.assertEqual((code, output), (2, ""))
                self.assertIn("odx-fsctl: " + message, error)

    def test_help_names_commands_and_exit_codes(self):
        code, output, _ = run("--help")
        self.assertEqual(code, 0)
        for command in ("offload-read", "offload-write", "copy", "property", "extents", "set-eof", "token"):
            self.assertRegex(output, rf"(?m)^  {command}\b")
        for number in range(5):
            self.assertRegex(output, rf"(?m)^  {number}  ")


class Requests(unittest.TestCase):
    def test_read_sends_every_field(self):
        name = file_of("read.bin", bytes(4096))
        told = as_json(self, "offload-read", name, "--size", "31", "--flags", "0x80000001", "--token-time-to-live", "7",
                       "--reserved", "9", "--file-offset=0xFFFFFFFFFFFFFE00", "--copy-length", "3K", code=1)
        self.assertEqual(struct.unpack("<IIIIQQ", bytes.fromhex(told["request"]["input"])),
                         (31, 0x80000001, 7, 9, 0xFFFFFFFFFFFFFE00, 3072))
        self.assertEqual(told["request"]["control_code"], 0x00094264)
        self.assertEqual(told["request"]["output_length"], 528)
        self.assertEqual(told["status"], {"value": "0xC00000BB", "name": "STATUS_NOT_SUPPORTED", "win32": 50})
        self.assertEqual((told["information"], told["reply_bytes"]), (0, ""))

    def test_write_sends_every_field(self):
        name = file_of("write.bin", bytes(4096))
        told = as_json(self, "offload-write", name, "--flags", "5", "--file-offset", "512", "--copy-length", "1T",
                       "--transfer-offset", "4096", "--token-hex", "80 01 0000 0000 01F8 AB", "--output-length", "15",
                       code=1)
        sent = bytes.fromhex(told["request"]["input"])
        self.assertEqual(struct.unpack("<IIQQQ", sent[:32]), (544, 5, 512, 1 << 40, 4096))
        self.assertEqual(sent[32:], bytes.fromhex("80010000000001F8AB") + bytes(503))
        self.assertEqual((told["request"]["control_code"], told["request"]["output_length"]), (0x00098268, 15))
        self.assertEqual(told["status"]["name"], "STATUS_NOT_SUPPORTED")

    def test_buffers_are_as_long_as_told(self):
        name = file_of("buffers.bin")
        for options, sent in ((["--input-length", "0"], ""), (["--input-length", "3"], "200000"),
                              (["--input-hex", "0102", "--input-length", "4"], "01020000")):
            with self.subTest(options):
                told = as_json(self, "offload-read", name, *options, "--output-length", "0", code=1)
                self.assertEqual(told["request"]["input"], sent)

    def test_text_says_the_same(self):
        code, output, _ = run("offload-read", file_of("text.bin"), "--copy-length", "4096")
        self.assertEqual(code, 1)
        self.assertIn("\nstatus: 0xC00000BB STATUS_NOT_SUPPORTED (Win32 error 50)\ninformation: 0\n", output)

    def test_names_beyond_ascii(self):
        name = file_of("größe-数据-𝄞.bin", bytes(10))
        told = as_json(self, "offload-read", name, code=1)
        self.assertEqual(told["FILE"], name)
        code, _, error = run("offload-read", "fehlt-数据")
        self.assertEqual((code, error), (3, "odx-fsctl: open 'fehlt-数据': 0xC0000034 STATUS_OBJECT_NAME_NOT_FOUND\n"))


class Situations(unittest.TestCase):
    def test_what_cannot_be_opened(self):
        code, _, error = run("offload-write", "no/such/file", "--zero-token")
        self.assertEqual(code, 3)
        self.assertIn("0xC000003A STATUS_OBJECT_PATH_NOT_FOUND", error)
        self.assertEqual(run("property", "77")[0], 3)

    def test_closed_handle(self):
        told = as_json(self, "offload-read", file_of("closed.bin"), "--close-first", code=1)
        self.assertEqual(told["status"], {"value": "0xC0000008", "name": "STATUS_INVALID_HANDLE", "win32": 6})

    def test_access(self):
        told = as_json(self, "offload-read", file_of("access.bin"), "--access", "attributes,delete", code=1)
        self.assertEqual(told["access"], 0x00110080)
        told = as_json(self, "offload-read", file_of("access.bin"), "--access", "0x1", "--share", "read", code=1)
        self.assertEqual(told["access"], 0x00100001)

    def test_end_of_file_lock_and_deletion(self):
        name = file_of("situation.bin", b"x" * 100)
        told = as_json(self, "offload-write", name, "--set-eof", "8K", "--lock", "0,512,exclusive", code=1)
        self.assertEqual((told["end_of_file_set"], told["range_locked"]), (8192, "0,512,exclusive"))
        self.assertEqual((scratch() / name).stat().st_size, 8192)
        told = as_json(self, "offload-write", name, "--lock", "0,512,own-shared", "--delete-pending", code=1)
        self.assertTrue(told["deletion_pending"])
        self.assertFalse((scratch() / name).exists())

    def test_a_volume_that_is_not_dismounted(self):
        code, _, error = run("offload-read", file_of("mounted.bin"), "--dismount")
        self.assertEqual(code, 3)
        self.assertIn("--dismount of ", error)


class Tokens(unittest.TestCase):
    def test_token_goes_through_a_file(self):
        told = as_json(self, "token", "--zero-token", "--save-token", "zero.token", code=0)
        self.assertEqual((scratch() / "zero.token").read_bytes(), ZERO_TOKEN)
        self.assertEqual((told["TokenType"], told["TokenIdLength"], told["zero_token"]), (0xFFFF0001, 504, True))
        random = os.urandom(512)
        as_json(self, "token", "--token-hex", random.hex(), "--save-token", "random.token", code=0)
        self.assertEqual((scratch() / "random.token").read_bytes(), random)
        told = as_json(self, "offload-write", file_of("token.bin"), "--token-file", "random.token", code=1)
        self.assertEqual(bytes.fromhex(told["request"]["input"])[32:], random)

    def test_a_file_that_is_no_token(self):
        for content, message in ((bytes(511), "511 bytes, a token has 512"), (bytes(513), "more than 512 bytes")):
            code, _, error = run("offload-write", file_of("token.bin"), "--token-file", file_of("bad.token", content))
            self.assertEqual(code, 4)
            self.assertIn(message, error)
        self.assertEqual(run("token", "--token-file", "missing.token")[0], 4)
        self.assertEqual(run("token", "--zero-token", "--save-token", "no/such/folder")[0], 4)


class Files(unittest.TestCase):
    def test_copy_falls_back_when_told(self):
        content = os.urandom(3_000_001)
        source = file_of("source.bin", content)
        told = as_json(self, "copy", source, "plain.bin", code=1)
        self.assertEqual([r["name"] for r in told["requests"]], ["FSCTL_OFFLOAD_READ"])
        whole = -(-len(content) // told["sector_size"]) * told["sector_size"]
        self.assertEqual(told["requests"][0]["copy_length"], whole)
        self.assertEqual((told["offloaded"], told["copied"]), (0, 0))
        self.assertEqual((scratch() / "plain.bin").read_bytes(), bytes(len(content)))
        code, _, error = run("copy", source, "plain.bin")
        self.assertEqual(code, 3)
        self.assertIn("STATUS_OBJECT_NAME_COLLISION", error)
        told = as_json(self, "copy", source, "plain.bin", "--overwrite", "--fallback", code=1)
        self.assertEqual((told["offloaded"], told["copied"]), (0, len(content)))
        self.assertEqual((scratch() / "plain.bin").read_bytes(), content)

    def test_nothing_to_copy(self):
        told = as_json(self, "copy", file_of("empty.bin"), "empty.copy", code=0)
        self.assertEqual((told["requests"], told["status"]["name"]), ([], "STATUS_SUCCESS"))

    def test_set_eof_sizes_and_creates(self):
        told = as_json(self, "set-eof", "sized.bin", "0x1000", "--create", code=0)
        self.assertEqual((told["end_of_file"], (scratch() / "sized.bin").stat().st_size), (4096, 4096))
        self.assertEqual(run("set-eof", "missing.bin", "1")[0], 3)

    def test_extents_and_property_say_a_status(self):
        code, output, _ = run("extents", file_of("extents.bin", bytes(65536)), "--json")
        self.assertIn(code, (0, 1))
        self.assertIn("name", json.loads(output)["status"])


if __name__ == "__main__":
    unittest.main()
