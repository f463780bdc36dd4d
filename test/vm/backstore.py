"""handler_odx.so in Debian's tcmu-runner behind LIO: on a loopback device, and exported by its iSCSI target."""
import copies
import logical_units
import open_iscsi
from checks import Group
from harness import Failed, expect
from loads import MIB, TREE, ext4, fio, fio_verified

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
    large_blocks = 6

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

    def create(self, name, string, size, block_size, serial, handler="odx", status=0):
        place = f"{TARGET}/core/user_0/{name}"
        settings = f"dev_config={handler}/{string},dev_size={size},hw_block_size={block_size}"
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


GROUP.add(logical_units.CHECKS)


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
def fio_verifies_on_a_file(world):
    """the same load as on memory, on a file store"""
    world.run(fio(world.unit(2).disk))
    fio_verified(world)


@GROUP.smoke
def ddptctl_copies_to_a_file(world):
    """POPULATE TOKEN and WRITE USING TOKEN from a memory store to a file store"""
    copies.populate_and_write(world.machine, world.unit(0), world.unit(2))


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


@GROUP.check
def wrong_strings_are_refused_with_the_reason(world):
    """what the configuration string gets wrong is in tcmu-runner's log, and the backstore is not enabled"""
    for number, (string, reason) in enumerate((("memory;initiator=host", "expected a name that starts with iqn."),
                                               ("memory;colour=red", "there is no option colour"),
                                               (f"/etc/short.toml;lun=c;initiator={HERE}", "has no LUN of the name"))):
        name = f"wrong{number}"
        world.create(name, string, MIB, 512, f"9{SERIAL}", status=None)
        assert world.run(f"cat {TARGET}/core/user_0/{name}/enable").strip() == "0"
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


@GROUP.check
def another_handler_serves_beside_it(world):
    """tcmu-runner's own zbc handler makes a disk in the same daemon, and both it and ours serve"""
    lun, name = len(BACKSTORES), "zoned"
    world.create(name, "model-HA/lba-512/zsize-16/conv-1@/tmp/zoned.img", 64 * MIB, 512, f"8{SERIAL}", handler="zbc")
    world.attach(name, lun)
    zoned = world.unit(lun)
    expect(world.run(f"sg_inq {zoned.generic}"), "Vendor identification: (?!ODX)")
    world.run(f"cp {zoned.disk} /dev/null")
    copies.populate_and_write(world.machine, world.unit(0), world.unit(1))
    world.detach(name, lun)
    world.run(f"rmdir {TARGET}/core/user_0/{name}")


def export(world):
    """LIO's iSCSI target with disk0 and disk1, for one initiator."""
    world.machine.modprobe("iscsi_target_mod")
    place = f"{TARGET}/iscsi/{EXPORTED}/tpgt_1"
    world.run(f"mkdir -p {place}/np/{PORTAL} {place}/acls/{open_iscsi.FIRST}")
    for lun in (0, 1):
        mapped = f"{place}/acls/{open_iscsi.FIRST}/lun_{lun}"
        world.run(f"mkdir {place}/lun/lun_{lun} && ln -s {TARGET}/core/user_0/disk{lun} {place}/lun/lun_{lun}/")
        world.run(f"mkdir {mapped} && ln -s {place}/lun/lun_{lun} {mapped}/")
    world.run(f"echo -n 0 >{place}/attrib/authentication; echo -n 1 >{place}/enable")


@GROUP.check
def lio_exports_it_over_iscsi(world):
    """open-iscsi logs in to LIO with digests: inquiries, ext4, ODX and fio; an initiator without an ACL is refused"""
    export(world)
    open_iscsi.start(world.machine, PORTAL)
    open_iscsi.update(world.machine, EXPORTED, PORTAL, conn__HeaderDigest="CRC32C", conn__DataDigest="CRC32C")
    open_iscsi.second_initiator(world.machine, EXPORTED, PORTAL)

    def node(arguments, **options):
        return open_iscsi.node(world.machine, EXPORTED, PORTAL, arguments, **options)

    node("-I second --login", status=24)
    assert "session" not in world.run("ls /sys/class/iscsi_session", status=None), "a stranger is logged in"
    node("-I default --login")
    disks = "[0-9]*:0:0"
    for lun in (0, 1):
        world.wait_for_unit(lun, disks)
    source, destination = (world.unit(lun, disks) for lun in (0, 1))
    copies.inquiries(world.machine, source.generic)
    copies.populate_and_write(world.machine, source, destination)
    copies.zero_token(world.machine, destination)
    copies.extended_copy(world.machine, source, destination)
    ext4(world, source.disk)
    world.run(fio(destination.disk))
    fio_verified(world)
    node("-I default --logout")


@GROUP.smoke
def tcmu_runner_lives(world):
    """after all of this the daemon has not been restarted, and its log has no error but of wrong strings"""
    assert world.run("pidof tcmu-runner").split() == [str(world.runner)]
    errors = [line for line in world.log().splitlines() if "[ERROR]" in line and "check_config failed" not in line]
    assert not errors, "\n".join(errors)
