"""File systems and verified load on a disk, whichever way the kernel reaches it."""
from harness import expect

MIB = 1 << 20

# Files and folders of all sizes, to be copied to file systems.
TREE = """mkdir -p /tmp/tree/deep/folder && cp /usr/bin/sg_* /tmp/tree &&
head -c 3000000 /dev/urandom >/tmp/tree/deep/large && head -c 100001 /dev/urandom >/tmp/tree/deep/folder/odd &&
for i in $(seq 50); do echo $i >/tmp/tree/deep/$i; done && : >/tmp/tree/empty"""


def file_system(world, disk, make, mount, check):
    """Makes it, fills it, reads it back after another mount, and has it checked."""
    world.run(make.format(disk))
    world.run(f"{mount.format(disk)} && cp -a /tmp/tree /mnt/copy && umount /mnt")
    world.run("echo 3 >/proc/sys/vm/drop_caches")
    world.run(f"{mount.format(disk)} && diff -r /tmp/tree /mnt/copy && umount /mnt")
    world.run(check.format(disk))


def ext4(world, disk):
    """Made with a discard of the whole disk."""
    file_system(world, disk, "mkfs.ext4 -q -F -E discard {}", "mount -t ext4 {} /mnt", "e2fsck -f -n {}")


def fio(disk, more=""):
    """The load; fio_verified() judges what comes of it."""
    return (f"fio --name=v --filename={disk} --rw=randrw --bsrange=512-128k --direct=1 --ioengine=libaio "
            f"--iodepth=16 --size=8M --verify=crc32c --verify_fatal=1 --allow_file_create=0 --output=/tmp/fio.txt "
            f"{more}")


def fio_verified(world):
    shown = world.run("cat /tmp/fio.txt")
    expect(shown, r"err= 0")
    return shown
