"""What the limits of arrays, disks and files make of the two FSCTLs when nothing is wrong: short replies, several
commands for one request, and the fields that follow from them.
"""
from fsctl_situations import (BLOCK, CLUSTER, DISK, MIB, PARTITION_AT, POPULATE_ANSWER, SituationTest, content,
                              populate_token, receive_rod_token_information, write_using_token)
from host_client import ALL_ZERO_BEYOND_CURRENT_RANGE, read_output, token_of, write_output
from ntfs_reader import Extent

KIB = 1 << 10
SOURCE, TARGET = 0, 1  # logical unit numbers
TTL_MS = 30_000  # with it, the host keeps to MAXIMUM TOKEN TRANSFER SIZE instead of OPTIMAL TRANSFER COUNT
WINDOWS_FRAGMENTS = 64


def first_blocks(extents, blocks):
    """The extents of the first so many blocks."""
    found = []
    for lba, length in extents:
        take = min(length, blocks)
        if take:
            found.append(Extent(lba, take))
        blocks -= take
    return found


def groups(extents, size):
    return [extents[at:at + size] for at in range(0, len(extents), size)]


def blocks_in(extents):
    return sum(blocks for _, blocks in extents)


class Limits(SituationTest):
    def read_commands(self, extents, list_identifier=0, inactivity_timeout_s=0, lun=SOURCE):
        return [populate_token(lun, list_identifier, extents, inactivity_timeout_s),
                receive_rod_token_information(lun, list_identifier, POPULATE_ANSWER)]

    def write_commands(self, pieces, list_identifier):
        """A WRITE USING TOKEN for each piece of the token, one after the other."""
        commands, offset = [], 0
        for number, piece in enumerate(pieces, list_identifier):
            commands.append(write_using_token(TARGET, number, self.token, piece, offset))
            offset += blocks_in(piece)
        return commands

    # TransferLength

    def test_read_cut_to_optimal_transfer_count(self):
        self.two_volumes(tail='[tokens]\noptimal_transfer = "256K"\n')
        file = self.source_volume.open("data")
        outcome = self.offload_read(file)
        extents = first_blocks(self.place_of(file), 256 * KIB // BLOCK)
        self.assert_succeeded(outcome, read_output(256 * KIB, token_of(outcome.output)), self.read_commands(extents))

    def test_read_with_time_to_live_cut_to_maximum_transfer_size(self):
        self.two_volumes(tail='[tokens]\noptimal_transfer = "256K"\nmaximum_transfer = "512K"\n')
        file = self.source_volume.open("data")
        outcome = self.offload_read(file, time_to_live_ms=TTL_MS)
        extents = first_blocks(self.place_of(file), 512 * KIB // BLOCK)
        self.assert_succeeded(outcome, read_output(512 * KIB, token_of(outcome.output)),
                              self.read_commands(extents, inactivity_timeout_s=TTL_MS // 1000))

    def test_read_cut_to_64_fragments(self):
        self.two_volumes()
        file = self.source_volume.open("fragmented")
        outcome = self.offload_read(file)
        extents = self.place_of(file)
        self.assertGreater(len(extents), WINDOWS_FRAGMENTS)
        read = extents[:WINDOWS_FRAGMENTS]
        self.assert_succeeded(outcome, read_output(blocks_in(read) * BLOCK, token_of(outcome.output)),
                              self.read_commands(read))

    def test_read_cut_to_the_ranges_of_the_array(self):
        self.two_volumes(head='profile = "3par-like"\n')
        file = self.source_volume.open("fragmented")
        outcome = self.offload_read(file)
        read = self.place_of(file)[:8]
        self.assert_succeeded(outcome, read_output(blocks_in(read) * BLOCK, token_of(outcome.output)),
                              self.read_commands(read))

    def test_read_cut_to_end_of_file(self):
        """Rounded up to a sector."""
        self.two_volumes()
        file = self.written_file(self.source_volume, content()[:700_000])
        self.source_volume.must("flush")
        outcome = self.offload_read(file)
        blocks = 700_000 // BLOCK + 1
        self.assert_succeeded(outcome, read_output(blocks * BLOCK, token_of(outcome.output),
                                                   ALL_ZERO_BEYOND_CURRENT_RANGE),
                              self.read_commands(first_blocks(self.place_of(file), blocks)))

    def test_read_flag_is_cleared_when_the_device_gave_less(self):
        """What follows is valid data, not zeros."""
        self.two_volumes(tail='[tokens]\noptimal_transfer = "256K"\n')
        file = self.new_file(self.source_volume)
        file.must("write", offset=0, data=content()[:512 * KIB].hex())
        self.source_volume.must("flush")
        outcome = self.offload_read(file)
        extents = first_blocks(self.place_of(file), 256 * KIB // BLOCK)
        self.assert_succeeded(outcome, read_output(256 * KIB, token_of(outcome.output)), self.read_commands(extents))

    def test_read_time_to_live_in_whole_seconds(self):
        """Milliseconds, rounded up; 0 is the default of the array."""
        self.two_volumes()
        file = self.source_volume.open("data")
        extents = self.place_of(file)
        for number, (given_ms, sent_s) in enumerate([(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (600_000, 600)]):
            outcome = self.offload_read(file, time_to_live_ms=given_ms)
            self.assert_succeeded(outcome, read_output(MIB, token_of(outcome.output)),
                                  self.read_commands(extents, number, sent_s))

    def test_read_flags_and_reserved_field_are_ignored(self):
        self.two_volumes()
        file = self.source_volume.open("data")
        outcome = self.offload_read(file, flags=0xFFFFFFFF, reserved=0xFFFFFFFF)
        self.assert_succeeded(outcome, read_output(MIB, token_of(outcome.output)),
                              self.read_commands(self.place_of(file)))

    # Where the volume lies

    def read_on(self, kind, partition, first_byte, partitions):
        array = self.serve([("disk", self.disk(kind))])
        volume = self.mount(array, 0, partition, first_byte=first_byte)
        self.assertEqual(volume.disk.partitions(), partitions)
        file = volume.open("data")
        outcome = self.offload_read(file)
        self.assert_succeeded(outcome, read_output(MIB, token_of(outcome.output)),
                              self.read_commands(self.place_of(file)))

    def test_read_on_mbr_partition(self):
        self.read_on("ntfs behind MBR", 1, MIB, [(1, MIB, DISK - 2 * MIB)])

    def test_read_on_disk_without_partitions(self):
        self.read_on("ntfs without partitions", 0, 0, [])

    # LengthWritten

    def test_write_in_steps_of_optimal_transfer_count(self):
        self.slow_or_small('[tokens]\noptimal_transfer = "256K"\n')
        outcome = self.offload_write(self.file)
        extent, = self.place_of(self.file)
        steps = [[Extent(extent.lba + at, 512)] for at in range(0, MIB // BLOCK, 512)]
        self.end_all()
        with self.target_volume.reader() as disk:
            self.assert_succeeded(outcome, write_output(MIB), [*self.write_commands(steps, 1),
                                                               self.record_written(TARGET, disk)])
            self.assertEqual(disk.data("target"), content())

    def test_write_cut_after_four_seconds(self):
        """Each step takes the array 1.4 seconds: three are over four seconds, and the rest is for another request."""
        self.slow_or_small('[tokens]\noptimal_transfer = "256K"\n[copy]\nlatency_ms = 1400\n')
        outcome = self.offload_write(self.file)
        extent, = self.place_of(self.file)
        steps = [[Extent(extent.lba + at, 512)] for at in range(0, 3 * 512, 512)]
        self.assertEqual(self.file.sizes(), (MIB, 768 * KIB))
        self.end_all()
        with self.target_volume.reader() as disk:
            self.assert_succeeded(outcome, write_output(768 * KIB), [*self.write_commands(steps, 1),
                                                                     self.record_written(TARGET, disk)])
            self.assertEqual(disk.data("target"), content()[:768 * KIB] + bytes(256 * KIB))
            self.assertEqual(disk.sizes("target"), (MIB, 768 * KIB))

    def slow_or_small(self, tail):
        self.two_volumes(tail=tail)
        self.token = self.make_token(self.source_volume.open("data"), time_to_live_ms=TTL_MS)
        self.file = self.new_file(self.target_volume)

    @staticmethod
    def lba_of(extent):
        """Of an extent as the host's file system says it."""
        return (PARTITION_AT + extent["volume_offset"]) // BLOCK

    def write_fragments(self, fragments, **options):
        self.copy_of_data(**options)
        file = self.target_volume.open("fragmented")
        outcome = self.offload_write(file)
        place = self.place_of(file)
        known = file.must("extents", offset=0, length=MIB)["extents"]
        self.assertEqual([(self.lba_of(each), each["length"] // BLOCK) for each in known], place)
        pieces = groups(place, fragments)
        written = [c for c in outcome.commands if c.name == "WRITE USING TOKEN"]
        self.assert_commands(written, self.write_commands(pieces, 1))
        self.assertEqual((outcome.status, outcome.output), ("STATUS_SUCCESS", write_output(MIB)), outcome.reason)
        self.end_all()
        with self.target_volume.reader() as disk:
            self.assertEqual(disk.data("fragmented"), content())

    def test_write_fragments_64_in_one_command(self):
        self.write_fragments(WINDOWS_FRAGMENTS)

    def test_write_fragments_as_many_as_the_array_takes(self):
        self.write_fragments(8, head='profile = "3par-like"\n')

    def test_write_cut_to_end_of_file(self):
        """LengthWritten is whole sectors, and below CopyLength; the valid data length does not pass the end."""
        file = self.copy_of_data()
        file.must("set_end_of_file", length=700_000)
        self.target_volume.must("flush")
        outcome = self.offload_write(file)
        blocks = 700_000 // BLOCK + 1
        self.assertEqual(file.sizes(), (700_000, 700_000))
        place = first_blocks(self.place_of(file), blocks)
        self.end_all()
        with self.target_volume.reader() as disk:
            self.assert_succeeded(outcome, write_output(blocks * BLOCK), [
                *self.write_commands([place], 1), self.record_written(TARGET, disk)])
            self.assertEqual(disk.data("target"), content()[:700_000])
            self.assertEqual(disk.sizes("target"), (700_000, 700_000))

    def test_write_flags_are_ignored(self):
        file = self.copy_of_data()
        self.assert_succeeded(self.offload_write(file, flags=0xFFFFFFFF), write_output(MIB), [
            *self.write_commands([self.place_of(file)], 1), self.record_now(file)])

    # Who reads and who writes

    def test_write_by_another_host(self):
        """A token is what its bytes are, whoever brings them."""
        array = self.serve([("source", self.disk()), ("target", self.disk())])
        self.token = self.make_token(self.mount(array, SOURCE).open("data"))
        file = self.new_file(self.mount(array, TARGET, host=self.new_host("other")))
        outcome = self.offload_write(file)
        self.assert_succeeded(outcome, write_output(MIB), [  # the other host's first list identifier
            *self.write_commands([self.place_of(file)], 0), self.record_now(file)])

    def test_write_to_a_disk_of_4096_byte_blocks(self):
        """Offsets into the token are in blocks of the disk that is written."""
        array = self.serve([("source", self.disk()), ("target", self.disk("ntfs of 4096 byte blocks"),
                                                      "block_size = 4096")])
        self.token = self.make_token(self.mount(array, SOURCE).open("data"))
        volume = self.mount(array, TARGET)
        file = self.new_file(volume)
        outcome = self.offload_write(file, 0, 64 * KIB, 8 * KIB)
        extent, = self.place_of(file)
        self.assertEqual((outcome.status, outcome.output), ("STATUS_SUCCESS", write_output(64 * KIB)), outcome.reason)
        self.assert_commands(outcome.commands[:1], [
            write_using_token(TARGET, 1, self.token, [Extent(extent.lba, 64 * KIB // CLUSTER)], 2)])
        self.end_all()
        with volume.reader() as disk:
            self.assertEqual(disk.data("target")[:64 * KIB], content()[8 * KIB:72 * KIB])
