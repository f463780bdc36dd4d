"""The rows of FSCTL_OFFLOAD_READ, the twins of those of FSCTL_OFFLOAD_WRITE: one test each, named by row and situation.
"""
from fsctl_situations import (BLOCK, CLUSTER, KINDS, MIB, POPULATE_ANSWER, SituationTest, content, populate_token,
                              receive_rod_token_information)
from host_client import (ALL_ZERO_BEYOND_CURRENT_RANGE, DELETE, FILE_WRITE_DATA, FSCTL_OFFLOAD_READ, READ_INPUT,
                         READ_OUTPUT, ZERO_TOKEN, Reference, read_input, read_output, token_of, write_output)
from ntfs_reader import Extent

FILE_NOT_SUPPORTED = "STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED"
FILTER_NOT_SUPPORTED = "STATUS_OFFLOAD_READ_FLT_NOT_SUPPORTED"


class ReadRows(SituationTest):
    def one_volume(self, **options):
        """A disk with an NTFS volume, and its file "data" open."""
        self.array = self.serve([("disk", self.disk())], **options)
        self.volume = self.mount(self.array, 0)
        self.file = self.volume.open("data")
        return self.file

    def assert_works(self):
        """The control: without what was wrong, the same request is served."""
        outcome = self.offload_read(self.file)
        self.assertEqual(outcome.status, "STATUS_SUCCESS", outcome.reason)

    def assert_token_made(self, outcome, length, extents, list_identifier=0, flags=0, inactivity_timeout_s=0):
        """528 bytes of reply, and two commands."""
        self.assert_succeeded(outcome, read_output(length, token_of(outcome.output), flags), [
            populate_token(0, list_identifier, extents, inactivity_timeout_s),
            receive_rod_token_information(0, list_identifier, POPULATE_ANSWER)])

    def assert_stands_for(self, token, data):
        """The token, written to a new file of the volume, gives these bytes."""
        file = self.new_file(self.volume, len(data))
        outcome = self.offload_write(file, copy_length=len(data), token=token)
        self.assertEqual((outcome.status, outcome.output), ("STATUS_SUCCESS", write_output(len(data))), outcome.reason)
        self.end_all()
        with self.volume.reader() as disk:
            self.assertEqual(disk.data("target"), data)

    # STATUS_SUCCESS

    def test_read_success(self):
        file = self.one_volume()
        outcome = self.offload_read(file)
        self.assert_token_made(outcome, MIB, self.place_of(file))
        self.assert_stands_for(token_of(outcome.output), content())

    def test_read_success_from_the_middle(self):
        file = self.one_volume()
        outcome = self.offload_read(file, 3 * BLOCK, 9 * BLOCK)
        extent, = self.place_of(file)
        self.assert_token_made(outcome, 9 * BLOCK, [Extent(extent.lba + 3, 9)])
        self.assert_stands_for(token_of(outcome.output), content()[3 * BLOCK:12 * BLOCK])

    def test_read_success_copy_length_zero(self):
        self.assert_succeeded(self.offload_read(self.one_volume(), copy_length=0), read_output(0, ZERO_TOKEN), [])

    def test_read_success_beyond_vdl(self):
        """Zeros need no array."""
        self.one_volume()
        file = self.new_file(self.volume)
        self.assert_succeeded(self.offload_read(file),
                              read_output(MIB, ZERO_TOKEN, ALL_ZERO_BEYOND_CURRENT_RANGE), [])

    def test_read_success_across_vdl(self):
        """Cut to the valid data length, rounded up to a sector; the rest of the file is zeros."""
        self.one_volume()
        self.file = file = self.new_file(self.volume)
        file.must("write", offset=0, data=content()[:5 * CLUSTER + 700].hex())
        self.volume.must("flush")
        outcome = self.offload_read(file)
        extent, = self.place_of(file)
        blocks = 5 * CLUSTER // BLOCK + 2
        self.assert_token_made(outcome, blocks * BLOCK, [Extent(extent.lba, blocks)],
                               flags=ALL_ZERO_BEYOND_CURRENT_RANGE)

    def test_read_success_on_read_only_disk(self):
        """STATUS_MEDIA_WRITE_PROTECTED is no row of reads."""
        array = self.serve([("disk", self.disk(), "read_only = true")])
        volume = self.mount(array, 0)
        self.assertTrue(volume.found["read_only"])
        file = volume.open("data", access=1)
        outcome = self.offload_read(file)
        with volume.reader() as disk:
            self.assert_token_made(outcome, MIB, disk.extents("data"))

    # STATUS_INVALID_DEVICE_REQUEST

    def refused_on(self, kind):
        """Such a volume can be opened only itself."""
        volume = self.mount(self.serve([("disk", self.disk(kind))]), 0, partition=0)
        self.assertEqual(volume.found["kind"], KINDS[kind])
        self.assertEqual(volume.do("open", path="data")["status"]["name"], "STATUS_UNRECOGNIZED_VOLUME")
        self.assert_refused(self.offload_read(volume.open_volume()), "STATUS_INVALID_DEVICE_REQUEST")

    def test_read_invalid_device_request_fat(self):
        self.refused_on("fat")

    def test_read_invalid_device_request_ext4(self):
        self.refused_on("ext4")

    def test_read_invalid_device_request_xfs(self):
        self.refused_on("xfs")

    def test_read_invalid_device_request_unformatted(self):
        self.refused_on("unformatted")

    def test_read_invalid_device_request_volume_handle(self):
        self.one_volume()
        self.assert_refused(self.offload_read(self.volume.open_volume()), "STATUS_INVALID_DEVICE_REQUEST")

    # STATUS_INVALID_PARAMETER

    def test_read_invalid_parameter_file_smaller_than_sector(self):
        """Cut to 100 bytes after it had clusters, and it still has one."""
        self.one_volume()
        file = self.new_file(self.volume)
        file.must("set_end_of_file", length=100)
        self.assert_refused(self.offload_read(file, copy_length=BLOCK), "STATUS_INVALID_PARAMETER")
        self.assertEqual(len(self.place_of(file)), 1)

    def test_read_invalid_parameter_resident_file_smaller_than_sector(self):
        self.one_volume()
        file = self.written_file(self.volume, b"x" * 100)
        self.assert_refused(self.offload_read(file, copy_length=BLOCK), "STATUS_INVALID_PARAMETER")
        self.assertEqual(self.place_of(file), [])

    def test_read_invalid_parameter_file_offset_not_multiple(self):
        file = self.one_volume()
        for offset in (1, BLOCK - 1, BLOCK + 1):
            self.assert_refused(self.offload_read(file, offset, BLOCK), "STATUS_INVALID_PARAMETER")

    def test_read_invalid_parameter_copy_length_not_multiple(self):
        file = self.one_volume()
        for length in (1, BLOCK - 1, BLOCK + 1):
            self.assert_refused(self.offload_read(file, 0, length), "STATUS_INVALID_PARAMETER")

    def of_4096_byte_sectors(self):
        array = self.serve([("disk", self.disk("ntfs of 4096 byte blocks"), "block_size = 4096")])
        self.file = self.mount(array, 0).open("data")
        return self.file

    def test_read_invalid_parameter_file_offset_of_512_on_4096(self):
        self.assert_refused(self.offload_read(self.of_4096_byte_sectors(), 512, 4096), "STATUS_INVALID_PARAMETER")
        self.assert_works()

    def test_read_invalid_parameter_copy_length_of_512_on_4096(self):
        self.assert_refused(self.offload_read(self.of_4096_byte_sectors(), 0, 512), "STATUS_INVALID_PARAMETER")
        self.assert_works()

    def test_read_invalid_parameter_size_field(self):
        file = self.one_volume()
        for size in (0, READ_INPUT - 1, READ_INPUT + 1):
            self.assert_refused(self.offload_read(file, size=size), "STATUS_INVALID_PARAMETER")

    def test_read_invalid_parameter_offset_plus_length_overflows(self):
        file = self.one_volume()
        self.assert_refused(self.offload_read(file, 0xFFFFFFFFFFFFFE00, 0x400), "STATUS_INVALID_PARAMETER")

    def test_read_invalid_parameter_time_to_live_above_maximum(self):
        """What the class driver refuses: the array's longest inactivity timeout is 600 seconds."""
        file = self.one_volume()
        self.assert_refused(self.offload_read(file, time_to_live_ms=600_001), "STATUS_INVALID_PARAMETER")
        self.assertEqual(self.offload_read(file, time_to_live_ms=600_000).status, "STATUS_SUCCESS")

    # STATUS_NOT_SUPPORTED

    def test_read_not_supported_after_device_feature_not_supported(self):
        file = self.one_volume(head='profile = "no-odx"\n')
        self.assert_refused(self.offload_read(file), "STATUS_DEVICE_FEATURE_NOT_SUPPORTED")
        self.assert_refused(self.offload_read(file), "STATUS_NOT_SUPPORTED")
        self.assertEqual(self.volume.do("offload_supported"), {"read": False, "write": True})
        # The volume remembers; a new mount does not.
        file.must("close")
        self.volume.do("unmount")
        file = self.mount(self.array, 0).open("data")
        self.assert_refused(self.offload_read(file), "STATUS_DEVICE_FEATURE_NOT_SUPPORTED")

    # STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED

    def refused_for(self, path, stream="", **options):
        self.one_volume()
        file = self.volume.open(path, stream=stream, access=1, **options)
        self.assert_refused(self.offload_read(file, copy_length=BLOCK), FILE_NOT_SUPPORTED)

    def test_read_file_not_supported_compressed(self):
        self.refused_for("compressed")

    def test_read_file_not_supported_sparse(self):
        self.refused_for("sparse")

    def test_read_file_not_supported_encrypted(self):
        self.refused_for("encrypted")

    def test_read_file_not_supported_metadata_mft(self):
        self.refused_for("$MFT")

    def test_read_file_not_supported_metadata_bitmap(self):
        self.refused_for("$Bitmap")

    def test_read_file_not_supported_metadata_secure_sds(self):
        self.refused_for("$Secure", "$SDS")

    def test_read_file_not_supported_transacted_handle(self):
        self.refused_for("data", transacted=True)

    def test_read_file_not_supported_txf_data_on_disk(self):
        self.refused_for("transacted")

    def test_read_file_not_supported_directory(self):
        """A file that is no user data stream."""
        self.refused_for("directory")

    def test_read_file_not_supported_resident(self):
        self.one_volume()
        file = self.written_file(self.volume, b"x" * (BLOCK + 10))
        self.assert_refused(self.offload_read(file, copy_length=BLOCK), FILE_NOT_SUPPORTED)
        self.assertEqual(self.place_of(file), [])

    def test_read_file_not_supported_deduplicated(self):
        self.refused_for("deduplicated")

    # STATUS_OFFLOAD_READ_FLT_NOT_SUPPORTED

    def test_read_filter_not_supported_filter_without_features(self):
        file = self.one_volume()
        self.volume.do("attach", name="antivirus", supported_features=0)
        self.assert_refused(self.offload_read(file), FILTER_NOT_SUPPORTED)
        self.volume.do("detach", name="antivirus")
        self.assert_works()

    def test_read_filter_not_supported_filter_for_writes_only(self):
        file = self.one_volume()
        self.volume.do("attach", name="backup", supported_features=3)
        self.volume.do("attach", name="antivirus", supported_features=2)
        self.assert_refused(self.offload_read(file), FILTER_NOT_SUPPORTED)
        self.volume.do("detach", name="antivirus")
        self.assert_works()

    def test_read_filter_not_supported_features_mode(self):
        file = self.one_volume()
        self.host.do("features_mode", value=1)
        self.assert_refused(self.offload_read(file), FILTER_NOT_SUPPORTED)
        self.host.do("features_mode", value=0)
        self.assert_works()

    def test_read_not_supported_filter_blocks(self):
        """A filter that opted in and refuses this file by itself is told to answer so."""
        file = self.one_volume()
        self.volume.do("attach", name="blocker", supported_features=3, blocks=True)
        self.assert_refused(self.offload_read(file), "STATUS_NOT_SUPPORTED")

    # STATUS_FILE_DELETED

    def test_read_file_deleted(self):
        file = self.one_volume()
        self.volume.open("data", access=DELETE).must("mark_deleted")
        self.assert_refused(self.offload_read(file), "STATUS_FILE_DELETED")

    # STATUS_FILE_CLOSED

    def test_read_file_closed_under_pending_request(self):
        file = self.one_volume()
        pending = Reference(file)
        file.must("close")
        self.assert_refused(self.offload_read(pending), "STATUS_FILE_CLOSED")

    # STATUS_INVALID_HANDLE

    def test_read_invalid_handle_closed(self):
        file = self.one_volume()
        file.must("close")
        self.assert_refused(self.offload_read(file), "STATUS_INVALID_HANDLE")

    def test_read_invalid_handle_never_opened(self):
        file = self.one_volume()
        file.handle += 0x400
        self.assert_refused(self.offload_read(file), "STATUS_INVALID_HANDLE")

    # Not a row, but the control code asks for FILE_READ_ACCESS.

    def test_read_access_denied_handle_for_writing(self):
        self.one_volume()
        file = self.volume.open("data", access=FILE_WRITE_DATA)
        self.assert_refused(self.offload_read(file), "STATUS_ACCESS_DENIED")

    # STATUS_FILE_LOCK_CONFLICT

    def test_read_file_lock_conflict_exclusive_lock_of_another(self):
        file = self.one_volume()
        other = self.volume.open("data")
        other.must("lock", offset=4096, length=1, exclusive=True)
        self.assert_refused(self.offload_read(file), "STATUS_FILE_LOCK_CONFLICT")
        other.must("unlock", offset=4096, length=1)
        self.assert_works()

    def test_read_success_under_locks_that_allow_it(self):
        """Shared locks of anybody, and its own exclusive one."""
        file = self.one_volume()
        self.volume.open("data").must("lock", offset=0, length=BLOCK, exclusive=False)
        file.must("lock", offset=BLOCK, length=BLOCK, exclusive=True)
        outcome = self.offload_read(file)
        self.assert_token_made(outcome, MIB, self.place_of(file))

    # STATUS_END_OF_FILE

    def test_read_end_of_file_offset_at_end(self):
        self.assert_refused(self.offload_read(self.one_volume(), MIB, BLOCK), "STATUS_END_OF_FILE")

    def test_read_end_of_file_offset_after_end(self):
        self.assert_refused(self.offload_read(self.one_volume(), MIB + BLOCK, BLOCK), "STATUS_END_OF_FILE")

    # STATUS_DISMOUNTED_VOLUME

    def test_read_volume_dismounted_by_fsctl(self):
        file = self.one_volume()
        self.volume.must("dismount")
        self.assert_refused(self.offload_read(file), "STATUS_VOLUME_DISMOUNTED")

    def test_read_volume_dismounted_disk_formatted_by_another_host(self):
        file = self.one_volume()
        self.format_behind_its_back(self.array, 0)
        self.volume.do("verify")
        self.assert_refused(self.offload_read(file), "STATUS_VOLUME_DISMOUNTED")

    # STATUS_INSUFFICIENT_RESOURCES

    def test_read_insufficient_resources_tokens_alive(self):
        """The array keeps one token, and there is one."""
        file = self.one_volume(tail="[tokens]\nmaximum_tokens = 1\n")
        self.make_token(file)
        self.assert_refused(self.offload_read(file), "STATUS_INSUFFICIENT_RESOURCES", [
            populate_token(0, 1, self.place_of(file))])

    # STATUS_BUFFER_TOO_SMALL

    def test_read_buffer_too_small_input(self):
        given = read_input(0, MIB)[:-1]
        self.assert_refused(self.fsctl(self.one_volume(), FSCTL_OFFLOAD_READ, given, READ_OUTPUT),
                            "STATUS_BUFFER_TOO_SMALL")

    def test_read_buffer_too_small_output(self):
        self.assert_refused(self.offload_read(self.one_volume(), output_length=READ_OUTPUT - 1),
                            "STATUS_BUFFER_TOO_SMALL")

    def test_read_buffer_too_small_none(self):
        self.assert_refused(self.fsctl(self.one_volume(), FSCTL_OFFLOAD_READ, b"", 0), "STATUS_BUFFER_TOO_SMALL")

    # STATUS_DEVICE_FEATURE_NOT_SUPPORTED

    def test_read_device_feature_not_supported_odx_switched_off(self):
        file = self.one_volume(tail="[tokens]\nodx = false\n")
        self.assert_refused(self.offload_read(file), "STATUS_DEVICE_FEATURE_NOT_SUPPORTED")

    def test_read_device_feature_not_supported_no_third_party_copy(self):
        file = self.one_volume(head='profile = "no-third-party-copy"\n')
        self.assert_refused(self.offload_read(file), "STATUS_DEVICE_FEATURE_NOT_SUPPORTED")

    def test_read_device_feature_not_supported_by_tgtd(self):
        """A target that has no VPD page 8Fh."""
        file = self.mount(self.serve_by_tgtd(self.disk()), 0).open("data")
        self.assert_refused(self.offload_read(file), "STATUS_DEVICE_FEATURE_NOT_SUPPORTED")

    # What a token outlives.

    def test_read_success_token_keeps_the_data_of_then(self):
        file = self.one_volume()
        token = self.make_token(file)
        file.must("write", offset=0, data=bytes(MIB).hex())
        self.assert_stands_for(token, content())
