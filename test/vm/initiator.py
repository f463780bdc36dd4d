"""odxd and the kernel's own initiator (open-iscsi), in one VM: logins, disks, file systems, recovery, several paths."""
import json

import copies
from checks import Group
from harness import expect

DISKS = "iqn.2026-11.org.example:disks"
OTHER = "iqn.2026-11.org.example:other"
PATHS = "iqn.2026-11.org.example:paths"
SAFE = "iqn.2026-11.org.example:safe"
FIRST = "iqn.2026-11.org.example:first"
SECOND = "iqn.2026-11.org.example:second"
MIB = 1 << 20
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

ISCSID = """
iscsid.startup = /bin/false
node.startup = manual
node.leading_login = No
node.session.timeo.replacement_timeout = 60
node.conn[0].timeo.login_timeout = 15
node.conn[0].timeo.logout_timeout = 15
node.conn[0].timeo.noop_out_interval = 5
node.conn[0].timeo.noop_out_timeout = 30
node.session.err_timeo.abort_timeout = 15
node.session.err_timeo.lu_reset_timeout = 30
node.session.err_timeo.tgt_reset_timeout = 30
node.session.initial_login_retry_max = 8
node.session.iscsi.FastAbort = Yes
node.session.scan = auto
"""


# Files and folders of all sizes, to be copied to file systems.
TREE = """mkdir -p /tmp/tree/deep/folder && cp /usr/bin/sg_* /tmp/tree &&
head -c 3000000 /dev/urandom >/tmp/tree/deep/large && head -c 100001 /dev/urandom >/tmp/tree/deep/folder/odd &&
for i in $(seq 50); do echo $i >/tmp/tree/deep/$i; done && : >/tmp/tree/empty"""


class World:
    """A running odxd and iscsid; `disk` and `generic` are the nodes of a logical unit."""

    def __init__(self, machine):
        self.machine = machine
        self.run = machine.run
        self.logged_in = False
        machine.modprobe("sd_mod", "sg", "iscsi_tcp", "crc32c_generic")
        machine.run(TREE)
        machine.write("/etc/odx.toml", CONFIGURATION)
        machine.write("/etc/iscsi/iscsid.conf", ISCSID)
        machine.write("/etc/iscsi/initiatorname.iscsi", f"InitiatorName={FIRST}\n")
        self.start_odxd()
        machine.spawn("iscsid -f", "/var/log/iscsid")
        machine.wait_for("iscsiadm -m discovery -t sendtargets -p 127.0.0.1:3260")
        for target in (OTHER, SAFE):
            self.log_in(target)

    def start_odxd(self):
        self.odxd = self.machine.spawn(ODXD, "/tmp/odxd.log")
        self.machine.wait_for("grep -qx ready /tmp/odxd.log")

    def node(self, target, arguments, portal="127.0.0.1:3260", **options):
        return self.run(f"iscsiadm -m node -T {target} -p {portal} {arguments}", **options)

    def update(self, target, **settings):
        """node.session.auth.username is said as auth__username, node.conn[0].iscsi.DataDigest as conn__DataDigest."""
        for name, value in settings.items():
            kind, _, key = name.partition("__")
            full = {"auth": "node.session.auth.", "conn": "node.conn[0].iscsi."}[kind] + key
            self.node(target, f"-o update -n '{full}' -v '{value}'")

    def log_in(self, target, portal="127.0.0.1:3260", luns=(0,)):
        self.node(target, "--login", portal=portal)
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
def sg3_utils_read_the_logical_unit(world):
    """sg_inq, sg_vpd, sg_readcap, sg_luns, sg_opcodes, sg_modes, sg_logs, sg_turs, sg_requests through /dev/sg"""
    copies.inquiries(world.machine, world.generic(0))
    expect(world.run(f"sg_luns {world.generic(0)}"), "Lun list length = 32 which imples 4 lun entries")
    expect(world.run(f"sg_readcap --16 {world.generic(2)}"), "Logical block length=4096 bytes")


@GROUP.smoke
def sg3_utils_change_blocks(world):
    """sg_write_same, sg_unmap, sg_get_lba_status, sg_compare_and_write, sg_verify, sg_sync"""
    copies.block_commands(world.machine, world.unit(1))


@GROUP.smoke
def ddptctl_copies_between_logical_units(world):
    """POPULATE TOKEN and WRITE USING TOKEN; the token is written again, and its source has changed meanwhile"""
    copies.populate_and_write(world.machine, world.unit(0), world.unit(1))


@GROUP.smoke
def ddptctl_copies_between_targets(world):
    """the same from one target to another"""
    copies.populate_and_write(world.machine, world.unit(0), world.unit(0, OTHER))


@GROUP.smoke
def ddptctl_writes_zeros(world):
    """the zero token writes zeros and leaves the neighbours alone"""
    copies.zero_token(world.machine, world.unit(1))


@GROUP.smoke
def expired_token_is_refused(world):
    """a token that odx ctl lets expire is refused"""
    copies.populate(world.machine, world.unit(0), 2, 2)
    token = json.loads(world.ctl("tokens ls --json"))["tokens"][-1]["id"]
    world.ctl(f"tokens expire {token}")
    copies.refused(world.machine, world.unit(1), "(?i)token expired")


@GROUP.check
def ddptctl_writes_a_part(world):
    """OFFSET INTO ROD: the second half of a token is written"""
    copies.part_of_a_token(world.machine, world.unit(0), world.unit(1))


@GROUP.check
def ddptctl_copies_in_the_background(world):
    """IMMED=1 and polling for both commands"""
    copies.in_background(world.machine, world.unit(0), world.unit(1))


@GROUP.check
def deleted_and_corrupt_tokens_are_refused(world):
    """after DEL_TKN=1, and with one byte changed"""
    copies.deleted_token(world.machine, world.unit(0), world.unit(1))
    copies.corrupt_token(world.machine, world.unit(0), world.unit(1))


@GROUP.check
def ddpt_gathers_and_scatters(world):
    """ddpt --odx with lists of two ranges, on one target and between two"""
    copies.lists_by_ddpt(world.machine, world.unit(0), world.unit(1))
    copies.lists_by_ddpt(world.machine, world.unit(0), world.unit(0, OTHER))


@GROUP.smoke
def extended_copy_by_two_tools(world):
    """sg_xcopy and ddpt --xcopy copy between LUNs; sg_copy_results reads the limits"""
    copies.extended_copy(world.machine, world.unit(0), world.unit(1))
