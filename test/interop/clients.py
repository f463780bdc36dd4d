"""Initiators nobody here wrote: qemu's iSCSI driver and libiscsi's tools."""
import hashlib
import os
import random

from decoders import Relay
from harness import Failed, check, expect, run

MIB = 1 << 20


def sparse_image(path, size, seed):
    """A raw file with runs of random bytes, zeros and holes."""
    source = random.Random(seed)
    with open(path, "wb") as file:
        file.truncate(size)
        for offset in range(0, size, 4 * MIB):
            file.seek(offset + source.randrange(0, MIB))
            file.write(source.randbytes(source.randrange(1, 2 * MIB)))
    return path


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@check
def qemu_img_convert_round_trip(context):
    """an image goes to a LUN and comes back the same, through qemu-img convert and compare"""
    image = sparse_image(context.folder / "image.raw", 256 * MIB, 1)
    back = context.folder / "back.raw"
    with context.target("memory:256M") as target:
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, target.url)
        expect(run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, target.url), "Images are identical")
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", target.url, back)
    if digest(image) != digest(back):
        raise Failed("what came back differs")


@check
def qemu_img_compare_sees_a_difference(context):
    """qemu-img compare finds one changed sector on the LUN"""
    image = sparse_image(context.folder / "image.raw", 64 * MIB, 2)
    with context.target("memory:64M") as target:
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, target.url)
        run("qemu-io", "-f", "raw", "-c", "write -P 0x5a 1M 512", target.url)
        expect(run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, target.url, status=1),
               "Content mismatch at offset 1048576")


@check
def qemu_img_convert_between_luns(context):
    """a thin copy from LUN to LUN with 16 requests in flight, out of order"""
    image = sparse_image(context.folder / "image.raw", 128 * MIB, 3)
    with context.target("memory:128M", "memory:128M") as target:
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, target.urls[0])
        run("qemu-img", "convert", "-n", "-W", "-m", "16", "-f", "raw", "-O", "raw", *target.urls[:2])
        expect(run("qemu-img", "compare", "-f", "raw", "-F", "raw", *target.urls[:2]), "Images are identical")


@check
def qemu_img_convert_offloads_the_copy(context):
    """qemu-img convert -C between two LUNs sends EXTENDED COPY: the data does not cross the wire"""
    image = sparse_image(context.folder / "image.raw", 128 * MIB, 4)
    with context.target("memory:128M", "memory:128M", "memory:128M") as target:
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, target.urls[0])
        crossed = []
        for destination, options in ((target.urls[1], ["-C"]), (target.urls[2], [])):
            relay = Relay(target)
            run("qemu-img", "convert", "-n", *options, "-f", "raw", "-O", "raw", relay.url(target.urls[0]),
                relay.url(destination))
            relay.close()
            expect(run("qemu-img", "compare", "-f", "raw", "-F", "raw", target.urls[0], destination),
                   "Images are identical")
            crossed.append(sum(len(data) for _, _, _, data in relay.passed))
    if crossed[0] * 50 > crossed[1]:
        raise Failed(f"{crossed[0]} bytes crossed the wire with -C, {crossed[1]} without")


@check
def qcow2_on_a_file_lun(context):
    """a qcow2 image made on a file LUN is whole, seen through the LUN and in the file after odxd ended"""
    disk = context.folder / "disk.img"
    disk.touch()
    os.truncate(disk, 64 * MIB)
    with context.target(f"file:{disk}") as target:
        run("qemu-img", "create", "-f", "qcow2", target.url, "32M")
        run("qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 1M 3M", "-c", "write -z 2M 1M", "-c", "flush", target.url)
        expect(run("qemu-img", "check", "-f", "qcow2", target.url), "No errors were found")
    expect(run("qemu-img", "check", "-f", "qcow2", disk), "No errors were found")
    read = run("qemu-io", "-f", "qcow2", "-c", "read -P 0x5a 1M 1M", "-c", "read -P 0 2M 1M", "-c",
               "read -P 0x5a 3M 1M", disk)
    if "verification failed" in read:
        raise Failed(read)


@check
def qemu_io_discard_and_write_zeroes(context):
    """discard and zero writes leave zeros and their neighbours alone"""
    with context.target("memory:64M") as target:
        read = run("qemu-io", "-f", "raw", "--discard=unmap", "-c", "write -P 0x77 0 8M", "-c", "discard 1M 1M", "-c",
                   "write -z -u 3M 64k", "-c", "write -z 5M 512", "-c", "read -P 0x77 0 1M", "-c", "read -P 0 1M 1M",
                   "-c", "read -P 0x77 2M 1M", "-c", "read -P 0 3M 64k", "-c", "read -P 0 5M 512", "-c",
                   "read -P 0x77 5243392 1M", target.url)
        if "verification failed" in read:
            raise Failed(read)


@check
def iscsi_ls_lists_the_luns(context):
    """SendTargets and REPORT LUNS: iscsi-ls names the target, its LUNs and their sizes"""
    with context.target("memory:64G", "memory:256M") as target:
        listed = run("iscsi-ls", "-s", target.portal_url)
        expect(listed, rf"^Target:{target.iqn} Portal:{target.host}:{target.port},1$")
        expect(listed, r"^Lun:0 +Type:DIRECT_ACCESS \(Size:6[34]G\)$")
        expect(listed, r"^Lun:1 +Type:DIRECT_ACCESS \(Size:25[56]M\)$")


@check
def iscsi_inq_decodes_inquiry(context):
    """iscsi-inq reads the standard data and VPD pages"""
    with context.target("memory:64M") as target:
        standard = run("iscsi-inq", target.url)
        expect(standard, "Peripheral Device Type: *DIRECT_ACCESS")
        expect(standard, r"Version:6\b")
        for page, known in ((0x00, "Page:0x8f"), (0x80, r"Unit Serial Number:\[.+\]"),
                            (0x83, r"Designator Type:\(3\) NAA"), (0xB0, "maximum compare and write length:[1-9]"),
                            (0xB1, "Medium Rotation Rate:1RPM"), (0xB2, "lbpu:1")):
            expect(run("iscsi-inq", "-e", "1", "-c", str(page), target.url), known, f"VPD page {page:02X}h")


@check
def iscsi_readcapacity16_agrees(context):
    """iscsi-readcapacity16 sees capacity, block length and thin provisioning"""
    with context.target("memory:64M") as target:
        shown = run("iscsi-readcapacity16", target.url)
        expect(shown, r"RETURNED LOGICAL BLOCK ADDRESS: *131071\b")
        expect(shown, r"LOGICAL BLOCK LENGTH IN BYTES: *512\b")
        expect(shown, r"LBPME: *1\b")
        expect(run("iscsi-readcapacity16", "-s", target.url), rf"^{64 * MIB}$")


@check
def iscsi_perf_runs(context):
    """iscsi-perf reads with 32 requests in flight for two seconds, without an error"""
    with context.target("memory:256M") as target:
        shown = run("iscsi-perf", "-t", "2", "-m", "32", "-b", "8", "-r", target.url)
        expect(shown, r"iops average *[1-9]\d*")
