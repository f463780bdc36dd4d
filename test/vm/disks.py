"""File systems, verified load and recovery on the disks that the kernel's initiator makes of odxd's logical units."""
import json

import copies
from harness import Failed, expect
from initiator import CTL, DISKS, GROUP, MIB, OTHER, SAFE


def file_system(world, disk, make, mount, check):
    """Makes it, fills it, reads it back after another mount, and has it checked."""
    world.run(make.format(disk))
    world.run(f"{mount.format(disk)} && cp -a /tmp/tree /mnt/copy && umount /mnt")
    world.run("echo 3 >/proc/sys/vm/drop_caches")
    world.run(f"{mount.format(disk)} && diff -r /tmp/tree /mnt/copy && umount /mnt")
    world.run(check.format(disk))


@GROUP.smoke
def ext4_is_whole(world):
    """mkfs.ext4 (discarding), files written and read back, e2fsck finds nothing"""
    file_system(world, world.disk(0), "mkfs.ext4 -q -F -E discard {}", "mount -t ext4 {} /mnt", "e2fsck -f -n {}")


@GROUP.smoke
def fstrim_gives_memory_back(world):
    """what fstrim says is free, the array no longer holds"""
    disk = world.disk(0)
    world.run(f"mount -t ext4 {disk} /mnt && dd if=/dev/zero of=/mnt/large bs=1M count=64 conv=fsync")
    before = held(world)
    world.run("rm -r /mnt/large && sync")
    expect(world.run("fstrim -v /mnt"), r"/mnt: .*\d+ bytes.* trimmed")
    world.run("umount /mnt")
    after = held(world)
    assert before - after >= 60 * MIB, f"{before} bytes held before, {after} after"


def held(world):
    """Bytes that memory stores hold."""
    return json.loads(world.ctl("memory show --json"))["used"]


@GROUP.check
def xfs_is_whole(world):
    """mkfs.xfs on blocks of 4096 bytes, mounted with discard, files written and read back, xfs_repair finds nothing"""
    file_system(world, world.disk(2), "mkfs.xfs -q -f {}", "mount -t xfs -o discard {} /mnt", "xfs_repair -n {}")


@GROUP.smoke
def ntfs_is_whole(world):
    """mkntfs, ntfs-3g mounted, files written and read back, ntfsfix finds nothing"""
    world.run("modprobe fuse")
    file_system(world, world.disk(1), "mkntfs -q -Q -F {}", "ntfs-3g {} /mnt", "ntfsfix -n {}")


def fio(disk, more=""):
    return (f"fio --name=v --filename={disk} --rw=randrw --bsrange=512-128k --direct=1 --ioengine=libaio "
            f"--iodepth=16 --size=8M --verify=crc32c --verify_fatal=1 --allow_file_create=0 --output=/tmp/fio.txt "
            f"{more}")


def fio_verified(world):
    shown = world.run("cat /tmp/fio.txt")
    expect(shown, r"err= 0")
    return shown


@GROUP.smoke
def fio_verifies(world):
    """random reads and writes of 512 bytes to 128 KiB, 16 at once, are verified without an error"""
    world.run(fio(world.disk(1)))
    fio_verified(world)


@GROUP.smoke
def a_cut_connection_recovers(world):
    """connections are cut while fio verifies: the initiator logs in again and no block is wrong"""
    world.machine.spawn(fio(world.disk(1), "--loops=12"), "/tmp/fio.log")
    for _ in range(3):
        cut_when_busy(world)
    world.machine.wait_for("! pidof fio")
    fio_verified(world)
    expect(world.run("dmesg"), "detected conn error")


def cut_when_busy(world):
    """Drops the sessions with the disks when they are there."""
    world.machine.wait_for(f"{CTL} sessions ls --json | grep -q {DISKS}")
    for session in sessions_with(world.ctl("sessions ls --json"), DISKS):
        world.ctl(f"sessions drop {session}")


def sessions_with(document, target):
    """The TSIHs of the sessions with a target."""
    sessions = json.loads(document)
    found = [session["tsih"] for session in sessions["sessions"] if session["target"] == target]
    if not found:
        raise Failed(f"no session with {target}: {document}")
    return found


@GROUP.check
def odxd_is_killed_and_comes_back(world):
    """odxd with a file is killed while fio verifies: a new one takes over and no acknowledged block is lost"""
    world.machine.spawn(fio(world.disk(0, SAFE), "--loops=8"), "/tmp/fio.log")
    world.machine.wait_for("pidof fio")
    world.run("sleep 3")  # until it is busy; how far it is does not matter
    world.run(f"kill -9 {world.odxd}")
    world.start_odxd()
    world.machine.wait_for("! pidof fio")
    fio_verified(world)


@GROUP.check
def resets_are_survived(world):
    """sg_reset of the logical unit and of the target: commands go on afterwards"""
    for option in ("--device", "--target"):
        world.run(f"sg_reset {option} {world.generic(1)}")
        world.run(f"sg_turs {world.generic(1)} || sg_turs {world.generic(1)}")
    copies.populate_and_write(world.machine, world.unit(0), world.unit(1))


@GROUP.check
def a_disk_grows(world):
    """a LUN made larger while it is served is larger after a rescan, and the kernel was told"""
    world.ctl(f"luns set {OTHER} 0 --size 640M")
    world.run(f"sg_turs {world.generic(0, OTHER)}", status=None)
    world.node(OTHER, "--rescan")
    name = world.disk(0, OTHER).removeprefix("/dev/")
    world.machine.wait_for(f"[ $(cat /sys/block/{name}/size) = {640 * MIB // 512} ]")


@GROUP.check
def logical_units_come_and_go(world):
    """a LUN that is added is a disk after a rescan; one that is removed refuses commands"""
    world.ctl(f"luns add {OTHER} memory:64M --number 7")
    world.node(OTHER, "--rescan")
    world.machine.wait_for(f"disk-of {OTHER} 7")
    world.run(f"dd if=/dev/zero of={world.disk(7, OTHER)} bs=1M count=4 oflag=direct")
    generic = world.generic(7, OTHER)
    world.ctl(f"luns rm {OTHER} 7")
    expect(world.run(f"sg_turs -v {generic}; echo status $?"), "(?i)logical unit not supported")
    name = world.disk(7, OTHER).removeprefix("/dev/")
    world.run(f"echo 1 >/sys/block/{name}/device/delete")
