"""File systems, verified load and recovery on the disks that the kernel's initiator makes of odxd's logical units."""
import json

import copies
from harness import Failed, expect
from initiator import CTL, DISKS, GROUP, OTHER, SAFE
from loads import MIB, file_system, fio, fio_verified


@GROUP.smoke
def fstrim_gives_memory_back(world):
    """what fstrim says is free, the array no longer holds"""
    disk = world.disk(0)  # with the file system of ext4_is_whole
    world.run(f"mount -t ext4 {disk} /mnt && dd if=/dev/zero of=/mnt/large bs=1M count=64 conv=fsync")
    before = held(world)
    world.run("rm -r /mnt/large && sync")
    expect(world.run("fstrim -v /mnt"), r"/mnt: .*\d+ bytes.* trimmed")
    world.run("umount /mnt")
    for _ in range(20):  # it is given back little by little
        after = held(world)
        if before - after >= 60 * MIB:
            return
    raise Failed(f"{before} bytes held before, {after} after")


def held(world):
    """Bytes that memory stores hold."""
    return json.loads(world.ctl("memory show --json"))["used"]


@GROUP.smoke
def ntfs_is_whole(world):
    """mkntfs, ntfs-3g mounted, files written and read back, ntfsfix finds nothing"""
    world.run("modprobe fuse")
    file_system(world, world.disk(1), "mkntfs -q -Q -F {}", "ntfs-3g {} /mnt", "ntfsfix -n {}")


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
