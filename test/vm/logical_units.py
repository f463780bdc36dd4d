"""The checks of every group: what tools and file systems do with a logical unit of ours, whichever way it is reached.

A world says where: `unit(0)` and `unit(1)` have blocks of 512 bytes and may copy to each other, `unit(large_blocks)`
has blocks of 4096.
"""
import copies
from checks import Checks
from harness import expect
from loads import MIB, ext4, file_system, fio, fio_verified

CHECKS = Checks()


@CHECKS.smoke
def sg3_utils_read_the_logical_unit(world):
    """sg_inq, sg_vpd, sg_readcap, sg_opcodes, sg_modes, sg_logs, sg_turs, sg_requests through /dev/sg"""
    unit = world.unit(0)
    copies.inquiries(world.machine, unit.generic)
    assert int(world.run(f"blockdev --getsize64 {unit.disk}")) == 512 * MIB
    expect(world.run(f"sg_readcap --16 {world.unit(world.large_blocks).generic}"), "Logical block length=4096 bytes")


@CHECKS.smoke
def sg3_utils_change_blocks(world):
    """sg_write_same, sg_unmap, sg_get_lba_status, sg_compare_and_write, sg_verify, sg_sync"""
    copies.block_commands(world.machine, world.unit(1))


@CHECKS.smoke
def ddptctl_copies_between_logical_units(world):
    """POPULATE TOKEN and WRITE USING TOKEN; the token is written again, and its source has changed meanwhile"""
    copies.populate_and_write(world.machine, world.unit(0), world.unit(1))


@CHECKS.smoke
def ddptctl_writes_zeros(world):
    """the zero token writes zeros and leaves the neighbours alone"""
    copies.zero_token(world.machine, world.unit(1))


@CHECKS.check
def ddptctl_writes_a_part(world):
    """OFFSET INTO ROD: the second half of a token is written"""
    copies.part_of_a_token(world.machine, world.unit(0), world.unit(1))


@CHECKS.check
def ddptctl_copies_in_the_background(world):
    """IMMED=1 and polling for both commands"""
    copies.in_background(world.machine, world.unit(0), world.unit(1))


@CHECKS.check
def deleted_and_corrupt_tokens_are_refused(world):
    """after DEL_TKN=1, and with one byte changed"""
    copies.deleted_token(world.machine, world.unit(0), world.unit(1))
    copies.corrupt_token(world.machine, world.unit(0), world.unit(1))


@CHECKS.smoke
def ddpt_gathers_and_scatters(world):
    """ddpt --odx with lists of two ranges"""
    copies.lists_by_ddpt(world.machine, world.unit(0), world.unit(1))


@CHECKS.smoke
def extended_copy_by_two_tools(world):
    """sg_xcopy and ddpt --xcopy copy between logical units; sg_copy_results reads the limits"""
    copies.extended_copy(world.machine, world.unit(0), world.unit(1))


@CHECKS.smoke
def ext4_is_whole(world):
    """mkfs.ext4 (discarding), files written and read back, e2fsck finds nothing"""
    ext4(world, world.unit(0).disk)


@CHECKS.check
def xfs_is_whole(world):
    """mkfs.xfs on blocks of 4096 bytes, mounted with discard, files written and read back, xfs_repair finds nothing"""
    file_system(world, world.unit(world.large_blocks).disk,
                "mkfs.xfs -q -f {}", "mount -t xfs -o discard {} /mnt", "xfs_repair -n {}")


@CHECKS.smoke
def fio_verifies(world):
    """random reads and writes of 512 bytes to 128 KiB, 16 at once, are verified without an error"""
    world.run(fio(world.unit(1).disk))
    fio_verified(world)
