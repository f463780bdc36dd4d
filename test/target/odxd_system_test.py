#!/usr/bin/env python3
"""odxd as a program: what it prints, who may log in, how it ends, and what one peer cannot do to another.

Not tested, and why: protocol details and bad PDUs (conversation tests, test/interop); figures (test/bench).
Usage: odxd_system_test.py ODXD [unittest arguments]. Uses 127.0.0.1 and ::1 and free ports only.
"""
import json
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import types
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from odxd_process import Odxd, odxd_ends, tool  # noqa: E402
from offload import populate_token, read16, token_of, write16, write_using_token  # noqa: E402
from wire import ASYNC, CHECK_CONDITION, GOOD, Closed, Connection, Session  # noqa: E402

BLOCK = 512
HOST = "iqn.2026-11.org.example:host"


class SystemTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odxd-system-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.log_path = self.folder / "odxd.log"

    def odxd(self, *arguments, **options):
        return Odxd(*arguments, log_path=self.log_path, **options)

    def config(self, text):
        path = self.folder / "array.toml"
        path.write_text(text)
        return path

    @staticmethod
    def target(odxd, name):
        """One of several targets, as wire.Session takes it."""
        return types.SimpleNamespace(host=odxd.host, port=odxd.port, iqn=name, lun=int)

    def image(self, name="disk.img", size=8 << 20):
        path = self.folder / name
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def assert_works(self, session, lba=0, lun=0):
        data = random.Random(lba).randbytes(8 * BLOCK)
        self.assertEqual(session.command(write16(lba, 8), data_out=data, lun=lun).status, GOOD)
        self.assertEqual(session.command(read16(lba, 8), data_in=8 * BLOCK, lun=lun).data, data)


class Lines(SystemTest):
    def test_a_line_for_each_lun_and_then_ready(self):
        with self.odxd("memory:64M", f"file:{self.image()}") as odxd:
            self.assertEqual(odxd.lines[-1], "ready")
            self.assertRegex(odxd.lines[0], r"^lun iscsi://127\.0\.0\.1:\d+/iqn\.2026-11\.org\.odx:[0-9a-f]{12}/0$")
            self.assertRegex(odxd.lines[1], r"/1$")
            self.assertEqual(len(odxd.lines), 3)
            self.assertLess(odxd.seconds_to_ready, 5)

    def test_with_json_one_object_a_line(self):
        with self.odxd("--json", "--id", "lab", "memory:64M") as odxd:
            lun, ready = odxd.objects
            self.assertEqual(ready, {"event": "ready", "id": "lab"})
            self.assertEqual((lun["lun"], lun["name"], lun["size_bytes"], lun["block_size"], lun["read_only"]),
                             (0, "lun0", 64 << 20, 512, False))
            self.assertRegex(lun["naa"], "^6024f44[0-9a-f]{25}$")
            self.assertEqual(lun["target"], "iqn.2026-11.org.odx:lab")

    def test_version_help_and_check_end_well(self):
        self.assertRegex(odxd_ends("--version")[1], r"^odxd \d")
        status, output, _ = odxd_ends("--help")
        self.assertEqual(status, 0)
        for word in ("--portal", "--config", "--check", "--json", "Exit codes", "memory:SIZE"):
            self.assertIn(word, output)
        good = self.config('[[target]]\n[[target.lun]]\nstore = "file:/nonexistent"\n')
        self.assertEqual(odxd_ends("--config", good, "--check"), (0, "", ""))

    def test_a_wrong_configuration_ends_with_2_and_its_place(self):
        bad = self.config('[[target]]\n[[target.lun]]\nstore = "memory:1G"\nblock_size = 520\n')
        status, output, errors = odxd_ends("--config", bad)
        self.assertEqual((status, output), (2, ""))
        self.assertEqual(errors, f"{bad}:4:14: target.lun.block_size is 520; expected 512 or 4096\n")

    def test_the_configurations_in_the_documents_are_good(self):
        root = Path(__file__).resolve().parent.parent.parent
        for document in ("README.md", "docs/odxd.toml.md"):
            blocks = re.findall(r"```toml\n(.*?)```", (root / document).read_text(), re.S)
            self.assertTrue(blocks, document)
            for block in blocks:
                self.assertEqual(odxd_ends("--config", self.config(block), "--check")[0], 0, f"{document}: {block}")

    def test_a_taken_port_is_said_with_the_option_to_change(self):
        with self.odxd("memory:64M") as odxd:
            status, _, errors = odxd_ends("--portal", f"127.0.0.1:{odxd.port}", "memory:64M")
            self.assertEqual(status, 1)
            self.assertIn(f"cannot listen on 127.0.0.1:{odxd.port}: Address already in use", errors)
            self.assertIn("--portal ADDR:PORT", errors)

    def test_an_open_portal_beyond_loopback_gets_a_warning(self):
        with self.odxd("memory:64M", portal="0.0.0.0:0") as odxd:
            self.assertEqual(odxd.host, "127.0.0.1")
        self.assertIn("has neither CHAP nor allowed_initiators", self.log_path.read_text())


class Stores(SystemTest):
    def test_a_file_that_another_odxd_serves_is_locked(self):
        image = self.image()
        with self.odxd(f"file:{image}"):
            status, _, errors = odxd_ends("--portal", "127.0.0.1:0", f"file:{image}")
            self.assertEqual(status, 1)
            self.assertRegex(errors, f"^odxd: .*{image}.*(locked|use)")

    def test_a_missing_file_is_said_with_its_place(self):
        config = self.config(f'[[target]]\n[[target.lun]]\nstore = "file:{self.folder}/none.img"\n')
        status, _, errors = odxd_ends("--config", config, "--portal", "127.0.0.1:0")
        self.assertEqual(status, 1)
        self.assertRegex(errors, f"^{config}:3:9: .*none.img.*does not exist")

    def test_what_was_written_is_in_the_file_when_odxd_has_ended(self):
        image = self.image()
        data = random.Random(5).randbytes(64 * BLOCK)
        with self.odxd(f"file:{image}") as odxd:
            session = Session(odxd).clear_unit_attentions()
            self.assertEqual(session.command(write16(16, 64), data_out=data).status, GOOD)
        self.assertEqual(image.read_bytes()[16 * BLOCK:80 * BLOCK], data)

    def test_a_read_only_lun_is_write_protected_and_shares_its_file(self):
        image = self.image()
        config = self.config(f'[[target]]\n[[target.lun]]\nstore = "file:{image}"\nread_only = true\n')
        with self.odxd("--config", config) as odxd, self.odxd("--config", config) as other:
            for each in (odxd, other):
                session = Session(each).clear_unit_attentions()
                self.assertEqual(session.command(read16(0, 1), data_in=BLOCK).status, GOOD)
                self.assertEqual(session.command(write16(0, 1), data_out=bytes(BLOCK)).key, (7, 0x27, 0))
                session.close()

    def test_beyond_the_memory_limit_writes_get_07_27_07_and_odxd_lives(self):
        with self.odxd("--memory-limit", "8M", "memory:64G") as odxd:
            session = Session(odxd).clear_unit_attentions()
            piece = random.Random(6).randbytes(512 * BLOCK)
            statuses = [session.command(write16(lba * 512, 512), data_out=piece) for lba in range(64)]
            refused = [each for each in statuses if each.status != GOOD]
            self.assertTrue(refused)
            self.assertEqual({each.key for each in refused}, {(7, 0x27, 7)})
            self.assertEqual(session.command(read16(0, 512), data_in=512 * BLOCK).data, piece)
            session.close()


class Identity(SystemTest):
    def designators(self, *arguments):
        with self.odxd("--json", *arguments) as odxd:
            return [(each["serial"], each["naa"]) for each in odxd.objects if each["event"] == "lun"]

    def test_two_default_arrays_share_no_serial_and_no_designator(self):
        both = self.designators("memory:64M", "memory:64M") + self.designators("memory:64M", "memory:64M")
        self.assertEqual(len({serial for serial, _ in both}), 4)
        self.assertEqual(len({naa for _, naa in both}), 4)

    def test_a_configured_id_and_a_file_keep_who_they_are(self):
        self.assertEqual(self.designators("--id", "lab", "memory:64M"), self.designators("--id", "lab", "memory:64M"))
        image = self.image()
        if Path("/etc/machine-id").exists() and len(Path("/etc/machine-id").read_text().strip()) == 32:
            self.assertEqual(self.designators(f"file:{image}"), self.designators(f"file:{image}"))


class Login(SystemTest):
    def test_discovery_and_input_output_with_programs_we_did_not_write(self):
        with self.odxd("memory:64M", "memory:64M") as odxd:
            status, output = tool("iscsi-ls", "-s", odxd.portal_url)
            self.assertEqual(status, 0, output)
            self.assertIn(odxd.iqn, output)
            self.assertIn("Lun:1", output)
            status, output = tool("iscsi-inq", odxd.url)
            self.assertEqual(status, 0, output)
            self.assertIn("ODX", output)
            source = self.folder / "source.raw"
            source.write_bytes(random.Random(7).randbytes(16 << 20))
            status, output = tool("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, odxd.urls[1])
            self.assertEqual(status, 0, output)
            back = self.folder / "back.raw"
            status, output = tool("qemu-img", "convert", "-f", "raw", "-O", "raw", odxd.urls[1], back)
            self.assertEqual(status, 0, output)
            self.assertEqual(back.read_bytes()[:16 << 20], source.read_bytes())

    def test_ipv6(self):
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            self.skipTest("no ::1 here")
        with self.odxd("memory:64M", portal="[::1]:0") as odxd:
            self.assertTrue(odxd.url.startswith("iscsi://[::1]:"), odxd.url)
            status, output = tool("iscsi-ls", "-s", odxd.portal_url)
            self.assertEqual(status, 0, output)
            self.assertIn("[::1]", output)
            self.assert_works(Session(odxd).clear_unit_attentions())

    def test_chap_one_way_and_mutual(self):
        config = self.config("""
[discovery.chap]
name = "finder"
secret = "finder-secret-1"
[[target]]
name = "iqn.2026-11.org.example:chap"
[target.chap]
name = "host"
secret = "host-secret-12"
mutual = { name = "array", secret = "array-secret-1", required = false }
[[target.lun]]
store = "memory:64M"
""")
        with self.odxd("--config", config) as odxd:
            where = odxd.url.removeprefix("iscsi://")
            portal = odxd.portal_url.removeprefix("iscsi://")
            self.assertEqual(tool("iscsi-inq", f"iscsi://host%host-secret-12@{where}")[0], 0)
            mutual = "?target_user=array&target_password="
            self.assertEqual(tool("iscsi-inq", f"iscsi://host%host-secret-12@{where}{mutual}array-secret-1")[0], 0)
            self.assertNotEqual(tool("iscsi-inq", f"iscsi://host%host-secret-12@{where}{mutual}wrong-secret-1")[0], 0)
            self.assertNotEqual(tool("iscsi-inq", f"iscsi://host%wrong-secret-1@{where}")[0], 0)
            self.assertNotEqual(tool("iscsi-inq", f"iscsi://other%host-secret-12@{where}")[0], 0)
            self.assertNotEqual(tool("iscsi-inq", odxd.url)[0], 0)
            self.assertEqual(tool("iscsi-ls", f"iscsi://finder%finder-secret-1@{portal}")[0], 0)
            self.assertNotIn("chap", tool("iscsi-ls", f"iscsi://finder%wrong-secret-1@{portal}")[1])
            log = odxd.log()
            self.assertNotIn("-secret-", log)
            self.assertIn("refused", log)

    def test_two_targets_an_allow_list_and_an_advertised_address(self):
        config = self.config(f"""
[[portal]]
listen = "127.0.0.1:0"
advertise = "array.example.org:3999"
[[target]]
name = "iqn.2026-11.org.example:open"
[[target.lun]]
store = "memory:64M"
[[target]]
name = "iqn.2026-11.org.example:listed"
allowed_initiators = ["{HOST}"]
[[target.lun]]
number = 5
store = "memory:32M"
block_size = 4096
""")
        with self.odxd("--config", config, portal=None) as odxd:
            self.assertTrue(odxd.url.startswith("iscsi://array.example.org:3999/"), odxd.url)
            self.assertTrue(odxd.urls[1].endswith("listed/5"))

        with self.odxd("--config", config) as odxd:
            allowed = tool("iscsi-ls", "-i", HOST, odxd.portal_url)[1]
            self.assertIn("example:open", allowed)
            self.assertIn("example:listed", allowed)
            stranger = tool("iscsi-ls", "-i", "iqn.2026-11.org.example:stranger", odxd.portal_url)[1]
            self.assertIn("example:open", stranger)
            self.assertNotIn("example:listed", stranger)
            self.assertEqual(tool("iscsi-inq", "-i", HOST, odxd.urls[1])[0], 0)
            self.assertNotEqual(tool("iscsi-inq", "-i", "iqn.2026-11.org.example:stranger", odxd.urls[1])[0], 0)

    def test_sendtargets_tells_the_advertised_address(self):
        config = self.config('[[portal]]\nlisten = "127.0.0.1:0"\nadvertise = "array.example.org:3999"\n'
                             '[[target]]\n[[target.lun]]\nstore = "memory:64M"\n')
        with self.odxd("--config", config, portal=None) as odxd:
            # What is printed is the advertised address; the bound one is in the log.
            bound = re.search(r"listening on (127\.0\.0\.1:\d+)", odxd.log()).group(1)
            told = tool("iscsi-ls", f"iscsi://{bound}")[1]
            self.assertIn("Portal:array.example.org:3999,1", told)

    def test_logins_and_logouts_are_logged(self):
        with self.odxd("memory:64M") as odxd:
            Session(odxd, initiator=HOST).close()
        log = self.log_path.read_text()
        self.assertRegex(log, f"(?i)login.*{HOST}|{HOST}.*log(ged|s)? ?in")
        self.assertRegex(log, f"(?i)logout.*{HOST}|{HOST}.*log(ged|s)? ?out")


class Copies(SystemTest):
    def test_an_unreachable_pair_is_refused_and_other_pairs_copy(self):
        config = self.config("""
[[target]]
[[target.lun]]
name = "a"
store = "memory:64M"
[[target.lun]]
name = "b"
store = "memory:64M"
[[target.lun]]
name = "c"
store = "memory:64M"
[[unreachable]]
a = "a"
b = "c"
""")
        with self.odxd("--config", config, "--log-level", "debug") as odxd:
            session = Session(odxd, initiator=HOST).clear_unit_attentions(0, 1, 2)
            data = random.Random(8).randbytes(8 * BLOCK)
            self.assertEqual(session.command(write16(0, 8), data_out=data).status, GOOD)
            token = token_of(session, 0, [(0, 8)])
            cdb, parameters = write_using_token(1, token, [(8, 8)])
            self.assertEqual(session.command(cdb, data_out=parameters, lun=1).status, GOOD)
            self.assertEqual(session.command(read16(8, 8), data_in=8 * BLOCK, lun=1).data, data)
            cdb, parameters = write_using_token(2, token, [(8, 8)])
            self.assertEqual(session.command(cdb, data_out=parameters, lun=2).key, (5, 0x08, 0x04))
            session.close()
        log = self.log_path.read_text()
        self.assertIn(f"WRITE USING TOKEN from {HOST} to LUN 1: GOOD", log)
        self.assertRegex(log, f"WRITE USING TOKEN from {HOST} to LUN 2: .*REACHABLE")

    def test_without_odx_its_commands_do_not_exist(self):
        config = self.config('[tokens]\nodx = false\n[[target]]\n[[target.lun]]\nstore = "memory:64M"\n')
        with self.odxd("--config", config) as odxd:
            session = Session(odxd).clear_unit_attentions()
            cdb, data = populate_token(1, [(0, 8)])
            answer = session.command(cdb, data_out=data)
            self.assertEqual((answer.status, answer.key), (CHECK_CONDITION, (5, 0x20, 0)))
            session.close()


TWO_ARRAYS = """
[[array]]
name = "east"
id = "e"
profile = "3par-like"
[[array]]
name = "west"
id = "w"
[[target]]
array = "east"
name = "iqn.2026-11.org.example:east"
[[target.lun]]
name = "e0"
store = "memory:64M"
[[target]]
array = "west"
name = "iqn.2026-11.org.example:west"
[[target.lun]]
name = "w0"
store = "memory:64M"
"""


class Arrays(SystemTest):
    def test_each_array_has_its_own_id_and_personality(self):
        with self.odxd("--json", "--config", self.config(TWO_ARRAYS)) as odxd:
            east, west, ready = odxd.objects
            self.assertEqual((east["array"], east["name"], west["array"]), ("east", "e0", "west"))
            self.assertEqual(ready["arrays"], [{"name": "east", "id": "e"}, {"name": "west", "id": "w"}])
            ranges = {}
            for each in (east, west):
                session = Session(self.target(odxd, each["target"])).clear_unit_attentions()
                page = session.command(bytes([0x12, 1, 0x8F, 0x10, 0, 0]), data_in=4096).data
                ranges[each["array"]] = int.from_bytes(page[14:16], "big")
                session.close()
            self.assertEqual(ranges, {"east": 8, "west": 64})

    def test_one_file_behind_two_arrays_needs_ids(self):
        image = self.image()
        with open("/etc/machine-id", encoding="ascii", errors="replace") as file:
            if len(file.read().strip()) != 32:
                self.skipTest("no machine id: a file counts like memory")
        lines = "".join(f'[[array]]\nname = "{name}"\n[[target]]\narray = "{name}"\n'
                        f'name = "iqn.2026-11.org.example:{name}"\n'
                        f'[[target.lun]]\nname = "{name}0"\nstore = "file:{image},ro"\n' for name in "ab")
        status, _, errors = odxd_ends("--portal", "127.0.0.1:0", "--config", self.config(lines))
        self.assertEqual(status, 1)
        self.assertRegex(errors, r'array.toml:16:9: "b0" of array "b" has the designator of "a0" of array "a"')


class Signals(SystemTest):
    LUNS = "[[target]]\n" + "".join(f'[[target.lun]]\nname = "{name}"\nstore = "memory:64M"\n' for name in "abc")

    def write(self, session, token, lun):
        self.list_identifier = getattr(self, "list_identifier", 0) + 1
        cdb, parameters = write_using_token(self.list_identifier, token, [(8, 8)])
        answer = session.command(cdb, data_out=parameters, lun=lun)
        return "GOOD" if answer.status == GOOD else answer.key

    def test_sigusr2_takes_the_pairs_of_the_file_and_refuses_a_bad_one(self):
        config = self.config(self.LUNS + '[[unreachable]]\na = "a"\nb = "b"\n')
        with self.odxd("--config", config) as odxd:
            session = Session(odxd).clear_unit_attentions(0, 1, 2)
            token = token_of(session, 0, [(0, 8)])
            self.assertEqual([self.write(session, token, lun) for lun in (1, 2)], [(5, 0x08, 0x04), "GOOD"])
            self.config(self.LUNS + '[[unreachable]]\na = "a"\nb = "c"\n')
            odxd.process.send_signal(signal.SIGUSR2)
            odxd.wait_for_log("SIGUSR2: 0 changes, 1 unreachable pairs")
            self.assertEqual([self.write(session, token, lun) for lun in (1, 2)], ["GOOD", (5, 0x08, 0x04)])
            self.config(self.LUNS + '[[unreachable]]\na = "a"\nb = "d"\n')
            odxd.process.send_signal(signal.SIGUSR2)
            odxd.wait_for_log(f'SIGUSR2: nothing changes: {config}:13:5: unreachable.b is "d"; expected')
            renamed = self.LUNS.replace('"c"', '"d"')
            self.config(renamed + '[[unreachable]]\na = "a"\nb = "d"\n')
            odxd.process.send_signal(signal.SIGUSR2)
            odxd.wait_for_log("SIGUSR2: nothing changes: these need a restart of odxd: "
                              f"{config}:10:9: name of LUN 2 of iqn")
            self.assertEqual([self.write(session, token, lun) for lun in (1, 2)], ["GOOD", (5, 0x08, 0x04)])
            session.close()

    def test_without_a_file_sigusr2_changes_nothing(self):
        with self.odxd("memory:64M") as odxd:
            odxd.process.send_signal(signal.SIGUSR2)
            odxd.wait_for_log("SIGUSR2: there is no configuration file")
            self.assert_works(Session(odxd).clear_unit_attentions())

    def test_sigusr1_reports_tokens_and_memory(self):
        with self.odxd("--json", "memory:64M") as odxd:
            session = Session(odxd).clear_unit_attentions()
            self.assertEqual(session.command(write16(0, 8), data_out=b"x" * 8 * BLOCK).status, GOOD)
            token_of(session, 0, [(0, 8)])
            odxd.process.send_signal(signal.SIGUSR1)
            status = json.loads(odxd.next_line())
            self.assertEqual(status["event"], "status")
            self.assertGreater(status["memory_limit"], status["memory_used"])
            token, = status["arrays"][0]["tokens"]
            self.assertEqual((token["source"], token["type"], token["bytes"]), ("lun0", "point-in-time-default", 4096))
            self.assertTrue(50 < token["ends_in_s"] <= 60, token)
            session.close()
        with self.odxd("memory:64M") as odxd:
            odxd.process.send_signal(signal.SIGUSR1)
            odxd.wait_for_log("0 tokens, 0 copies under way, 0 results")


class Ending(SystemTest):
    def test_sigterm_asks_sessions_to_log_out_and_ends_when_they_have(self):
        odxd = self.odxd("memory:64M")
        session = Session(odxd).clear_unit_attentions()
        odxd.process.send_signal(signal.SIGTERM)
        asked = session.receive_pdu()
        self.assertEqual((asked.opcode, asked.bhs[36]), (ASYNC, 1))  # RFC 7143, 11.9.1: the target requests logout
        session.close()
        self.assertEqual(odxd.wait(within_s=2), 0)

    def test_sigterm_ends_though_nobody_logs_out(self):
        odxd = self.odxd("memory:64M")
        sessions = [Session(odxd, initiator=f"{HOST}{number}") for number in range(3)]
        stalled = Connection(odxd.host, odxd.port)
        self.assertEqual(odxd.end(signal.SIGINT), 0)
        for each in (*sessions, stalled):
            self.assertTrue(each.closed_within(5))

    def test_a_second_signal_ends_at_once(self):
        odxd = self.odxd("memory:64M")
        session = Session(odxd).clear_unit_attentions()
        odxd.process.send_signal(signal.SIGTERM)
        session.receive_pdu()  # the first signal has been served
        self.assertEqual(odxd.end(signal.SIGTERM, within_s=1), -signal.SIGTERM)


class Neighbours(SystemTest):
    def test_a_stalled_login_is_ended_and_others_work_meanwhile(self):
        config = self.config('[iscsi]\nlogin_timeout_s = 1\n[[target]]\n[[target.lun]]\nstore = "memory:64M"\n')
        with self.odxd("--config", config) as odxd:
            worker = Session(odxd).clear_unit_attentions()
            stalled = [Connection(odxd.host, odxd.port) for _ in range(8)]
            stalled[0].send(bytes([0x43, 0x87]) + bytes(20))
            stalled[1].send(random.Random(9).randbytes(4096))
            self.assert_works(worker)
            for each in stalled:
                self.assertTrue(each.closed_within(5))
            self.assert_works(worker, lba=64)
            worker.close()

    def test_a_peer_that_does_not_read_waits_and_others_work_meanwhile(self):
        with self.odxd("memory:1G") as odxd:
            greedy = Session(odxd, initiator=HOST + "greedy").clear_unit_attentions()
            worker = Session(odxd, initiator=HOST + "worker").clear_unit_attentions()
            before = resident_bytes(odxd.process.pid)

            def ask():
                try:
                    while True:
                        greedy.send(greedy.command_pdu(read16(0, 2048), data_in=2048 * BLOCK))
                except OSError:
                    pass

            asking = threading.Thread(target=ask)
            asking.start()
            for number in range(200):
                self.assert_works(worker, lba=8 * number)
            self.assertLess(resident_bytes(odxd.process.pid) - before, 256 << 20)
            greedy.socket.shutdown(socket.SHUT_RDWR)
            asking.join()
            self.assert_works(worker)
            worker.close()

    def test_a_peer_that_writes_before_it_reads_is_heard(self):
        marker, answers = random.Random(5).randbytes(BLOCK), 15 << 20  # more than sockets hold, less than odxd keeps
        with self.odxd("memory:64M") as odxd:
            worker = Session(odxd, initiator=HOST + "worker").clear_unit_attentions()
            wordy = []
            for lba, blocks in enumerate((256, 312, 360, 416, 448, 512), start=1000):
                session = Session(odxd, initiator=f"{HOST}wordy{lba}").clear_unit_attentions()
                wordy.append(session)
                for _ in range(answers // (blocks * BLOCK)):
                    session.send(session.command_pdu(read16(0, blocks), data_in=blocks * BLOCK))
                session.send(session.command_pdu(write16(lba, 1), marker))
                for _ in range(50_000):
                    if worker.command(read16(lba, 1), data_in=BLOCK).data == marker:
                        break
                else:
                    self.fail(f"the write behind reads of {blocks} blocks is not heard")
            for each in wordy:
                each.socket.close()
            self.assert_works(worker)
            worker.close()

    def test_beyond_max_connections_the_socket_is_closed_until_one_leaves(self):
        config = self.config('[iscsi]\nmax_connections = 2\n[[target]]\n[[target.lun]]\nstore = "memory:64M"\n')
        with self.odxd("--config", config) as odxd:
            first = Session(odxd, initiator=HOST + "1").clear_unit_attentions()
            second = Session(odxd, initiator=HOST + "2").clear_unit_attentions()
            self.assertTrue(Connection(odxd.host, odxd.port).closed_within(5))
            second.close()
            third = self.log_in_when_there_is_room(odxd)
            self.assert_works(first)
            self.assert_works(third, lba=64)
            first.close()
            third.close()

    def log_in_when_there_is_room(self, odxd):
        for _ in range(1000):
            try:
                return Session(odxd, initiator=HOST + "3").clear_unit_attentions()
            except (Closed, OSError):
                continue
        self.fail("no room though a session has logged out")

    def test_without_descriptors_new_connections_wait_and_old_ones_work(self):
        with self.odxd("memory:64M", descriptors=24) as odxd:
            worker = Session(odxd).clear_unit_attentions()
            crowd = [Connection(odxd.host, odxd.port) for _ in range(40)]
            odxd.wait_for_log("Too many open files")  # new connections give way to a session's commands
            self.assert_works(worker)
            for each in crowd:
                each.close()
            late = Session(odxd, initiator=HOST + "late").clear_unit_attentions()
            self.assert_works(late, lba=64)
            late.close()
            worker.close()

    def test_two_connections_of_a_session_are_one_stream_of_commands(self):
        with self.odxd("memory:64M") as odxd:
            first = Session(odxd).clear_unit_attentions()
            second = Session(odxd, joins=first)
            for block in range(100):
                data = block.to_bytes(2, "big") * (BLOCK // 2)
                write = first.command_pdu(write16(block, 1), data)
                second.task_tag, second.command_number = first.task_tag, first.command_number
                second.send(second.command_pdu(read16(block, 1), data_in=BLOCK))
                first.send(write)
                self.assertEqual(second.answer().data, data)
                self.assertEqual(first.answer().status, GOOD)
                first.task_tag, first.command_number = second.task_tag, second.command_number
            second.socket.close()
            message = first.receive_pdu()
            self.assertEqual((message.opcode, message.bhs[36]), (ASYNC, 3))
            self.assertTrue(first.closed_within(5))
            self.assert_works(Session(odxd).clear_unit_attentions())

    def test_a_session_logged_in_twice_replaces_itself_and_spares_the_others(self):
        with self.odxd("memory:64M") as odxd:
            other = Session(odxd, initiator=HOST + "other").clear_unit_attentions()
            old = Session(odxd).clear_unit_attentions()
            new = Session(odxd).clear_unit_attentions()
            self.assertTrue(old.closed_within(5))
            self.assert_works(new)
            self.assert_works(other, lba=64)
            new.close()
            other.close()


def resident_bytes(pid):
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")  # sockets end with their test
