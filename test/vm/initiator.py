"""odxd and the kernel's own initiator (open-iscsi), in one VM: logins, disks, file systems, recovery, several paths."""
import json

import copies
import logical_units
import open_iscsi
from checks import Group
from harness import expect
from loads import MIB, TREE

DISKS = "iqn.2026-11.org.example:disks"
OTHER = "iqn.2026-11.org.example:other"
PATHS = "iqn.2026-11.org.example:paths"
SAFE = "iqn.2026-11.org.example:safe"
PORTAL = "127.0.0.1:3260"
SECRET = "secret-of-the-vm"
ARRAY_SECRET = "secret-of-array"
ODXD = "odxd --config /etc/odx.toml"
CTL = "odx ctl --url unix:/run/odx.control"

CONFIGURATION = f"""
id = "vm"
[control]
unix = "/run/odx.control"
[[portal]]
listen = "127.0.0.1:3260"
[[portal]]
listen = "127.0.0.2:3260"
group = 2
[[target]]
name = "{DISKS}"
portal_groups = [1]
[target.chap]
name = "vm"
secret = "{SECRET}"
mutual = {{ name = "array", secret = "{ARRAY_SECRET}" }}
[[target.lun]]
store = "memory:512M"
[[target.lun]]
store = "memory:512M"
[[target.lun]]
store = "memory:512M"
block_size = 4096
[[target.lun]]
store = "memory:8M"
read_only = true
[[target]]
name = "{OTHER}"
portal_groups = [1]
[[target.lun]]
store = "memory:512M"
[[target]]
name = "{PATHS}"
alua = "both"
[[target.access]]
group = 2
state = "active/non-optimized"
[[target.lun]]
store = "memory:64M"
[[target]]
name = "{SAFE}"
portal_groups = [1]
[[target.lun]]
store = "file:/tmp/safe.img,size=64M"
"""


class World:
    """A running odxd and iscsid; `disk` and `generic` are the nodes of a logical unit."""
    large_blocks = 2

    def __init__(self, machine):
        self.machine = machine
        self.run = machine.run
        self.logged_in = False
        machine.modprobe("sd_mod", "sg")
        machine.run(TREE)
        machine.write("/etc/odx.toml", CONFIGURATION)
        self.start_odxd()
        open_iscsi.start(machine, PORTAL)
        for target in (OTHER, SAFE):
            self.log_in(target)

    def start_odxd(self):
        self.odxd = self.machine.spawn(ODXD, "/tmp/odxd.log")
        self.machine.wait_for("grep -qx ready /tmp/odxd.log")

    def node(self, target, arguments, portal=PORTAL, **options):
        return open_iscsi.node(self.machine, target, portal, arguments, **options)

    def update(self, target, **settings):
        open_iscsi.update(self.machine, target, PORTAL, **settings)

    def log_in(self, target, luns=(0,)):
        self.node(target, "--login")
        for lun in luns:
            self.machine.wait_for(f"disk-of {target} {lun}")
            self.machine.wait_for(f"disk-of -g {target} {lun}")

    def log_in_to_disks(self):
        """With mutual CHAP and both digests, unless it is."""
        if not self.logged_in:
            prove(self, SECRET, ARRAY_SECRET)
            self.update(DISKS, conn__HeaderDigest="CRC32C", conn__DataDigest="CRC32C")
            self.log_in(DISKS, luns=(0, 1, 2, 3))
            self.logged_in = True

    def disk(self, lun, target=DISKS):
        self.log_in_to_disks()
        return self.run(f"disk-of {target} {lun}").split()[0]

    def generic(self, lun, target=DISKS):
        self.log_in_to_disks()
        return self.run(f"disk-of -g {target} {lun}").split()[0]

    def unit(self, lun, target=DISKS):
        return copies.Unit(self.generic(lun, target), self.disk(lun, target))

    def ctl(self, arguments):
        return self.run(f"{CTL} {arguments}")


GROUP = Group("initiator", World)


def prove(world, password, password_in):
    world.update(DISKS, auth__authmethod="CHAP", auth__username="vm", auth__password=password,
                 auth__username_in="array", auth__password_in=password_in)


@GROUP.smoke
def wrong_chap_secret_is_refused(world):
    """a login with another secret fails for good (24: authorization failure)"""
    prove(world, "not-the-secret", ARRAY_SECRET)
    expect(world.node(DISKS, "--login", status=24), "login failed due to authorization failure")


@GROUP.smoke
def wrong_proof_of_the_array_is_refused(world):
    """the initiator does not take an array whose secret is another than it knows"""
    prove(world, SECRET, "another-secret")
    expect(world.node(DISKS, "--login", status=19), "non-retryable iSCSI login failure")


@GROUP.smoke
def login_with_mutual_chap_and_digests(world):
    """both prove who they are, both digests are CRC32C, and each LUN becomes a disk"""
    world.log_in_to_disks()
    shown = world.run("iscsiadm -m session -P 3")
    shown = shown[shown.index(DISKS):]
    expect(shown, "HeaderDigest: CRC32C")
    expect(shown, "DataDigest: CRC32C")
    expect(shown, "iSCSI Session State: LOGGED_IN")
    expect(shown, r"ImmediateData: Yes")


def queue(world, disk, name):
    return world.run(f"cat /sys/block/{disk.removeprefix('/dev/')}/{name}").strip()


@GROUP.smoke
def the_disk_driver_believes_the_disk(world):
    """sd reads capacity, block length, write cache, DPO and FUA, provisioning and limits as they are configured"""
    thin, large_blocks, read_only = world.disk(0), world.disk(2), world.disk(3)
    assert queue(world, thin, "size") == str(512 * MIB // 512)
    assert queue(world, thin, "queue/logical_block_size") == "512"
    assert queue(world, large_blocks, "queue/logical_block_size") == "4096"
    assert queue(world, thin, "queue/write_cache") == "write back"
    assert queue(world, thin, "queue/fua") == "1"
    assert queue(world, thin, "queue/rotational") == "0"
    assert int(queue(world, thin, "queue/discard_max_bytes")) > 0
    assert queue(world, thin, "device/scsi_disk/*/provisioning_mode") == "unmap"
    assert queue(world, read_only, "ro") == "1" and queue(world, thin, "ro") == "0"
    expect(world.run("dmesg"), r"Write cache: enabled, read cache: enabled, supports DPO and FUA")


@GROUP.smoke
def sg_luns_lists_the_logical_units(world):
    """sg_luns through /dev/sg"""
    expect(world.run(f"sg_luns {world.generic(0)}"), "Lun list length = 32 which imples 4 lun entries")


@GROUP.smoke
def ddptctl_copies_between_targets(world):
    """POPULATE TOKEN and WRITE USING TOKEN from one target to another"""
    copies.populate_and_write(world.machine, world.unit(0), world.unit(0, OTHER))


@GROUP.check
def ddpt_gathers_and_scatters_between_targets(world):
    """ddpt --odx with lists of two ranges from one target to another"""
    copies.lists_by_ddpt(world.machine, world.unit(0), world.unit(0, OTHER))


@GROUP.smoke
def expired_token_is_refused(world):
    """a token that odx ctl lets expire is refused"""
    copies.populate(world.machine, world.unit(0), 2, 2)
    token = json.loads(world.ctl("tokens ls --json"))["tokens"][-1]["id"]
    world.ctl(f"tokens expire {token}")
    copies.refused(world.machine, world.unit(1), "(?i)token expired")


GROUP.add(logical_units.CHECKS)
