#!/usr/bin/env python3
"""odx against a running odxd (and tgtd where it is installed):  odx_test.py ODXD ODX

Not tested, and why: the progress bar (it needs a terminal); the 60 second time-outs (nobody wants to wait).
"""
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "interop"))
import offload  # noqa: E402  pylint: disable=wrong-import-position
from harness import Target  # noqa: E402  pylint: disable=wrong-import-position
from wire import Session  # noqa: E402  pylint: disable=wrong-import-position

MIB = 1 << 20
ODXD = ODX = None
SIZE = 64 * MIB
SOURCE, DESTINATION, ISLAND, BIG_BLOCKS = range(4)

CONFIG = """
[[portal]]
listen = "127.0.0.1:0"
[[target]]
name = "iqn.2026-11.org.odx:cli"
{chap}
[[target.lun]]
name = "source"
store = "memory:64M"
[[target.lun]]
name = "destination"
store = "memory:64M"
[[target.lun]]
name = "island"
store = "memory:64M"
[[target.lun]]
name = "big-blocks"
store = "memory:64M"
block_size = 4096
[[unreachable]]
a = "source"
b = "island"
[tokens]
odx = {odx}
optimal_transfer = "16M"
"""


def odx(*words):
    """Exit status and standard output of odx."""
    done = subprocess.run([ODX, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60, check=False)
    return done.returncode, done.stdout


def report(*words):
    """Exit status and the JSON document of odx."""
    status, text = odx(*words, "--json")
    return status, json.loads(text)


def operation(document):
    return [c["name"] for c in document["commands"] if c["phase"] == "operation"]


class ArrayTest(unittest.TestCase):
    chap = ""
    odx_enabled = "true"

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odx-cli-"))
        self.addCleanup(shutil.rmtree, self.folder)
        config = self.folder / "array.toml"
        config.write_text(CONFIG.format(chap=self.chap, odx=self.odx_enabled), encoding="utf-8")
        self.array = Target([ODXD], f"cli-{self.id().rsplit('.', 1)[1]}", "--config", config)
        self.addCleanup(self.end)
        self.urls = self.array.urls

    def end(self):
        self.array.kill()
        self.array.process.stdout.close()

    def session(self):
        session = Session(self.array).clear_unit_attentions(0, 1, 2)
        self.addCleanup(session.close)
        return session

    def write(self, lun, lba, data):
        answer = self.session().command(offload.write16(lba, len(data) // 512), data_out=data, lun=lun)
        self.assertEqual(answer.status, 0, answer)

    def read(self, lun, lba, length):
        answer = self.session().command(offload.read16(lba, length // 512), data_in=length, lun=lun)
        self.assertEqual(answer.status, 0, answer)
        return answer.data


class OffloadTest(ArrayTest):
    def test_probe_shows_what_windows_would_make_of_our_disk(self):
        status, document = report("probe", self.urls[SOURCE])
        self.assertEqual(status, 0)
        self.assertTrue(document["windows"]["odx"])
        self.assertNotIn("warnings", document["windows"])
        self.assertEqual([page["page"] for page in document["vpd_pages"]],
                         ["00h", "80h", "83h", "86h", "8Fh", "B0h", "B1h", "B2h"])
        self.assertEqual(document["capacity"]["bytes"], SIZE)
        self.assertTrue(document["identity"]["third_party_copy_bit"])
        limits = document["third_party_copy"][0]["content"]["fields"]
        self.assertEqual(limits["optimal_transfer_blocks"], 16 * MIB // 512)
        status, text = odx("probe", self.urls[SOURCE])
        self.assertEqual(status, 0)
        self.assertIn("Windows offloads copies: tokens of up to 16 MiB, written in steps of 16 MiB, at most 64 ranges",
                      text)

    def test_a_whole_disk_is_copied_and_hardly_a_byte_crosses_the_wire(self):
        data = bytes(range(256)) * 256
        for lba in (0, 12345, SIZE // 512 - 128):
            self.write(SOURCE, lba, data)
        status, document = report("copy", self.urls[SOURCE], self.urls[DESTINATION])
        self.assertEqual((status, document["nt_status"]["name"]), (0, "STATUS_SUCCESS"))
        self.assertEqual(document["offloaded_bytes"], SIZE)
        self.assertEqual(document["tokens"], 4)
        self.assertEqual(operation(document),
                         ["POPULATE TOKEN", "RECEIVE ROD TOKEN INFORMATION", "WRITE USING TOKEN"] * 4)
        self.assertLess(sum(document["wire"].values()), 16384)
        for lba in (0, 12345, SIZE // 512 - 128):
            self.assertEqual(self.read(DESTINATION, lba, len(data)), data)

    def test_a_range_goes_where_it_should_and_nowhere_else(self):
        self.write(SOURCE, 2048, b"\x5A" * 65536)
        self.write(DESTINATION, 4096 - 8, b"\x11" * (65536 + 8192))
        status, document = report("copy", self.urls[SOURCE], self.urls[DESTINATION], "--offset", "1M", "--dst-offset",
                                  "2M", "--length", "64K", "--ttl", 30)
        self.assertEqual((status, document["copied_bytes"]), (0, 65536))
        self.assertEqual(self.read(DESTINATION, 4096 - 8, 65536 + 8192),
                         b"\x11" * 4096 + b"\x5A" * 65536 + b"\x11" * 4096)

    def test_block_lengths_of_source_and_destination_may_differ(self):
        self.write(SOURCE, 8, b"\x77" * 4096)
        status, document = report("copy", self.urls[SOURCE], self.urls[BIG_BLOCKS], "--length", "8K")
        self.assertEqual((status, document["offloaded_bytes"]), (0, 8192))
        self.write(SOURCE, 8, b"\x00" * 4096)
        self.assertEqual(report("copy", self.urls[BIG_BLOCKS], self.urls[SOURCE], "--length", "8K")[0], 0)
        self.assertEqual(self.read(SOURCE, 8, 4096), b"\x77" * 4096)
        self.assertEqual(report("copy", self.urls[SOURCE], self.urls[BIG_BLOCKS], "--length", 512)[0], 1)

    def test_a_token_in_a_file_holds_the_data_of_its_moment(self):
        token = self.folder / "token"
        self.write(SOURCE, 0, b"\x01" * 8192)
        status, document = report("offload-read", self.urls[SOURCE], "--length", 8192, "--token", token)
        self.assertEqual((status, document["protected_bytes"]), (0, 8192))
        self.assertEqual(token.stat().st_size, 512)
        self.write(SOURCE, 0, b"\x02" * 8192)
        status, document = report("offload-write", self.urls[DESTINATION], "--offset", "1M", "--length", 4096,
                                  "--token-offset", 4096, "--token", token)
        self.assertEqual((status, document["copied_bytes"]), (0, 4096))
        self.assertEqual(self.read(DESTINATION, 2048, 8192), b"\x01" * 4096 + bytes(4096))

    def test_an_expired_token_is_an_invalid_token(self):
        token = self.folder / "token"
        self.assertEqual(report("offload-read", self.urls[SOURCE], "--length", "1M", "--ttl", 1, "--token", token)[0],
                         0)
        time.sleep(1.1)
        status, document = report("offload-write", self.urls[DESTINATION], "--length", "1M", "--token", token)
        self.assertEqual((status, document["nt_status"]["value"]), (1, "0xC0000465"))
        self.assertTrue(document["token_invalid"])
        sense = document["commands"][-1]["sense"]
        self.assertEqual((sense["key"], sense["asc"], sense["ascq"]), (5, 0x23, 7))
        self.assertIn("EXPIRED", sense["text"])

    def test_a_time_to_live_above_the_disks_maximum_is_refused_by_the_host(self):
        status, document = report("offload-read", self.urls[SOURCE], "--ttl", 601, "--token", self.folder / "token")
        self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_INVALID_PARAMETER"))
        self.assertEqual(operation(document), [])

    def test_an_unreachable_disk_ends_the_copy_unless_it_may_fall_back(self):
        self.write(SOURCE, 0, b"\x33" * 65536)
        words = ("copy", self.urls[SOURCE], self.urls[ISLAND], "--length", "1M")
        status, document = report(*words)
        self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_DEVICE_UNREACHABLE"))
        self.assertEqual(document["copied_bytes"], 0)
        self.assertEqual(self.read(ISLAND, 0, 65536), bytes(65536))
        status, document = report(*words, "--fallback")
        self.assertEqual((status, document["fallback_bytes"]), (0, MIB))
        self.assertEqual(document["offload_nt_status"]["name"], "STATUS_DEVICE_UNREACHABLE")
        self.assertEqual(self.read(ISLAND, 0, 65536), b"\x33" * 65536)
        self.assertGreater(document["wire"]["sent_bytes"], MIB)
        self.assertGreater(document["wire"]["received_bytes"], MIB)

    def test_the_zero_token_needs_no_read_before(self):
        self.write(DESTINATION, 0, b"\x44" * 16384)
        status, document = report("offload-write", self.urls[DESTINATION], "--offset", 4096, "--length", 8192,
                                  "--token", "zero")
        self.assertEqual((status, operation(document)), (0, ["WRITE USING TOKEN"]))
        self.assertEqual(self.read(DESTINATION, 0, 16384), b"\x44" * 4096 + bytes(8192) + b"\x44" * 4096)

    def test_what_cannot_be_meant_is_a_usage_error(self):
        url = self.urls[SOURCE]
        for words in ((), ("frob",), ("copy", url), ("copy", url, url, "--length", "many"), ("probe", "http://x/y/1"),
                      ("copy", url, self.urls[DESTINATION], "--length", "65M"),
                      ("offload-write", url, "--length", "1M", "--token", self.folder / "missing")):
            self.assertEqual(odx(*words)[0], 2, words)

    def test_who_cannot_be_reached_is_told_from_what_is_not_there(self):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        started = time.monotonic()
        for url in (f"iscsi://127.0.0.1:{port}/iqn.2026-11.org.odx:cli/0", self.urls[0].replace(":cli", ":other")):
            status, document = report("probe", url)
            self.assertEqual((status, document["nt_status"]["name"]), (3, "STATUS_DEVICE_NOT_CONNECTED"))
        self.assertLess(time.monotonic() - started, 5)
        status, document = report("probe", self.urls[0].rsplit("/", 1)[0] + "/9")
        self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_NO_SUCH_DEVICE"))

    def test_a_target_that_says_nothing_is_given_up(self):
        self.array.process.send_signal(signal.SIGSTOP)
        try:
            started = time.monotonic()
            status, _ = report("probe", self.urls[SOURCE], "--login-timeout", 1)
            self.assertEqual(status, 3)
            self.assertLess(time.monotonic() - started, 5)
        finally:
            self.array.process.send_signal(signal.SIGCONT)

    def test_every_sub_command_explains_itself(self):
        for words in (("--help",), ("--version",), ("probe", "--help"), ("copy", "--help"), ("offload-read", "--help"),
                      ("offload-write", "--help"), ("cp", "--help"), ("fsctl", "--help")):
            status, text = odx(*words)
            self.assertEqual(status, 0)
            self.assertIn("odx", text.lower() + "odx")
        text = odx("copy", "--help")[1]
        for option in ("--offset", "--dst-offset", "--length", "--ttl", "--fallback", "--json"):
            self.assertIn(option, text + odx("--help")[1])


class WithoutOdxTest(ArrayTest):
    odx_enabled = "false"

    def test_a_disk_without_odx_is_copied_only_by_falling_back(self):
        status, document = report("probe", self.urls[SOURCE])
        self.assertEqual((status, document["windows"]["odx"]), (0, False))
        self.assertIn("8Fh", document["windows"]["reason"])
        self.write(SOURCE, 0, b"\x66" * 4096)
        words = ("copy", self.urls[SOURCE], self.urls[DESTINATION], "--length", "1M")
        status, document = report(*words)
        self.assertEqual((status, document["nt_status"]["value"]), (4, "0xC0000463"))
        self.assertEqual(operation(document), [])
        self.assertEqual(report(*words, "--fallback")[0], 0)
        self.assertEqual(self.read(DESTINATION, 0, 4096), b"\x66" * 4096)


class ChapTest(ArrayTest):
    chap = '[target.chap]\nname = "host"\nsecret = "fourteen-bytes"'

    def test_the_secret_in_the_url_proves_who_we_are_and_is_not_repeated(self):
        with_secret = self.urls[SOURCE].replace("iscsi://", "iscsi://host%fourteen-bytes@")
        status, text = odx("probe", with_secret, "--json")
        self.assertEqual(status, 0)
        self.assertNotIn("fourteen-bytes", text)
        self.assertEqual(report("probe", with_secret.replace("fourteen", "thirteen"))[0], 3)
        self.assertEqual(report("probe", self.urls[SOURCE])[0], 3)


class ForeignTargetTest(unittest.TestCase):
    """Debian's tgtd, which has no ODX."""

    def setUp(self):
        if not shutil.which("tgtd", path="/usr/sbin:/usr/bin") or not shutil.which("tgtadm", path="/usr/sbin:/usr/bin"):
            self.skipTest("tgt is not installed")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder = Path(tempfile.mkdtemp(prefix="odx-cli-"))
        self.addCleanup(shutil.rmtree, self.folder)
        with open(self.folder / "disk", "wb") as disk:
            disk.truncate(8 * MIB)
        self.control = str(self.port % 30000 + 1)
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            ["/usr/sbin/tgtd", "-f", "-C", self.control, "--iscsi", f"portal=127.0.0.1:{self.port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.end)
        for _ in range(50):
            if self.tgtadm("--op", "new", "--mode", "target", "--tid", "1", "-T", "iqn.2026-11.org.odx:tgt") == 0:
                break
            time.sleep(0.1)
        else:
            self.skipTest("tgtd does not run here")
        self.tgtadm("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", str(self.folder / "disk"))
        self.tgtadm("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")

    def end(self):
        self.process.kill()  # it ignores SIGTERM while it has targets
        self.process.wait()

    def tgtadm(self, *words):
        return subprocess.run(["/usr/sbin/tgtadm", "-C", self.control, "--lld", "iscsi", *words], check=False,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode

    def test_probe_says_why_windows_would_not_offload(self):
        status, document = report("probe", f"iscsi://127.0.0.1:{self.port}/iqn.2026-11.org.odx:tgt/1")
        self.assertEqual(status, 0)
        self.assertEqual(document["identity"]["vendor"], "IET")
        self.assertEqual(document["capacity"]["bytes"], 8 * MIB)
        self.assertFalse(document["windows"]["odx"])
        self.assertEqual(document["windows"]["reason"], "VPD page 00h does not list page 8Fh (third-party copy)")


if __name__ == "__main__":
    ODXD, ODX = sys.argv[1:3]
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
