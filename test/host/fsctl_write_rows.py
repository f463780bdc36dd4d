"""The rows of FSCTL_OFFLOAD_WRITE: one test each, named by row and situation."""
import random

from fsctl_situations import (BLOCK, CLUSTER, KINDS, MIB, WRITE_ANSWER, SituationTest, content,
                              receive_rod_token_information, write_using_token)
from host_client import (DELETE, FILE_READ_DATA, FSCTL_OFFLOAD_WRITE, TOKEN, WRITE_INPUT, WRITE_OUTPUT, ZERO_TOKEN,
                         Reference, write_input, write_output)
from ntfs_reader import Extent

FILE_NOT_SUPPORTED = "STATUS_OFFLOAD_WRITE_FILE_NOT_SUPPORTED"
FILTER_NOT_SUPPORTED = "STATUS_OFFLOAD_WRITE_FLT_NOT_SUPPORTED"
SOURCE, TARGET = 0, 1  # logical unit numbers


class WriteRows(SituationTest):
    def assert_works(self, **fields):
        """The control: without what was wrong, the same request is served."""
        outcome = self.offload_write(self.file, **fields)
        self.assertEqual((outcome.status, outcome.output), ("STATUS_SUCCESS", write_output(MIB)), outcome.reason)

    # STATUS_SUCCESS

    def test_write_success(self):
        file = self.copy_of_data()
        disk = self.target_volume.disk
        disk.trace()
        outcome = self.offload_write(file)
        self.assertEqual(disk.trace(), [command.cdb for command in outcome.commands])  # the host says the same
        self.assertEqual(file.sizes(), (MIB, MIB))
        self.assertEqual(bytes.fromhex(file.must("read", offset=0, length=MIB)["data"]), content())
        self.end_all()
        with self.target_volume.reader() as disk:
            self.assert_succeeded(outcome, write_output(MIB), [
                write_using_token(TARGET, 1, self.token, disk.extents("target")), self.record_written(TARGET, disk)])
            self.assertEqual(disk.data("target"), content())
            self.assertEqual(disk.sizes("target"), (MIB, MIB))

    def test_write_success_into_the_middle(self):
        """The valid data length ends where the write ended, and what follows reads as zeros."""
        file = self.copy_of_data()
        file.must("write", offset=0, data=bytes(8 * CLUSTER).hex())
        self.target_volume.must("flush")
        outcome = self.offload_write(file, 8 * CLUSTER, 3 * BLOCK, 5 * BLOCK)
        end = 8 * CLUSTER + 3 * BLOCK
        self.assertEqual(file.sizes(), (MIB, end))
        self.end_all()
        with self.target_volume.reader() as disk:
            extent, = disk.extents("target")
            written = Extent(extent.lba + 8 * CLUSTER // BLOCK, 3)
            self.assert_succeeded(outcome, write_output(3 * BLOCK), [
                write_using_token(TARGET, 1, self.token, [written], 5), self.record_written(TARGET, disk)])
            data = content()[5 * BLOCK:8 * BLOCK]
            self.assertEqual(disk.data("target"), bytes(8 * CLUSTER) + data + bytes(MIB - end))
            self.assertEqual(disk.sizes("target"), (MIB, end))

    def test_write_success_copy_length_zero(self):
        file = self.copy_of_data()
        self.assert_succeeded(self.offload_write(file, copy_length=0), write_output(0), [])
        self.assertEqual(file.sizes(), (MIB, 0))

    def test_write_success_zero_token(self):
        file = self.copy_of_data()
        file.must("write", offset=0, data=content().hex())
        self.target_volume.must("flush")
        outcome = self.offload_write(file, copy_length=MIB // 2, token=ZERO_TOKEN)
        self.end_all()
        with self.target_volume.reader() as disk:
            extent, = disk.extents("target")
            zeroed = Extent(extent.lba, MIB // 2 // BLOCK)
            self.assert_succeeded(outcome, write_output(MIB // 2), [
                write_using_token(TARGET, 1, ZERO_TOKEN, [zeroed]), self.record_written(TARGET, disk)])
            self.assertEqual(disk.data("target"), bytes(MIB // 2) + content()[MIB // 2:])

    # STATUS_INVALID_DEVICE_REQUEST

    def refused_on(self, kind):
        """Such a volume can be opened only itself."""
        disks = [self.disk(), self.disk(kind)]
        array = self.serve([("source", disks[0]), ("target", disks[1])])
        self.token = self.make_token(self.mount(array, SOURCE).open("data"))
        volume = self.mount(array, TARGET, partition=0)
        self.assertEqual(volume.found["kind"], KINDS[kind])
        self.assertEqual(volume.do("open", path="target")["status"]["name"], "STATUS_UNRECOGNIZED_VOLUME")
        self.assert_refused(self.offload_write(volume.open_volume()), "STATUS_INVALID_DEVICE_REQUEST")

    def test_write_invalid_device_request_fat(self):
        self.refused_on("fat")

    def test_write_invalid_device_request_ext4(self):
        self.refused_on("ext4")

    def test_write_invalid_device_request_xfs(self):
        self.refused_on("xfs")

    def test_write_invalid_device_request_unformatted(self):
        self.refused_on("unformatted")

    def test_write_invalid_device_request_volume_handle(self):
        self.copy_of_data()
        volume = self.target_volume.open_volume()
        self.assert_refused(self.offload_write(volume), "STATUS_INVALID_DEVICE_REQUEST")

    # STATUS_INVALID_PARAMETER

    def test_write_invalid_parameter_file_smaller_than_sector(self):
        """Cut to 100 bytes after it had clusters, and it still has one."""
        file = self.copy_of_data()
        file.must("set_end_of_file", length=100)
        self.assert_refused(self.offload_write(file, copy_length=BLOCK), "STATUS_INVALID_PARAMETER")
        self.end_all()
        with self.target_volume.reader() as disk:
            self.assertEqual(len(disk.extents("target")), 1)

    def test_write_invalid_parameter_resident_file_smaller_than_sector(self):
        self.copy_of_data()
        file = self.written_file(self.target_volume, b"x" * 100)
        self.assert_refused(self.offload_write(file, copy_length=BLOCK), "STATUS_INVALID_PARAMETER")
        self.end_all()
        with self.target_volume.reader() as disk:
            self.assertEqual(disk.extents("written"), [])

    def test_write_invalid_parameter_file_offset_not_multiple(self):
        file = self.copy_of_data()
        file.must("write", offset=0, data=content().hex())
        for offset in (1, BLOCK // 2, BLOCK + 1):
            self.assert_refused(self.offload_write(file, offset, BLOCK), "STATUS_INVALID_PARAMETER")

    def test_write_invalid_parameter_copy_length_not_multiple(self):
        file = self.copy_of_data()
        for length in (1, BLOCK - 1, BLOCK + 1):
            self.assert_refused(self.offload_write(file, 0, length), "STATUS_INVALID_PARAMETER")

    def test_write_invalid_parameter_transfer_offset_not_multiple(self):
        file = self.copy_of_data()
        for offset in (1, BLOCK - 1, BLOCK + 1):
            self.assert_refused(self.offload_write(file, 0, BLOCK, offset), "STATUS_INVALID_PARAMETER")

    def of_4096_byte_sectors(self):
        """The pair of volumes on disks with logical blocks of 4096 bytes; 512 is not enough there."""
        disks = [self.disk("ntfs of 4096 byte blocks") for _ in range(2)]
        array = self.serve([("source", disks[0], "block_size = 4096"), ("target", disks[1], "block_size = 4096")])
        self.token = self.make_token(self.mount(array, SOURCE).open("data"))
        self.file = self.new_file(self.mount(array, TARGET))
        return self.file

    def test_write_invalid_parameter_file_offset_of_512_on_4096(self):
        file = self.of_4096_byte_sectors()
        self.assert_works()
        self.assert_refused(self.offload_write(file, 512, 4096), "STATUS_INVALID_PARAMETER")

    def test_write_invalid_parameter_copy_length_of_512_on_4096(self):
        file = self.of_4096_byte_sectors()
        self.assert_refused(self.offload_write(file, 0, 512), "STATUS_INVALID_PARAMETER")
        self.assert_works()

    def test_write_invalid_parameter_transfer_offset_of_512_on_4096(self):
        file = self.of_4096_byte_sectors()
        self.assert_refused(self.offload_write(file, 0, 4096, 512), "STATUS_INVALID_PARAMETER")
        self.assert_works()

    def test_write_invalid_parameter_file_offset_beyond_vdl(self):
        file = self.copy_of_data()
        self.assert_refused(self.offload_write(file, BLOCK, BLOCK), "STATUS_INVALID_PARAMETER")
        file.must("write", offset=0, data=bytes(BLOCK).hex())
        self.assertEqual(self.offload_write(file, BLOCK, BLOCK).status, "STATUS_SUCCESS")

    def test_write_invalid_parameter_size_field(self):
        file = self.copy_of_data()
        for size in (0, WRITE_INPUT - 1, WRITE_INPUT + 1):
            self.assert_refused(self.offload_write(file, size=size), "STATUS_INVALID_PARAMETER")

    def test_write_invalid_parameter_offset_plus_length_overflows(self):
        file = self.copy_of_data()
        self.assert_refused(self.offload_write(file, 0xFFFFFFFFFFFFFE00, 0x400), "STATUS_INVALID_PARAMETER")

    # STATUS_NOT_SUPPORTED

    def test_write_not_supported_after_device_feature_not_supported(self):
        self.on_array_without_odx()
        self.assert_refused(self.offload_write(self.file), "STATUS_DEVICE_FEATURE_NOT_SUPPORTED")
        self.assert_refused(self.offload_write(self.file), "STATUS_NOT_SUPPORTED")
        self.assertEqual(self.target_volume.do("offload_supported"), {"read": True, "write": False})
        # The volume remembers; a new mount does not.
        self.file.must("close")
        self.target_volume.do("unmount")
        self.file = self.mount(self.arrays[0], TARGET).open("target")
        self.assert_refused(self.offload_write(self.file), "STATUS_DEVICE_FEATURE_NOT_SUPPORTED")

    # STATUS_OFFLOAD_WRITE_FILE_NOT_SUPPORTED

    def refused_for(self, path, stream="", **options):
        self.copy_of_data()
        file = self.target_volume.open(path, stream=stream, **options)
        self.assert_refused(self.offload_write(file, copy_length=BLOCK), FILE_NOT_SUPPORTED)

    def test_write_file_not_supported_compressed(self):
        self.refused_for("compressed")

    def test_write_file_not_supported_sparse(self):
        self.refused_for("sparse")

    def test_write_file_not_supported_encrypted(self):
        self.refused_for("encrypted")

    def test_write_file_not_supported_metadata_mft(self):
        self.refused_for("$MFT")

    def test_write_file_not_supported_metadata_bitmap(self):
        self.refused_for("$Bitmap")

    def test_write_file_not_supported_metadata_secure_sds(self):
        self.refused_for("$Secure", "$SDS")

    def test_write_file_not_supported_transacted_handle(self):
        self.refused_for("data", transacted=True)

    def test_write_file_not_supported_txf_data_on_disk(self):
        self.refused_for("transacted")

    def test_write_file_not_supported_directory(self):
        """A file that is no user data stream."""
        self.refused_for("directory")

    def test_write_file_not_supported_resident(self):
        self.copy_of_data()
        file = self.written_file(self.target_volume, b"x" * (BLOCK + 10))
        self.assert_refused(self.offload_write(file, copy_length=BLOCK), FILE_NOT_SUPPORTED)
        self.end_all()
        with self.target_volume.reader() as disk:
            self.assertEqual(disk.extents("written"), [])

    def test_write_file_not_supported_deduplicated(self):
        self.refused_for("deduplicated")

    # STATUS_OFFLOAD_WRITE_FLT_NOT_SUPPORTED

    def test_write_filter_not_supported_filter_without_features(self):
        file = self.copy_of_data()
        self.target_volume.do("attach", name="antivirus", supported_features=0)
        self.assert_refused(self.offload_write(file), FILTER_NOT_SUPPORTED)
        self.target_volume.do("detach", name="antivirus")
        self.assert_works()

    def test_write_filter_not_supported_filter_for_reads_only(self):
        file = self.copy_of_data()
        self.target_volume.do("attach", name="backup", supported_features=3)
        self.target_volume.do("attach", name="antivirus", supported_features=1)
        self.assert_refused(self.offload_write(file), FILTER_NOT_SUPPORTED)
        self.target_volume.do("detach", name="antivirus")
        self.assert_works()

    def test_write_filter_not_supported_features_mode(self):
        file = self.copy_of_data()
        self.host.do("features_mode", value=1)
        self.assert_refused(self.offload_write(file), FILTER_NOT_SUPPORTED)
        self.host.do("features_mode", value=0)
        self.assert_works()

    def test_write_not_supported_filter_blocks(self):
        """A filter that opted in and refuses this file by itself is told to answer so."""
        file = self.copy_of_data()
        self.target_volume.do("attach", name="blocker", supported_features=3, blocks=True)
        self.assert_refused(self.offload_write(file), "STATUS_NOT_SUPPORTED")

    # STATUS_TOO_LATE

    def test_write_too_late_volume_shut_down(self):
        file = self.copy_of_data()
        self.target_volume.must("shut_down")
        self.assert_refused(self.offload_write(file), "STATUS_TOO_LATE")

    # STATUS_FILE_DELETED

    def test_write_file_deleted(self):
        file = self.copy_of_data()
        self.target_volume.open("target", access=DELETE).must("mark_deleted")
        self.assert_refused(self.offload_write(file), "STATUS_FILE_DELETED")

    # STATUS_FILE_CLOSED

    def test_write_file_closed_under_pending_request(self):
        file = self.copy_of_data()
        pending = Reference(file)
        file.must("close")
        self.assert_refused(self.offload_write(pending), "STATUS_FILE_CLOSED")

    # STATUS_INVALID_HANDLE

    def test_write_invalid_handle_closed(self):
        file = self.copy_of_data()
        file.must("close")
        self.assert_refused(self.offload_write(file), "STATUS_INVALID_HANDLE")

    def test_write_invalid_handle_never_opened(self):
        file = self.copy_of_data()
        file.handle += 0x400
        self.assert_refused(self.offload_write(file), "STATUS_INVALID_HANDLE")

    # STATUS_ACCESS_DENIED: not a row, but the control code asks for FILE_WRITE_ACCESS.

    def test_write_access_denied_handle_for_reading(self):
        self.copy_of_data()
        file = self.target_volume.open("target", access=FILE_READ_DATA)
        self.assert_refused(self.offload_write(file), "STATUS_ACCESS_DENIED")

    # STATUS_FILE_LOCK_CONFLICT

    def conflicts(self, locker, exclusive):
        locker.must("lock", offset=4096, length=1, exclusive=exclusive)
        self.assert_refused(self.offload_write(self.file), "STATUS_FILE_LOCK_CONFLICT")
        locker.must("unlock", offset=4096, length=1)
        self.assert_works()

    def test_write_file_lock_conflict_exclusive_lock_of_another(self):
        self.copy_of_data()
        self.conflicts(self.target_volume.open("target"), exclusive=True)

    def test_write_file_lock_conflict_shared_lock_of_another(self):
        self.copy_of_data()
        self.conflicts(self.target_volume.open("target"), exclusive=False)

    def test_write_file_lock_conflict_own_shared_lock(self):
        self.conflicts(self.copy_of_data(), exclusive=False)

    # STATUS_END_OF_FILE

    def test_write_end_of_file_offset_at_end(self):
        file = self.copy_of_data()
        file.must("write", offset=0, data=content().hex())
        self.assert_refused(self.offload_write(file, MIB, BLOCK), "STATUS_END_OF_FILE")

    def test_write_end_of_file_offset_after_end(self):
        file = self.copy_of_data()
        self.assert_refused(self.offload_write(file, MIB + BLOCK, BLOCK), "STATUS_END_OF_FILE")

    # STATUS_DISMOUNTED_VOLUME

    def test_write_volume_dismounted_by_fsctl(self):
        file = self.copy_of_data()
        self.target_volume.must("dismount")
        self.assert_refused(self.offload_write(file), "STATUS_VOLUME_DISMOUNTED")

    def test_write_volume_dismounted_disk_formatted_by_another_host(self):
        file = self.copy_of_data()
        self.format_behind_its_back(self.array, TARGET)
        self.target_volume.do("verify")
        self.assert_refused(self.offload_write(file), "STATUS_VOLUME_DISMOUNTED")

    # STATUS_MEDIA_WRITE_PROTECTED

    def test_write_media_write_protected_logical_unit(self):
        disks = [self.disk(), self.disk()]
        array = self.serve([("source", disks[0]), ("target", disks[1], "read_only = true")])
        self.token = self.make_token(self.mount(array, SOURCE).open("data"))
        volume = self.mount(array, TARGET)
        self.assertTrue(volume.found["read_only"])
        self.assert_refused(self.offload_write(volume.open("data")), "STATUS_MEDIA_WRITE_PROTECTED")

    def test_write_media_write_protected_mounted_read_only(self):
        disk = self.disk()
        array = self.serve([("disk", disk)])
        volume = self.mount(array, 0, read_only=True)
        file = volume.open("data")
        self.token = self.make_token(file)
        self.assert_refused(self.offload_write(file), "STATUS_MEDIA_WRITE_PROTECTED")

    # STATUS_INSUFFICIENT_RESOURCES

    def test_write_insufficient_resources_copies_at_once(self):
        """The array makes one copy at a time, and makes one for another host."""
        disks = [self.disk() for _ in range(3)]
        array = self.serve([("source", disks[0]), ("target", disks[1]), ("other", disks[2])],
                           tail="[copy]\nlatency_ms = 1500\nmaximum_operations = 1\n")
        self.token = self.make_token(self.mount(array, SOURCE).open("data"))
        file = self.new_file(self.mount(array, TARGET))
        other = self.new_file(self.mount(array, 2, host=self.new_host("other")))
        other.send_fsctl(FSCTL_OFFLOAD_WRITE, write_input(0, MIB, 0, self.token), WRITE_OUTPUT)
        array.wait_until(lambda report: report["arrays"][0]["copies"] == 1)
        self.refused_as("STATUS_INSUFFICIENT_RESOURCES", file)
        self.assertEqual(other.answer_fsctl().status, "STATUS_SUCCESS")

    # STATUS_BUFFER_TOO_SMALL

    def test_write_buffer_too_small_input(self):
        file = self.copy_of_data()
        given = write_input(0, MIB, 0, self.token)
        self.assert_refused(self.fsctl(file, FSCTL_OFFLOAD_WRITE, given[:-1], WRITE_OUTPUT), "STATUS_BUFFER_TOO_SMALL")

    def test_write_buffer_too_small_output(self):
        file = self.copy_of_data()
        self.assert_refused(self.offload_write(file, output_length=WRITE_OUTPUT - 1), "STATUS_BUFFER_TOO_SMALL")

    def test_write_buffer_too_small_none(self):
        file = self.copy_of_data()
        self.assert_refused(self.fsctl(file, FSCTL_OFFLOAD_WRITE, b"", 0), "STATUS_BUFFER_TOO_SMALL")

    # STATUS_DEVICE_FEATURE_NOT_SUPPORTED

    def on_array_without_odx(self):
        """The token is from another array, which has it."""
        without = self.serve([("source", self.disk()), ("target", self.disk())], head='profile = "no-odx"\n',
                             name="without")
        with_odx = self.serve([("data", self.disk())], name="with")
        self.token = self.make_token(self.mount(with_odx, 0).open("data"))
        self.target_volume = self.mount(without, TARGET)
        self.file = self.new_file(self.target_volume)

    def test_write_device_feature_not_supported_odx_switched_off(self):
        self.on_array_without_odx()
        self.assert_refused(self.offload_write(self.file), "STATUS_DEVICE_FEATURE_NOT_SUPPORTED")

    def test_write_device_feature_not_supported_no_third_party_copy(self):
        array = self.serve([("target", self.disk())], head='profile = "no-third-party-copy"\n')
        file = self.new_file(self.mount(array, 0))
        self.assert_refused(self.offload_write(file, token=ZERO_TOKEN), "STATUS_DEVICE_FEATURE_NOT_SUPPORTED")

    def test_write_device_feature_not_supported_by_tgtd(self):
        """A target that has no VPD page 8Fh."""
        file = self.new_file(self.mount(self.serve_by_tgtd(self.disk()), 0))
        self.assert_refused(self.offload_write(file, token=ZERO_TOKEN), "STATUS_DEVICE_FEATURE_NOT_SUPPORTED")

    # STATUS_DEVICE_UNREACHABLE

    def refused_as(self, status, file, lun=TARGET):
        """The array keeps the result of the copy it refused, and the host asks for it."""
        with self.blocks_untouched(file) as place:
            self.assert_refused(self.offload_write(file), status, [
                write_using_token(lun, 1, self.token, place), receive_rod_token_information(lun, 1, WRITE_ANSWER)])

    def test_write_device_unreachable_logical_units(self):
        self.copy_of_data(tail='[[unreachable]]\na = "source"\nb = "target"\n')
        self.refused_as("STATUS_DEVICE_UNREACHABLE", self.file)

    def test_write_device_unreachable_link_cut_while_token_lives(self):
        self.copy_of_data()
        self.array.cut("source", "target")
        self.refused_as("STATUS_DEVICE_UNREACHABLE", self.file)
        self.array.cut()
        self.assert_works()

    def test_write_device_unreachable_arrays(self):
        text = '[[array]]\nname = "east"\nid = "e"\n[[array]]\nname = "west"\nid = "w"\n'
        disks = [self.disk(), self.disk()]
        for name, disk in zip(("east", "west"), disks):
            text += (f'[[target]]\narray = "{name}"\nname = "iqn.2026-11.org.example:{name}"\n'
                     f'[[target.lun]]\nname = "disk of {name}"\nstore = "file:{disk}"\n')
        array = self.serve_text(text + '[[unreachable]]\na = "east"\nb = "west"\n', disks)
        self.token = self.make_token(self.mount(array, 0).open("data"))
        file = self.new_file(self.mount(array, 1))
        self.refused_as("STATUS_DEVICE_UNREACHABLE", file, lun=0)

    # STATUS_INVALID_TOKEN: one WRITE USING TOKEN, and no question about a result the array did not keep.

    def refused_as_invalid(self, token, file=None, lun=TARGET, list_identifier=1):
        file = file or self.file
        with self.blocks_untouched(file) as place:
            self.assert_refused(self.offload_write(file, token=token), "STATUS_INVALID_TOKEN", [
                write_using_token(lun, list_identifier, token, place)])
        self.assertEqual(file.sizes(), (MIB, 0))

    def test_write_invalid_token_bit_flipped(self):
        self.copy_of_data()
        chance = random.Random(5)
        flipped = [8, TOKEN - 1, *(chance.randrange(8, TOKEN) for _ in range(10))]
        for number, at in enumerate(flipped, 1):
            token = bytearray(self.token)
            token[at] ^= 1 << chance.randrange(8)
            self.refused_as_invalid(bytes(token), list_identifier=number)
        self.assert_works()

    def test_write_invalid_token_all_zero_bytes(self):
        self.copy_of_data()
        self.refused_as_invalid(bytes(TOKEN))

    def test_write_invalid_token_random(self):
        self.copy_of_data()
        self.refused_as_invalid(random.Random(6).randbytes(TOKEN))

    def test_write_invalid_token_expired(self):
        """The shortest time to live, one second of the array's clock, goes by."""
        self.two_volumes()
        self.token = self.make_token(self.source_volume.open("data"), time_to_live_ms=1)
        self.file = self.new_file(self.target_volume)
        self.array.wait_until(lambda report: not report["arrays"][0]["tokens"])
        self.refused_as_invalid(self.token)

    def test_write_invalid_token_source_changed(self):
        """An array that cancels a token when its source is written."""
        self.copy_of_data(head='profile = "change-vulnerable"\n')
        self.source.must("write", offset=0, data=bytes(BLOCK).hex())
        self.refused_as_invalid(self.token)

    def test_write_invalid_token_of_another_array(self):
        array, other = (self.serve([("disk", self.disk())], name=name) for name in ("one", "two"))
        self.token = self.make_token(self.mount(other, 0).open("data"))
        self.refused_as_invalid(self.token, self.new_file(self.mount(array, 0)), lun=0)

    def test_write_invalid_token_after_restart_of_the_array(self):
        self.copy_of_data(head='id = "the-same"\n')
        self.end_all()
        self.host = None
        array = self.serve_text(self.array.text, self.array.disks, name="again")
        self.refused_as_invalid(self.token, self.mount(array, TARGET).open("target"), list_identifier=0)
