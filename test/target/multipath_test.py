#!/usr/bin/env python3
"""Several paths to one disk, as multipath software uses them: portal groups, ALUA, and a portal that dies under load.

Not tested, and why: Windows' MPIO and Linux' dm-multipath themselves, which are not here; which command is served in
which access state (test/scsi/target_port_groups_test.cc). Usage: multipath_test.py ODXD [unittest arguments]. Uses
127.0.0.1 and free ports only.
"""
import multiprocessing
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import types
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from odxd_process import Odxd, odxd_ends  # noqa: E402
from offload import read16, token_of, write16, write_using_token  # noqa: E402
from wire import GOOD, UNIT_ATTENTION, Closed, Session  # noqa: E402

BLOCK = 512
OPTIMIZED, NON_OPTIMIZED, STANDBY, UNAVAILABLE, TRANSITIONING = 0, 1, 2, 3, 15
ACTIVE = (OPTIMIZED, NON_OPTIMIZED)
STATES_CHANGED = (6, 0x2A, 6)
IN_STANDBY, IN_UNAVAILABLE, IN_TRANSITION = (2, 4, 0x0B), (2, 4, 0x0C), (2, 4, 0x0A)
BY_SET_TARGET_PORT_GROUPS, BY_THE_ARRAY = 1, 2


class Path_(Session):  # pylint: disable=invalid-name
    """A session through one portal group."""

    def __init__(self, portal, initiator="iqn.2026-11.org.example:host"):
        super().__init__(portal, initiator, bytes([0x40, 0, 1, 0x37, 0, 0]))
        for lun in range(len(portal.urls)):  # the condition of its birth; what comes later is the test's
            self.command(bytes(6), lun=lun)

    def groups(self, lun=0):
        """What REPORT TARGET PORT GROUPS says: {group: (state, what changed it)}."""
        data = self.command(struct.pack(">BB4xIxx", 0xA3, 0x0A, 1024), data_in=1024, lun=lun).data
        return {struct.unpack_from(">H", data, at + 2)[0]: (data[at] & 0x0F, data[at + 5])
                for at in range(4, len(data), 12)}

    def states(self, lun=0):
        return {group: state for group, (state, _) in self.groups(lun).items()}

    def set_states(self, states, lun=0):
        data = bytes(4) + b"".join(struct.pack(">BxH", state, group) for group, state in states.items())
        return self.command(struct.pack(">BB4xIxx", 0xA4, 0x0A, len(data)), data_out=data, lun=lun)

    def ready(self, lun=0):
        """Sense key, code and qualifier of TEST UNIT READY; nothing when it is good."""
        return self.command(bytes(6), lun=lun).key

    def vpd_83(self, lun=0):
        """The designators, by their association: 0 the logical unit's, 1 the port's, 2 the target's."""
        data = self.command(bytes([0x12, 1, 0x83, 2, 0, 0]), data_in=512, lun=lun).data
        found, at = {0: [], 1: [], 2: []}, 4
        while at < len(data):
            end = at + 4 + data[at + 3]
            found[data[at + 1] >> 4 & 3].append(data[at:end])
            at = end
        return found

    def read(self, lba, lun=0):
        return self.command(read16(lba, 1), data_in=BLOCK, lun=lun)

    def write(self, lba, data, lun=0):
        return self.command(write16(lba, 1), data_out=data, lun=lun)


class Multipath:
    """What multipath software does: sends a command through the best path, and through another when that one fails."""

    def __init__(self, paths):
        self.paths = dict(paths)  # by portal group
        self.failures = []

    def states(self):
        for group, path in list(self.paths.items()):
            try:
                return path.states() or path.states()  # a unit attention condition may come first
            except (Closed, OSError):
                self.lose(group)
        return {}

    def lose(self, group):
        self.failures.append(group)
        self.paths.pop(group).socket.close()

    def best(self):
        states = self.states()
        usable = [group for group in sorted(self.paths, key=states.get) if states[group] in ACTIVE]
        return usable[0] if usable else None

    def command(self, send):
        """`send` takes a path. Ends with an answer that is good, or with the last that was not."""
        for _ in range(8):
            group = self.best()
            if group is None:
                raise AssertionError(f"no path is left; failed: {self.failures}")
            try:
                answer = send(self.paths[group])
            except (Closed, OSError):
                self.lose(group)
                continue
            if answer.status == GOOD:
                return answer
            if answer.key[0] != UNIT_ATTENTION and answer.key[0] != 2:
                return answer
        return answer


def relay(listener, port):
    """Passes bytes between whoever connects and a portal, until it is killed."""
    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for each in (source, sink):
            each.close()

    while True:
        client, _ = listener.accept()
        server = socket.create_connection(("127.0.0.1", port))
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for pair in ((client, server), (server, client)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


class Relay:
    """A relay in a process of its own, which can be killed: what a dead portal is to a host."""

    def __init__(self, portal):
        listener = socket.create_server(("127.0.0.1", 0))
        self.portal = types.SimpleNamespace(**{**vars(portal), "port": listener.getsockname()[1]})
        self.process = multiprocessing.get_context("fork").Process(target=relay, args=(listener, portal.port),
                                                                   daemon=True)
        self.process.start()
        listener.close()

    def die(self):
        self.process.kill()
        self.process.join()


CONFIG = """
[[portal]]
listen = "127.0.0.1:0"
[[portal]]
listen = "127.0.0.1:0"
group = 2
[[target]]
name = "iqn.2026-11.org.example:disks"
{target}
[[target.lun]]
store = "memory:64M"
{lun}
[[target.lun]]
store = "memory:64M"
[[target]]
name = "iqn.2026-11.org.example:near"
portal_groups = [1]
[[target.lun]]
store = "memory:64M"
"""


def access(group, state, where="target"):
    return f'[[{where}.access]]\ngroup = {group}\nstate = "{state}"\n'


class MultipathTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odxd-multipath-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.config = self.folder / "array.toml"
        self.paths = []

    def start(self, target="", lun=""):
        self.config.write_text(CONFIG.format(target=target, lun=lun))
        self.odxd = self.enterContext(Odxd("--config", self.config, portal=None, log_path=self.folder / "odxd.log"))
        self.addCleanup(lambda: [path.socket.close() for path in self.paths])
        ports = {}
        for url in self.odxd.urls:
            ports.setdefault(int(re.search(r":(\d+)/", url)[1]))
        urls = self.odxd.urls[:2]
        self.portals = [types.SimpleNamespace(host="127.0.0.1", port=port, iqn=self.odxd.iqn, lun=int, urls=urls)
                        for port in ports]

    def path(self, group, portal=None, **options):
        self.paths.append(Path_(portal or self.portals[group - 1], **options))
        return self.paths[-1]

    def good(self, answer):
        self.assertEqual((answer.status, answer.key), (GOOD, None))

    def end_sessions(self):
        for path in self.paths:
            path.close()


class Ports(MultipathTest):
    def test_every_lun_is_told_through_every_portal_group_it_is_offered_in(self):
        self.start()
        tails = [url.split("/", 3)[3] for url in self.odxd.urls]
        self.assertEqual(tails, ["iqn.2026-11.org.example:disks/0", "iqn.2026-11.org.example:disks/1",
                                 "iqn.2026-11.org.example:near/0", "iqn.2026-11.org.example:disks/0",
                                 "iqn.2026-11.org.example:disks/1"])
        self.assertEqual(len(self.portals), 2)

    def test_iscsi_ls_is_told_each_portal_with_its_tag(self):
        self.start()
        first, second = (portal.port for portal in self.portals)
        for asked in (first, second):
            told = subprocess.run(["iscsi-ls", f"iscsi://127.0.0.1:{asked}"], stdout=subprocess.PIPE, text=True,
                                  check=True).stdout.splitlines()
            self.assertEqual(sorted(re.sub(r"^Target:(\S+) Portal:", r"\1 ", line) for line in told),
                             sorted([f"iqn.2026-11.org.example:disks 127.0.0.1:{first},1",
                                     f"iqn.2026-11.org.example:disks 127.0.0.1:{second},2",
                                     f"iqn.2026-11.org.example:near 127.0.0.1:{first},1"]))

    def test_a_target_is_not_found_in_a_group_it_is_not_offered_in(self):
        self.start()
        near = types.SimpleNamespace(**{**vars(self.portals[1]), "iqn": "iqn.2026-11.org.example:near"})
        with self.assertRaisesRegex(Closed, "login refused"):
            self.path(2, near)
        self.odxd.wait_for_log("the target is not offered in portal group 2")

    def test_a_logical_unit_has_one_identity_through_both_ports(self):
        self.start()
        first, second = self.path(1).vpd_83(), self.path(2).vpd_83()
        self.assertEqual(first[0], second[0])
        self.assertEqual(first[2], second[2])
        self.assertNotEqual(first[1], second[1])
        for group, found in ((1, first), (2, second)):
            self.assertIn(bytes([0x51, 0x94, 0, 4, 0, 0, 0, group]), found[1])
            self.assertIn(bytes([0x51, 0x95, 0, 4, 0, 0, 0, group]), found[1])
            self.assertTrue(any(f",t,0x{group:04x}".encode() in each for each in found[1]))
        serials = {path.command(bytes([0x12, 1, 0x80, 0, 255, 0]), data_in=255).data for path in self.paths}
        self.assertEqual(len(serials), 1)

    def test_one_initiator_port_is_a_nexus_of_its_own_through_each_group(self):
        self.start()
        first, second = self.path(1), self.path(2)  # with one ISID: neither ends the other
        self.good(first.write(3, b"\x33" * BLOCK))
        self.assertEqual(second.read(3).data, b"\x33" * BLOCK)
        token = token_of(first, 0, [(3, 1)])  # made through one path, used through the other
        cdb, data = write_using_token(7, token, [(9, 1)])
        self.good(second.command(cdb, data_out=data, lun=1))
        self.assertEqual(first.read(9, lun=1).data, b"\x33" * BLOCK)

    def test_a_registration_with_all_target_ports_works_through_the_other_port(self):
        self.start()
        first, second, other = self.path(1), self.path(2), self.path(2, initiator="iqn.2026-11.org.example:other")
        register = struct.pack(">QQIBxxx", 0, 0xAB, 0, 0x04)  # ALL_TG_PT
        self.good(first.command(struct.pack(">BBBxxIx", 0x5F, 0, 0, 24), data_out=register))
        reserve = struct.pack(">QQIBxxx", 0xAB, 0, 0, 0)
        self.good(second.command(struct.pack(">BBBxxIx", 0x5F, 1, 5, 24), data_out=reserve))
        self.good(first.write(0, bytes(BLOCK)))
        self.good(second.write(0, bytes(BLOCK)))
        self.assertEqual(other.write(0, bytes(BLOCK)).status, 0x18)  # RESERVATION CONFLICT
        status = first.command(struct.pack(">BB5xHx", 0x5E, 3, 1024), data_in=1024).data
        ports, at = [], 8
        while at < len(status):
            ports.append(int.from_bytes(status[at + 18:at + 20], "big"))
            at += 24 + int.from_bytes(status[at + 20:at + 24], "big")
        self.assertEqual(ports, [1, 2])

    def test_a_configuration_that_names_a_group_without_portal_is_refused(self):
        self.config.write_text(CONFIG.format(target="portal_groups = [1, 3]", lun=""))
        status, _, error = odxd_ends("--config", self.config, "--check")
        self.assertEqual(status, 2)
        self.assertIn("target.portal_groups names portal group 3; expected 1 or 2", error)

    def test_the_command_line_names_groups_too(self):
        with Odxd("memory:64M", "--portal", "127.0.0.1:0,7", portal="127.0.0.1:0") as odxd:
            self.assertEqual(len(odxd.urls), 2)
            self.assertNotEqual(*odxd.urls)


class FailOver(MultipathTest):
    def test_io_goes_on_over_the_other_portal_when_one_dies_under_load(self):
        self.start('alua = "both"\n' + access(2, "active/non-optimized"))
        dying = Relay(self.portals[0])
        self.addCleanup(dying.die)
        host = Multipath({1: self.path(1, dying.portal), 2: self.path(2)})
        stamp = lambda lba: struct.pack(">Q", lba) * (BLOCK // 8)  # noqa: E731
        writes, dies_at = 300, 100
        killer = threading.Thread(target=dying.die)
        for lba in range(writes):
            if lba == dies_at:
                self.assertEqual(host.failures, [])
                killer.start()  # while commands are under way
            self.good(host.command(lambda path, at=lba: path.write(at, stamp(at))))
        killer.join()
        self.assertEqual(host.failures, [1])
        self.assertEqual(host.states(), {1: OPTIMIZED, 2: NON_OPTIMIZED})
        # The host makes the path that is left the one to use; what was written is all there.
        self.good(host.paths[2].set_states({1: STANDBY, 2: OPTIMIZED}))
        for lba in range(writes):
            self.assertEqual(host.command(lambda path, at=lba: path.read(at)).data, stamp(lba))
        # The portal comes back: the new session finds the states as they are now, and may change them again.
        again = self.path(1)
        self.assertEqual(again.groups(), {1: (STANDBY, BY_SET_TARGET_PORT_GROUPS),
                                          2: (OPTIMIZED, BY_SET_TARGET_PORT_GROUPS)})
        self.assertEqual(again.read(0).key, IN_STANDBY)
        self.good(again.set_states({1: OPTIMIZED, 2: NON_OPTIMIZED}))
        host.paths[1] = again
        self.assertEqual(host.best(), 1)
        self.assertEqual(host.command(lambda path: path.read(writes - 1)).data, stamp(writes - 1))

    def test_explicit_fail_over_is_seen_through_both_ports_and_told_once(self):
        self.start('alua = "explicit"\n' + access(2, "standby"))
        first, second = self.path(1), self.path(2)
        inquiry = first.command(bytes([0x12, 0, 0, 0, 96, 0]), data_in=96).data
        self.assertEqual((inquiry[5] & 0x30, inquiry[6] & 0x10), (0x20, 0x10))  # TPGS, MULTIP
        self.assertEqual(second.ready(), IN_STANDBY)
        self.assertEqual(second.write(0, bytes(BLOCK)).key, IN_STANDBY)
        self.good(second.set_states({2: OPTIMIZED, 1: STANDBY}))
        self.good(second.write(0, b"\x11" * BLOCK))
        self.assertEqual([first.ready(), first.ready()], [STATES_CHANGED, IN_STANDBY])
        for path in (first, second):
            self.assertEqual(path.states(), {1: STANDBY, 2: OPTIMIZED})
            self.assertEqual(path.states(lun=1), {1: OPTIMIZED, 2: STANDBY})  # the other LUN is where it was
        self.assertEqual(first.ready(lun=1), None)

    def test_sigusr2_changes_the_states_that_the_file_changed(self):
        self.start('alua = "both"\n', access(2, "standby", "target.lun"))
        first, second = self.path(1), self.path(2)
        self.assertEqual(first.states(), {1: OPTIMIZED, 2: STANDBY})
        self.assertEqual(second.ready(lun=1), None)
        self.good(first.set_states({1: NON_OPTIMIZED}))  # the host's own; the file says nothing new of it
        self.assertEqual(second.ready(), STATES_CHANGED)
        seen = 0
        for state, code, sense in (("unavailable", UNAVAILABLE, IN_UNAVAILABLE),
                                   ("transitioning", TRANSITIONING, IN_TRANSITION),
                                   ("active/optimized", OPTIMIZED, None)):
            self.config.write_text(CONFIG.format(target='alua = "both"\n', lun=access(2, state, "target.lun")))
            self.odxd.process.send_signal(signal.SIGUSR2)
            seen += 1
            self.odxd.wait_for_log("target1-lun0 through portal group 2 is", seen)
            self.assertEqual([first.ready(), first.ready()], [STATES_CHANGED, None])
            if sense:
                self.assertEqual([second.ready(), second.ready()], [STATES_CHANGED, sense])
            self.assertEqual(first.groups(), {1: (NON_OPTIMIZED, BY_SET_TARGET_PORT_GROUPS), 2: (code, BY_THE_ARRAY)})
            self.assertEqual([first.ready(lun=1), second.ready(lun=1)], [None, None])
            if code == TRANSITIONING:
                self.assertEqual(first.set_states({2: OPTIMIZED}).key, (4, 0x67, 0x0A))
        self.assertEqual([second.ready(), second.ready()], [STATES_CHANGED, None])
        self.config.write_text(CONFIG.format(target='alua = "both"\n', lun=access(2, "asleep", "target.lun")))
        self.odxd.process.send_signal(signal.SIGUSR2)
        self.odxd.wait_for_log("SIGUSR2: nothing changes: ")
        self.assertEqual(first.states(), {1: NON_OPTIMIZED, 2: OPTIMIZED})

    def test_where_only_initiators_change_states_sigusr2_does_not(self):
        self.start('alua = "explicit"\n')
        first = self.path(1)
        self.config.write_text(CONFIG.format(target='alua = "explicit"\n' + access(2, "standby"), lun=""))
        self.odxd.process.send_signal(signal.SIGUSR2)
        self.odxd.wait_for_log("only initiators change access states")
        self.assertEqual(first.states(), {1: OPTIMIZED, 2: OPTIMIZED})
        self.assertEqual(first.ready(), None)

    def test_without_alua_no_states_are_reported(self):
        self.start()
        first = self.path(1)
        inquiry = first.command(bytes([0x12, 0, 0, 0, 96, 0]), data_in=96).data
        self.assertEqual((inquiry[5] & 0x30, inquiry[6] & 0x10), (0, 0x10))
        self.assertEqual(first.command(struct.pack(">BB4xIxx", 0xA3, 0x0A, 64), data_in=64).key, (5, 0x24, 0))


if __name__ == "__main__":
    unittest.main(verbosity=2)
