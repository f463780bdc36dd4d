"""handler_odx.so in Debian's tcmu-runner behind LIO: on a loopback device, and exported by its iSCSI target."""
import copies
from checks import Group
from disks import file_system, fio, fio_verified
from harness import Failed, expect
from initiator import FIRST, ISCSID, MIB, SECOND, TREE

TARGET = "/sys/kernel/config/target"
HERE, LOOP = "naa.5001405000000002", "naa.5001405000000001"
LOG = "/var/log/runner"
EXPORTED = "iqn.2026-11.org.example:lio"
PORTAL = "127.0.0.1:3270"
# Behind the LUN; LIO makes the NAA designator of its first 25 hexadecimal digits.
SERIAL = "f3a5c77-1111-2222-3333-444455556666"

# Tokens of its LUNs live for two seconds.
SHORT = """
[tokens]
lifetime_s = 2
[[target]]
[[target.lun]]
name = "a"
store = "memory:64M"
[[target.lun]]
name = "b"
store = "memory:64M"
"""
# Name, configuration string, bytes, block length; the place in the list is the LUN.
BACKSTORES = (("disk0", f"memory;initiator={HERE}", 512 * MIB, 512),
              ("disk1", f"memory;initiator={HERE}", 512 * MIB, 512),
              ("disk2", f"file:/tmp/disk2.img;initiator={HERE}", 64 * MIB, 512),
              ("disk3", "memory", 64 * MIB, 512),
              ("disk4", f"/etc/short.toml;lun=a;initiator={HERE}", 64 * MIB, 512),
              ("disk5", f"/etc/short.toml;lun=b;initiator={HERE}", 64 * MIB, 512),
              ("disk6", f"memory;initiator={HERE}", 512 * MIB, 4096))


class World:
    """tcmu-runner with the plugin, its backstores, and a loopback target with all of them."""

    def __init__(self, machine):
        self.machine = machine
        self.run = machine.run
        if machine.run("ls /usr/lib/x86_64-linux-gnu/tcmu-runner/handler_odx.so", status=None).startswith("ls:"):
            raise Failed("there is no handler_odx.so (-Dtcmu=true builds it)")
        machine.modprobe("sd_mod", "sg", "uio", "configfs", "target_core_mod", "target_core_user", "tcm_loop")
        machine.run("mount -t configfs configfs /sys/kernel/config; mkdir -p /etc/tcmu; : >/etc/tcmu/tcmu.conf")
        machine.run(TREE)
        machine.write("/etc/short.toml", SHORT)
        self.runner = machine.spawn("tcmu-runner --debug", LOG)
        machine.wait_for(f"grep -q 'odx' {LOG} /var/log/tcmu-runner.log")
        machine.run(f"mkdir -p {TARGET}/loopback/{LOOP}/tpgt_1/lun && "
                    f"echo -n {HERE} >{TARGET}/loopback/{LOOP}/tpgt_1/nexus")
        for lun, (name, string, size, block_size) in enumerate(BACKSTORES):
            self.create(name, string, size, block_size, f"{lun}{SERIAL}")
            self.attach(name, lun)
        for lun in [*range(len(BACKSTORES))] * 2:  # LIO has told every LUN of each that came
            self.run(f"sg_turs {self.unit(lun).generic}", status=None)

    def create(self, name, string, size, block_size, serial, status=0):
        place = f"{TARGET}/core/user_0/{name}"
        settings = f"dev_config=odx/{string},dev_size={size},hw_block_size={block_size}"
        return self.run(f"mkdir -p {place} && echo -n '{settings}' >{place}/control && "
                        f"echo -n {serial} >{place}/wwn/vpd_unit_serial && echo -n 1 >{place}/enable", status=status)

    def attach(self, name, lun):
        place = f"{TARGET}/loopback/{LOOP}/tpgt_1/lun/lun_{lun}"
        self.run(f"mkdir {place} && ln -s {TARGET}/core/user_0/{name} {place}/{name}")
        self.wait_for_unit(lun)

    def wait_for_unit(self, lun, target="[0-9]*:0:1"):
        """Until its nodes are there."""
        for kind, test in (("block", "-b"), ("scsi_generic", "-c")):
            self.machine.wait_for(f"[ {test} /dev/$(ls {self.node(kind, lun, target)}) ]")

    def detach(self, name, lun):
        place = f"{TARGET}/loopback/{LOOP}/tpgt_1/lun/lun_{lun}"
        self.run(f"rm {place}/{name} && rmdir {place}")

    @staticmethod
    def node(kind, lun, target="[0-9]*:0:1"):
        return f"/sys/bus/scsi/devices/{target}:{lun}/{kind}"

    def unit(self, lun, target="[0-9]*:0:1"):
        def name(kind):
            return "/dev/" + self.run(f"ls {self.node(kind, lun, target)}").split()[-1]

        return copies.Unit(name("scsi_generic"), name("block"))

    def log(self):
        return self.run(f"cat {LOG} /var/log/tcmu-runner.log", status=None)


GROUP = Group("backstore", World)


@GROUP.smoke
def sg3_utils_read_the_logical_unit(world):
    """sg_inq, sg_vpd, sg_readcap, sg_opcodes, sg_modes, sg_logs, sg_turs, sg_requests through /dev/sg"""
    unit = world.unit(0)
    copies.inquiries(world.machine, unit.generic)
    assert int(world.run(f"blockdev --getsize64 {unit.disk}")) == 512 * MIB
    expect(world.run(f"sg_readcap --16 {world.unit(6).generic}"), "Logical block length=4096 bytes")


@GROUP.smoke
def names_are_those_of_lio(world):
    """serial number and NAA designator are what LIO says, and each backstore has its own"""
    for lun in (0, 1):
        serial = f"{lun}{SERIAL}"
        generic = world.unit(lun).generic
        expect(world.run(f"sg_vpd -p sn {generic}"), serial)
        expect(world.run(f"sg_vpd -p di {generic}"), f"0x6001405{serial.replace('-', '')[:25]}")


@GROUP.smoke
def without_an_initiator_there_is_no_odx(world):
    """where nobody owns the backstore alone, 3PC is zero, VPD 8Fh is absent and POPULATE TOKEN is refused"""
    unit = world.unit(3)
    expect(world.run(f"sg_inq {unit.generic}"), "3PC=0")
    assert "Third party" not in world.run(f"sg_vpd {unit.generic}")
    expect(world.run(f"ddptctl --pt=2,4 --rtf=/tmp/none {unit.generic}; echo status $?"), "status 9")
    expect(world.run(f"sg_raw -s 32 -i /dev/zero {unit.generic} 83 10 0 0 0 0 0 0 0 0 0 0 0 20 0 0", status=None),
           "(?i)invalid command operation code")


@GROUP.smoke
def ext4_is_whole(world):
    """mkfs.ext4 (discarding), files written and read back, e2fsck finds nothing"""
    file_system(world, world.unit(0).disk, "mkfs.ext4 -q -F -E discard {}", "mount -t ext4 {} /mnt", "e2fsck -f -n {}")


@GROUP.check
def xfs_is_whole_on_blocks_of_4096_bytes(world):
    """mkfs.xfs on blocks of 4096 bytes, files written and read back, xfs_repair finds nothing"""
    file_system(world, world.unit(6).disk, "mkfs.xfs -q -f {}", "mount -t xfs -o discard {} /mnt", "xfs_repair -n {}")


@GROUP.smoke
def fio_verifies(world):
    """random reads and writes of 512 bytes to 128 KiB, 16 at once, on a file store, are verified without an error"""
    world.run(fio(world.unit(2).disk))
    fio_verified(world)


@GROUP.smoke
def sg3_utils_change_blocks(world):
    """sg_write_same, sg_unmap, sg_get_lba_status, sg_compare_and_write, sg_verify, sg_sync"""
    copies.block_commands(world.machine, world.unit(1))


@GROUP.smoke
def ddptctl_copies_between_backstores(world):
    """POPULATE TOKEN and WRITE USING TOKEN; the token is written again, and its source has changed meanwhile"""
    copies.populate_and_write(world.machine, world.unit(0), world.unit(1))


@GROUP.smoke
def ddptctl_copies_to_a_file(world):
    """the same from a memory store to a file store"""
    copies.populate_and_write(world.machine, world.unit(0), world.unit(2))


@GROUP.smoke
def ddptctl_writes_zeros(world):
    """the zero token writes zeros and leaves the neighbours alone"""
    copies.zero_token(world.machine, world.unit(1))


@GROUP.smoke
def expired_token_is_refused(world):
    """a token works at once, and is refused after its lifetime, which is two seconds here"""
    copies.populate(world.machine, world.unit(4), 2, 2)
    world.run("sleep 3")  # there is no clock to move
    copies.refused(world.machine, world.unit(5), "(?i)token (expired|unknown)")


@GROUP.smoke
def token_of_another_group_is_refused(world):
    """backstores of two groups copy nothing to each other"""
    copies.populate(world.machine, world.unit(0), 2, 2)
    copies.refused(world.machine, world.unit(5), "(?i)token")


@GROUP.smoke
def extended_copy_by_two_tools(world):
    """sg_xcopy and ddpt --xcopy copy between backstores; sg_copy_results reads the limits"""
    copies.extended_copy(world.machine, world.unit(0), world.unit(1))


@GROUP.smoke
def ddpt_gathers_and_scatters(world):
    """ddpt --odx with lists of two ranges"""
    copies.lists_by_ddpt(world.machine, world.unit(0), world.unit(1))


@GROUP.check
def ddptctl_writes_a_part_and_in_the_background(world):
    """OFFSET INTO ROD; IMMED=1 and polling for both commands"""
    copies.part_of_a_token(world.machine, world.unit(0), world.unit(1))
    copies.in_background(world.machine, world.unit(0), world.unit(1))


@GROUP.check
def deleted_and_corrupt_tokens_are_refused(world):
    """after DEL_TKN=1, and with one byte changed"""
    copies.deleted_token(world.machine, world.unit(0), world.unit(1))
    copies.corrupt_token(world.machine, world.unit(0), world.unit(1))


@GROUP.check
def wrong_strings_are_refused_with_the_reason(world):
    """what the configuration string gets wrong is in tcmu-runner's log, and the backstore is not enabled"""
    for number, (string, reason) in enumerate((("memory;initiator=host", "expected a name that starts with iqn."),
                                               ("memory;colour=red", "there is no option colour"),
                                               (f"/etc/short.toml;lun=c;initiator={HERE}", "has no LUN of the name"))):
        name = f"wrong{number}"
        world.create(name, string, MIB, 512, f"9{SERIAL}", status=None)
        assert world.run(f"grep -cw ACTIVATED {TARGET}/core/user_0/{name}/info", status=None).strip() != "1"
        expect(world.log(), reason)
        world.run(f"rmdir {TARGET}/core/user_0/{name}")


@GROUP.check
def a_backstore_is_removed_while_io_runs(world):
    """one backstore is taken away under load and made again; the others and tcmu-runner go on"""
    world.machine.spawn(fio(world.unit(2).disk, "--loops=20"), "/tmp/fio.log")
    world.machine.wait_for("pidof fio")
    world.detach("disk2", 2)
    world.run(f"rmdir {TARGET}/core/user_0/disk2")
    world.machine.wait_for("! pidof fio")
    copies.populate_and_write(world.machine, world.unit(0), world.unit(1))
    name, string, size, block_size = BACKSTORES[2]
    world.create(name, string, size, block_size, f"2{SERIAL}")
    world.attach(name, 2)
    copies.populate_and_write(world.machine, world.unit(0), world.unit(2))


@GROUP.check
def a_backstore_grows(world):
    """dev_size is changed while it is served, and the disk has it after a rescan"""
    world.run(f"echo -n {96 * MIB} >{TARGET}/core/user_0/disk3/attrib/dev_size")
    world.run(f"sg_turs {world.unit(3).generic}", status=None)
    world.run("for disk in /sys/bus/scsi/devices/[0-9]*:0:1:3; do echo 1 >$disk/rescan; done")
    world.machine.wait_for(f"[ $(blockdev --getsize64 {world.unit(3).disk}) = {96 * MIB} ]")


def export(world):
    """LIO's iSCSI target with disk0 and disk1, for one initiator."""
    world.machine.modprobe("crc32c_generic", "iscsi_target_mod", "iscsi_tcp")
    place = f"{TARGET}/iscsi/{EXPORTED}/tpgt_1"
    world.run(f"mkdir -p {place}/np/{PORTAL} {place}/acls/{FIRST}")
    for lun in (0, 1):
        mapped = f"{place}/acls/{FIRST}/lun_{lun}"
        world.run(f"mkdir {place}/lun/lun_{lun} && ln -s {TARGET}/core/user_0/disk{lun} {place}/lun/lun_{lun}/")
        world.run(f"mkdir {mapped} && ln -s {place}/lun/lun_{lun} {mapped}/")
    world.run(f"echo -n 0 >{place}/attrib/authentication; echo -n 1 >{place}/enable")


@GROUP.check
def lio_exports_it_over_iscsi(world):
    """open-iscsi logs in to LIO with digests: inquiries, ext4, ODX and fio; an initiator without an ACL is refused"""
    export(world)
    world.machine.write("/etc/iscsi/iscsid.conf", ISCSID)
    world.machine.write("/etc/iscsi/initiatorname.iscsi", f"InitiatorName={FIRST}\n")
    world.machine.spawn("iscsid -f", "/var/log/iscsid")
    world.machine.wait_for(f"iscsiadm -m discovery -t sendtargets -p {PORTAL}")
    node = f"iscsiadm -m node -T {EXPORTED} -p {PORTAL}"
    for digest in ("HeaderDigest", "DataDigest"):
        world.run(f"{node} -o update -n 'node.conn[0].iscsi.{digest}' -v CRC32C")
    for command in ("-o new", f"-o update -n iface.initiatorname -v {SECOND}"):
        world.run(f"iscsiadm -m iface -I second {command}")
    world.run(f"{node} -I second -o new && {node} -I second --login; echo status $?")
    assert "session" not in world.run("ls /sys/class/iscsi_session", status=None), "a stranger is logged in"
    world.run(f"{node} -I default --login")
    disks = "[0-9]*:0:0"
    for lun in (0, 1):
        world.wait_for_unit(lun, disks)
    source, destination = (world.unit(lun, disks) for lun in (0, 1))
    copies.inquiries(world.machine, source.generic)
    copies.populate_and_write(world.machine, source, destination)
    copies.zero_token(world.machine, destination)
    copies.extended_copy(world.machine, source, destination)
    file_system(world, source.disk, "mkfs.ext4 -q -F -E discard {}", "mount -t ext4 {} /mnt", "e2fsck -f -n {}")
    world.run(fio(destination.disk))
    fio_verified(world)
    world.run(f"{node} -I default --logout")


@GROUP.smoke
def tcmu_runner_lives(world):
    """after all of this the daemon has not been restarted, and its log has no complaint of a handler"""
    assert world.run("pidof tcmu-runner").split() == [str(world.runner)]
