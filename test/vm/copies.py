"""What sg3_utils, ddpt and ddptctl do with logical units of ours, whichever way the kernel reaches them.

ddpt 0.97 writes range descriptors one byte too early, in both commands: what it is told as LBA,NUM goes out as
LBA' = 256 * LBA + NUM / 2^24 and NUM' = 256 * NUM. So all numbers given to it are in units of 256 blocks here, which
makes its commands right, and the transfer count it prints is 256 times what it was told.
"""
from dataclasses import dataclass

from harness import Failed, expect

UNIT = 256 * 512
TOKEN = "/tmp/token"
# FFFF0001h, and the length of the rest: the block device zero ROD token (SBC-4, 4.7.3).
ZERO_TOKEN = r"(printf '\377\377\0\1\0\0\1\370'; head -c 504 /dev/zero)"


@dataclass
class Unit:
    """A logical unit: its SCSI generic node and its disk."""
    generic: str
    disk: str


def inquiries(machine, generic):
    """Every page that tools decode, through /dev/sg."""
    for command, known in ((f"sg_inq {generic}", r"3PC=1(.|\n)*Vendor identification: ODX"),
                           (f"sg_vpd {generic}", r"Third party copy \[tpc\]"),
                           (f"sg_vpd -p di {generic}", r"NAA, +code set: Binary\n +0x6"),
                           (f"sg_vpd -p bl {generic}", "Maximum compare and write length: [1-9]"),
                           (f"sg_vpd -p lbpv {generic}", r"\(LBPU\): 1"),
                           (f"sg_vpd -p tpc {generic}", r"Maximum range descriptors: [1-9]"),
                           (f"ddptctl --info {generic}", r"ROD Type: point in time copy - default \[0x800000\]"),
                           (f"sg_readcap --16 {generic}", "lbpme=1"),
                           (f"sg_opcodes {generic}", "Populate token"),
                           (f"sg_modes -a {generic}", "Caching"),
                           (f"sg_logs -a {generic}", "Logical block provisioning"),
                           (f"sg_turs -v {generic}", "(?i)test unit ready"),
                           (f"sg_requests {generic}", "Sense key: No Sense")):
        expect(machine.run(command), known, command)


def block_commands(machine, unit):
    """Commands that change single blocks, and what is there afterwards."""
    block = f"dd if={unit.disk} bs=512 skip=1030 count=1 iflag=direct 2>/dev/null"
    machine.run(f"head -c 512 /dev/urandom >/tmp/block && blockdev --flushbufs {unit.disk}")
    machine.run(f"sg_write_same --16 --in=/tmp/block --xferlen=512 --lba=1024 --num=64 {unit.generic}")
    machine.run(f"{block} | cmp - /tmp/block")
    expect(machine.run(f"sg_get_lba_status --lba=1024 {unit.generic}"), r"(?<!de)(?<!un)mapped|blocks: +64 .*mapped")
    machine.run(f"sg_verify --16 --lba=1024 --count=64 {unit.generic}")
    machine.run("cat /tmp/block /dev/zero | head -c 1024 >/tmp/pair")
    compare = f"sg_compare_and_write --in=/tmp/pair --lba=1030 --num=1 --xferlen=1024 {unit.generic}"
    machine.run(compare)
    machine.run(f"{block} | cmp -n 512 - /dev/zero")
    expect(machine.run(compare, status=14), "(?i)miscompare")
    machine.run(f"sg_unmap --force --lba=1024 --num=64 {unit.generic} && sg_sync {unit.generic}")
    expect(machine.run(f"sg_get_lba_status --lba=1024 {unit.generic}"), "LBA: 0x0*400 .*deallocated")


def fill(machine, unit, first, count):
    """Random bytes in so many units from one."""
    machine.run(f"dd if=/dev/urandom of={unit.disk} bs={UNIT} seek={first} count={count} oflag=direct")


def digest(machine, unit, *ranges):
    """Of what the ranges (first, count) of an array hold, in order, read past the page cache."""
    reads = "; ".join(f"dd if={unit.disk} bs={UNIT} skip={first} count={count} iflag=direct 2>/dev/null"
                      for first, count in ranges)
    return machine.run(f"({reads}) | sha256sum").split()[0]


def populate(machine, unit, first, count, token=TOKEN, options=""):
    shown = machine.run(f"ddptctl --pt={first},{count} --rtf={token} {options} {unit.generic}")
    expect(shown, rf"PT completes with a transfer count of {256 * count} ")
    expect(machine.run(f"ddptctl --info --rtf={token}"), f"Number of bytes represented: {count * UNIT} ")


def write(machine, unit, first, count, token=TOKEN, options=""):
    shown = machine.run(f"ddptctl --wut={first},{count} --rtf={token} {options} {unit.generic}")
    expect(shown, rf"WUT completes with a transfer count of {256 * count} ")


def refused(machine, unit, reason, token=TOKEN, options=""):
    """A WRITE USING TOKEN is refused for this reason, in the tool's words, and writes nothing."""
    before = digest(machine, unit, (40, 2))
    shown = machine.run(f"ddptctl --wut=40,2 --rtf={token} {options} {unit.generic}; echo status $?")
    expect(shown, r"status [1-9]")
    expect(shown, reason)
    assert digest(machine, unit, (40, 2)) == before, "blocks were written"


def expect_same(machine, source, source_ranges, destination, destination_ranges):
    if digest(machine, source, *source_ranges) != digest(machine, destination, *destination_ranges):
        raise Failed(f"{source_ranges} of {source.disk} are not {destination_ranges} of {destination.disk}")


def populate_and_write(machine, source, destination):
    """One token, written twice; the second time after its source changed."""
    fill(machine, source, 2, 4)
    fill(machine, destination, 2, 12)
    populate(machine, source, 2, 4)
    write(machine, destination, 3, 4)
    expect_same(machine, source, [(2, 4)], destination, [(3, 4)])
    fill(machine, source, 2, 4)
    write(machine, destination, 8, 4)
    expect_same(machine, destination, [(3, 4)], destination, [(8, 4)])
    assert digest(machine, source, (2, 4)) != digest(machine, destination, (8, 4))


def part_of_a_token(machine, source, destination):
    """OFFSET INTO ROD: the second half of a token."""
    fill(machine, source, 2, 4)
    populate(machine, source, 2, 4)
    write(machine, destination, 20, 2, options="--oir=512")
    expect_same(machine, source, [(4, 2)], destination, [(20, 2)])


def zero_token(machine, destination):
    """The well-known token of zeros, without a POPULATE TOKEN."""
    fill(machine, destination, 2, 4)
    machine.run(f"{ZERO_TOKEN} >{TOKEN}")
    outside = digest(machine, destination, (2, 1), (5, 1))
    write(machine, destination, 3, 2)
    written = f"dd if={destination.disk} bs={UNIT} skip=3 count=2 iflag=direct 2>/dev/null"
    machine.run(f"{written} | cmp -n {2 * UNIT} - /dev/zero")
    assert digest(machine, destination, (2, 1), (5, 1)) == outside, "blocks beside the range were written"


def in_background(machine, source, destination):
    """IMMED=1 and polling, for both commands; then the result is there once more or not, but the data is right."""
    fill(machine, source, 2, 4)
    machine.run(f"ddptctl --immed --pt=2,4 --list_id=5 {source.generic}")
    polled = machine.run(f"ddptctl --poll --list_id=5 --rtf={TOKEN} {source.generic}")
    expect(polled, "Operation completed without errors")
    machine.run(f"ddptctl --immed --wut=30,4 --list_id=6 --rtf={TOKEN} {destination.generic}")
    expect(machine.run(f"ddptctl --poll --list_id=6 {destination.generic}"), r"transfer count of 1024 ")
    expect_same(machine, source, [(2, 4)], destination, [(30, 4)])


def deleted_token(machine, source, destination):
    """DEL_TKN=1: written once, then refused."""
    populate(machine, source, 2, 4)
    write(machine, destination, 3, 4, options="--del_tkn")
    refused(machine, destination, "(?i)token deleted|token unknown")


def corrupt_token(machine, source, destination):
    """A token of which one bit was changed is refused."""
    populate(machine, source, 2, 2)
    machine.run(f"(head -c 300 {TOKEN}; printf x; tail -c +302 {TOKEN}) >{TOKEN}.changed")
    refused(machine, destination, "(?i)token corrupt|token unknown", token=f"{TOKEN}.changed")


def lists_by_ddpt(machine, source, destination):
    """ddpt --odx gathers two ranges and scatters them to two others."""
    fill(machine, source, 2, 20)
    machine.run(f"ddpt --odx if={source.generic} of={destination.generic} bs=512 skip=2,8,16,4 seek=4,6,30,6")
    expect_same(machine, source, [(2, 8), (16, 4)], destination, [(4, 6), (30, 6)])


def extended_copy(machine, source, destination):
    """sg_xcopy and ddpt --xcopy: EXTENDED COPY(LID1) with identification descriptors;
    sg_copy_results reads the limits."""
    fill(machine, source, 2, 8)
    machine.run(f"sg_xcopy if={source.generic} of={destination.generic} bs=512 skip=512 seek=1024 count=1024")
    expect_same(machine, source, [(2, 4)], destination, [(4, 4)])
    machine.run(f"ddpt --xcopy if={source.generic} of={destination.generic} bs=512 skip=1536 seek=4096 count=1024")
    expect_same(machine, source, [(6, 4)], destination, [(16, 4)])
    expect(machine.run(f"sg_copy_results -p {source.generic}"), "Maximum segment descriptor count: [1-9]")
