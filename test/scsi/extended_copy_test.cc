// What EXTENDED COPY does when nothing is wrong: data really copied, in both forms, by every segment type and name of a
// logical unit; residual data, held data, RODs and tokens; how long results are kept.
//
// Not tested, and why: copies from and to stores in files (test/target/odxd_system_test.py drives them); a fast copy
// that shares blocks is not told from one that moves them.
#include <doctest/doctest.h>

#include "scsi/copy_manager.h"
#include "test/scsi/extended_copy_fixture.h"
#include "tokens/copy_operation.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::ListFormat;
using scsi::ListIdUsage;
using scsi::SenseKey;

namespace {

constexpr std::uint16_t kA = ExtendedCopyDevice::kA;
constexpr std::uint16_t kB = ExtendedCopyDevice::kB;
constexpr std::uint16_t kWide = ExtendedCopyDevice::kWide;
constexpr std::uint16_t kThis = scsi::kThisLogicalUnit;
constexpr ListFormat kBoth[] = {ListFormat::lid1, ListFormat::lid4};

bool unknown(const Command& command) {
  return command.failed_with(SenseKey::illegal_request, AdditionalSense::invalid_field_in_cdb);
}

}  // namespace

TEST_CASE("blocks are copied to another logical unit, in both forms, and nothing else is") {
  for (ListFormat format : kBoth) {
    ExtendedCopyDevice device;
    device.fill_bytes(kA, 0, 8192, 1);
    device.fill_bytes(kB, 0, 8192, 2);
    Bytes expected = device.bytes(kB, 0, 8192);
    Bytes source = device.bytes(kA, 512, 1536);
    std::copy(source.begin(), source.end(), expected.begin() + 1024);
    CHECK(
        device
            .copy(
                {.format = format, .cscds = {device.cscd(kA), device.cscd(kB)}, .segments = {blocks_segment(3, 1, 2)}})
            .good());
    CHECK(device.bytes(kB, 0, 8192) == expected);
    CopyStatusLid4 status = device.status();
    CHECK(status.header.response_to_service_action == (format == ListFormat::lid1 ? 0 : 1));
    CHECK(status.header.copy_operation_status == 0x01);
    CHECK(status.header.segments_processed == 1);
    CHECK(status.header.transfer_count_units == 0);
    CHECK(status.header.transfer_count == 1536);
  }
}

TEST_CASE("PARAMETER LIST LENGTH 0 does nothing and is no error") {
  for (ListFormat format : kBoth) {
    ExtendedCopyDevice device;
    CHECK(device.copy_bytes({}, format).good());
    CHECK(unknown(device.receive_status(0, kA)));
  }
}

TEST_CASE("a list without segments is done at once") {
  ExtendedCopyDevice device;
  CHECK(device.copy({.cscds = {device.cscd(kA)}}).good());
  CHECK(device.status().header.segments_processed == 0);
}

TEST_CASE("a logical unit is named by its NAA, its EUI-64, its SCSI name or FFFFh, with any LU ID TYPE") {
  ExtendedCopyDevice device;
  device.fill_bytes(kA, 0, 512, 1);
  const auto& identity = device.lu(kB).identity();
  List eui = device.cscd(kB);
  eui[5] = 0x02;
  eui[7] = 8;
  std::fill(eui.begin() + 8, eui.begin() + 28, std::uint8_t{0});
  std::copy(identity.eui64.begin(), identity.eui64.end(), eui.begin() + 8);
  List name = device.cscd(kB);
  name[4] = 0x03;
  name[5] = 0x08;
  name[7] = 20;
  std::string text = scsi::eui_name(identity);
  std::copy(text.begin(), text.end(), name.begin() + 8);
  List ignored = device.cscd(kB);
  ignored[1] = 0xE0;
  std::uint64_t lba = 10;
  for (const List& cscd : {device.cscd(kB), eui, name, ignored}) {
    CHECK(device.copy({.cscds = {cscd}, .segments = {blocks_segment(1, 0, lba, {.source = kThis, .destination = 0})}})
              .good());
    CHECK(device.bytes(kB, lba * 512, 512) == device.bytes(kA, 0, 512));
    ++lba;
  }
}

TEST_CASE("blocks are copied within one logical unit as they were before the command, overlapping or not") {
  ExtendedCopyDevice device;
  for (int shift : {-3, 3}) {
    device.fill_bytes(kA, 0, 32 * 512, 1);
    Bytes before = device.bytes(kA, 10 * 512, 8 * 512);
    CHECK(device
              .copy({.segments = {blocks_segment(8, 10, static_cast<std::uint64_t>(10 + shift),
                                                 {.source = kThis, .destination = kThis})}})
              .good());
    CHECK(device.bytes(kA, static_cast<std::uint64_t>(10 + shift) * 512, 8 * 512) == before);
  }
}

TEST_CASE("segments are processed in their order: copies of copies in one command") {
  ExtendedCopyDevice device;
  device.fill_bytes(kA, 0, 1024, 1);
  Bytes data = device.bytes(kA, 0, 1024);
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kB)}, .segments = {blocks_segment(2, 0, 0)}};
  for (std::uint64_t i = 0; i < 20; ++i)
    list.segments.push_back(blocks_segment(2, 2 * i, 2 * i + 2, {.source = 1, .destination = 1}));
  list.segments.push_back(blocks_segment(2, 40, 100, {.source = 1, .destination = 0}));
  CHECK(device.copy(list, kWide).good());
  CHECK(device.bytes(kB, 40 * 512, 1024) == data);
  CHECK(device.bytes(kA, 100 * 512, 1024) == data);
  CHECK(device.status(0x2C, kWide).header.segments_processed == 22);
  CHECK(device.status(0x2C, kWide).header.transfer_count == 22 * 1024);
}

TEST_CASE("DC says whether blocks of the source or of the destination are counted") {
  ExtendedCopyDevice device;
  device.fill_bytes(kA, 0, 1 << 16, 1);
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kWide)}};
  list.segments = {blocks_segment(16, 3, 5)};
  CHECK(device.copy(list).good());
  CHECK(device.bytes(kWide, 5 * 4096, 8192) == device.bytes(kA, 3 * 512, 8192));
  CHECK(device.bytes(kWide, 7 * 4096, 4096) == Bytes(4096));
  list.segments = {blocks_segment(2, 40, 20, {.flags = scsi::kDc})};
  CHECK(device.copy(list).good());
  CHECK(device.bytes(kWide, 20 * 4096, 8192) == device.bytes(kA, 40 * 512, 8192));
  CHECK(device.bytes(kWide, 22 * 4096, 4096) == Bytes(4096));
  list.segments = {blocks_segment(8, 1, 77, {.flags = scsi::kDc, .source = 1, .destination = 0})};
  CHECK(device.copy(list).good());
  CHECK(device.bytes(kA, 77 * 512, 4096) == device.bytes(kWide, 4096, 4096));
}

TEST_CASE("CAT=1 takes what is left over to the next segment, and discards it after the last") {
  ExtendedCopyDevice device;
  device.fill_bytes(kA, 0, 1 << 16, 1);
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kWide)}};
  // 3 and 13 blocks of 512 make four of 4096: 512 bytes more are left of the next 9.
  list.segments = {blocks_segment(3, 0, 0, {.flags = scsi::kCat}), blocks_segment(13, 100, 0, {.flags = scsi::kCat}),
                   blocks_segment(9, 30, 8, {.flags = scsi::kCat})};
  CHECK(device.copy(list).good());
  Bytes expected = device.bytes(kA, 0, 3 * 512);
  Bytes second = device.bytes(kA, 100 * 512, 13 * 512);
  expected.insert(expected.end(), second.begin(), second.end());
  CHECK(device.bytes(kWide, 0, 8192) == expected);
  CHECK(device.bytes(kWide, 8 * 4096, 4096) == device.bytes(kA, 30 * 512, 4096));
  CHECK(device.bytes(kWide, 9 * 4096, 4096) == Bytes(4096));
  CHECK(device.status().header.transfer_count == 3 * 4096);
}

TEST_CASE("residual source data is processed before anything is read") {
  ExtendedCopyDevice device;
  device.fill_bytes(kWide, 0, 1 << 16, 1);
  CopyList list{.cscds = {device.cscd(kWide), device.cscd(kA)}};
  list.segments = {blocks_segment(3, 0, 0, {.flags = scsi::kDc | scsi::kCat}),
                   blocks_segment(7, 9, 100, {.flags = scsi::kDc | scsi::kCat})};
  CHECK(device.copy(list).good());
  CHECK(device.bytes(kA, 0, 3 * 512) == device.bytes(kWide, 0, 3 * 512));
  CHECK(device.bytes(kA, 100 * 512, 5 * 512) == device.bytes(kWide, 3 * 512, 5 * 512));
  CHECK(device.bytes(kA, 105 * 512, 2 * 512) == device.bytes(kWide, 9 * 4096, 2 * 512));
}

TEST_CASE("a null logical unit lets residual data be written or discarded without a block being read") {
  ExtendedCopyDevice device;
  device.fill_bytes(kA, 0, 1 << 16, 1);
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kWide, true)}};
  list.segments = {blocks_segment(3, 0, 0, {.flags = scsi::kCat}),
                   blocks_segment(0, 0, 6, {.source = scsi::kNullBlockDevice, .destination = 1})};
  CHECK(device.copy(list).good());
  Bytes expected = device.bytes(kA, 0, 3 * 512);
  expected.resize(4096);
  CHECK(device.bytes(kWide, 6 * 4096, 4096) == expected);
  list.cscds[0] = device.cscd(kA, true);
  list.segments = {blocks_segment(3, 0, 9, {.flags = scsi::kCat}),
                   blocks_segment(0, 0, 0, {.flags = scsi::kDc, .destination = scsi::kNullBlockDevice}),
                   blocks_segment(8, 50, 9)};
  CHECK(device.copy(list).good());
  CHECK(device.bytes(kWide, 9 * 4096, 4096) == device.bytes(kA, 50 * 512, 4096));
}

TEST_CASE("PAD of source and destination says what becomes of residual data when CAT is zero") {
  ExtendedCopyDevice device;
  device.fill_bytes(kA, 0, 1 << 16, 1);
  SUBCASE("destination: filled with zeros to a block") {
    for (bool source_pad : {false, true}) {
      device.fill_bytes(kWide, 0, 3 * 4096, 2);
      CHECK(device
                .copy({.cscds = {device.cscd(kA, source_pad), device.cscd(kWide, true)},
                       .segments = {blocks_segment(9, 0, 0)}})
                .good());
      Bytes expected = device.bytes(kA, 0, 9 * 512);
      expected.resize(8192);
      CHECK(device.bytes(kWide, 0, 8192) == expected);
    }
  }
  SUBCASE("source only: discarded") {
    device.fill_bytes(kWide, 0, 3 * 4096, 2);
    Bytes before = device.bytes(kWide, 4096, 4096);
    CHECK(device
              .copy({.cscds = {device.cscd(kA, true), device.cscd(kWide)},
                     .segments = {blocks_segment(9, 0, 0), blocks_segment(8, 100, 2)}})
              .good());
    CHECK(device.bytes(kWide, 0, 4096) == device.bytes(kA, 0, 4096));
    CHECK(device.bytes(kWide, 4096, 4096) == before);
    CHECK(device.bytes(kWide, 8192, 4096) == device.bytes(kA, 100 * 512, 4096));
  }
  SUBCASE("destination only: residual source data is kept") {
    device.fill_bytes(kWide, 0, 1 << 16, 3);
    CHECK(device
              .copy({.cscds = {device.cscd(kWide), device.cscd(kA, true)},
                     .segments = {blocks_segment(3, 0, 0, {.flags = scsi::kDc}),
                                  blocks_segment(5, 9, 10, {.flags = scsi::kDc})}})
              .good());
    CHECK(device.bytes(kA, 10 * 512, 5 * 512) == device.bytes(kWide, 3 * 512, 5 * 512));
  }
}

TEST_CASE("bytes are copied from and to any byte, and what lies around them stays") {
  ExtendedCopyDevice device;
  device.fill_bytes(kA, 0, 1 << 16, 1);
  for (std::uint16_t to : {kB, kWide}) {
    device.fill_bytes(to, 0, 1 << 16, 2);
    Bytes expected = device.bytes(to, 0, 1 << 16);
    std::uint64_t block = device.lu(to).block_length();
    std::uint64_t at = 3 * block + 501;
    Bytes data = device.bytes(kA, 7 * 512 + 13, 5001);
    std::copy(data.begin(), data.end(), expected.begin() + static_cast<std::ptrdiff_t>(at));
    CHECK(device
              .copy({.cscds = {device.cscd(kA), device.cscd(to)},
                     .segments = {bytes_segment({.bytes = 5001,
                                                 .source_lba = 7,
                                                 .destination_lba = 3,
                                                 .source_byte_offset = 13,
                                                 .destination_byte_offset = 501})}})
              .good());
    CHECK(device.bytes(to, 0, 1 << 16) == expected);
    CHECK(device.status().header.transfer_count == 5001);
  }
}

TEST_CASE("an image copy of 0 blocks goes on until one of the logical units ends, which is success") {
  ExtendedCopyDevice device;
  std::uint64_t blocks = ExtendedCopyDevice::kMemoryBytes / 512;
  device.fill_bytes(kA, ExtendedCopyDevice::kMemoryBytes - 8192, 8192, 1);
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kB)}, .segments = {image_segment(0, blocks - 16, 3)}};
  CHECK(device.copy(list).good());
  CHECK(device.bytes(kB, 3 * 512, 8192) == device.bytes(kA, ExtendedCopyDevice::kMemoryBytes - 8192, 8192));
  CHECK(device.status().header.transfer_count == 8192);
  list.segments = {image_segment(100, blocks - 16, blocks - 4)};
  CHECK(device.copy(list).good());
  CHECK(device.status().header.transfer_count == 4 * 512);
  list.segments = {image_segment(100, blocks, 0)};
  CHECK(device.copy(list).good());
  CHECK(device.status().header.transfer_count == 0);
}

TEST_CASE("data of segments of type 0Dh is held, in its order, until all of it was received") {
  for (ListFormat format : kBoth) {
    ExtendedCopyDevice device;
    device.fill_bytes(kA, 0, 8192, 1);
    CHECK(device
              .copy({.format = format,
                     .cscds = {device.cscd(kA), device.cscd(kB)},
                     .segments = {blocks_segment(2, 4, 0, {}, 0x0D), blocks_segment(1, 9, 9),
                                  blocks_segment(1, 0, 2, {}, 0x0D)}})
              .good());
    Bytes expected = device.bytes(kA, 4 * 512, 1024);
    Bytes second = device.bytes(kA, 0, 512);
    expected.insert(expected.end(), second.begin(), second.end());
    CHECK(device.bytes(kB, 0, 1536) == expected);

    Bytes cut = device.receive_lid1(0x01, 0x2C, 100).data();
    CHECK(cut.size() == 100);
    CHECK(base::load<base::be32>(cut) == 1536);
    if (format == ListFormat::lid1) {
      Bytes data = device.receive_lid1(0x01, 0x2C, 1540).data();
      CHECK(Bytes(data.begin() + 4, data.end()) == expected);
    } else {
      CopyStatusLid4 held = device.held();
      CHECK(held.available_data == 28 + 4 + 1536);
      CHECK(held.header.copy_operation_status == 0x01);
      CHECK(held.held_length == 1536);
      CHECK(held.held == expected);
    }
    CHECK(unknown(device.receive_lid1(0x01, 0x2C, 1540)));
    CHECK(unknown(device.run(in_cdb(0x06, 0x2C, 4096), {}, kA)));
    CHECK(device.receive_lid1(0x00, 0x2C, 12).data()[4] == 0x01);
  }
}

TEST_CASE("data of a token is held without going anywhere: type 0Dh from a ROD to a null logical unit, with CAT") {
  ExtendedCopyDevice device;
  device.fill_bytes(kA, 0, 1 << 16, 1);
  tokens::RodToken token = device.token_of({{10, 20}}, {}, kA);
  CopyList list{
      .format = ListFormat::lid4,
      .cscds = {rod_cscd({.type = 0})},
      .segments = {blocks_segment(15, 5, 0, {.flags = scsi::kCat, .destination = scsi::kNullBlockDevice}, 0x0D)},
      .inline_data = as_list(token)};
  CHECK(device.copy(list).good());
  CHECK(device.held().held == device.bytes(kA, 15 * 512, 15 * 512));
  CHECK(device.status().header.transfer_count == 0);
}

TEST_CASE("beyond HELD DATA LIMIT the oldest held data goes, and HDD says so") {
  ExtendedCopyDevice device({.held_data_limit_bytes = 1000});
  device.fill_bytes(kA, 0, 8192, 1);
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kB)},
                .segments = {blocks_segment(1, 0, 0, {}, 0x0D), blocks_segment(1, 5, 1, {}, 0x0D)}};
  CHECK(device.copy(list).good());
  Bytes both = device.bytes(kB, 0, 1024);
  CopyStatusLid4 held = device.held();
  CHECK(held.header.copy_operation_status == 0x81);
  CHECK(held.held == Bytes(both.begin() + 24, both.end()));
  CHECK(device.receive_lid1(0x00, 0x2C, 12).data()[4] == 0x81);
  list.segments = {blocks_segment(1, 0, 0, {}, 0x0D), blocks_segment(4, 8, 8, {}, 0x0D)};
  CHECK(device.copy(list).good());
  Bytes last = device.bytes(kA, 12 * 512 - 1000, 1000);
  CHECK(device.held().held == last);
}

TEST_CASE("RECEIVE COPY STATUS(LID1) counts bytes and is given once") {
  ExtendedCopyDevice device;
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kB)},
                .segments = {blocks_segment(3, 0, 0), verify_segment(true)}};
  CHECK(device.copy(list).good());
  CHECK(device.receive_lid1(0x00, 0x2C, 12).data() == hex("00 00 00 08 01 00 02 00 00 00 06 00"));
  CHECK(unknown(device.receive_lid1(0x00, 0x2C, 12)));
  CHECK(device.status().header.copy_operation_status == 0x01);
}

TEST_CASE("list identifiers are one space of numbers, and LIST ID USAGE 11b leaves nothing behind") {
  ExtendedCopyDevice device;
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kB)}, .segments = {blocks_segment(1, 0, 0)}};
  list.list_identifier = 0xFD;
  CHECK(device.copy(list).good());
  CHECK(device.status(0xFD).header.transfer_count == 512);
  list.format = ListFormat::lid4;
  list.segments.push_back(blocks_segment(1, 0, 1));
  CHECK(device.copy(list).good());
  CHECK(device.receive_lid1(0x00, 0xFD, 12).data() == hex("00 00 00 08 01 00 02 00 00 00 04 00"));
  list.usage = ListIdUsage::none;
  list.list_identifier = 0;
  CHECK(device.copy(list).good());
  CHECK(unknown(device.receive_status(0, kA)));
  CHECK(device.copies.operations().in_progress() == 0);
}

TEST_CASE("G_SENSE brings sense data with GOOD: COMPLETED and the number of segments") {
  ExtendedCopyDevice device;
  CopyList list{.format = ListFormat::lid4,
                .cscds = {device.cscd(kA), device.cscd(kB)},
                .segments = {blocks_segment(1, 0, 0), blocks_segment(1, 0, 1)}};
  Command& plain = device.copy(list);
  CHECK(plain.good());
  CHECK(plain.sense().key == SenseKey::no_sense);
  list.g_sense_immed = scsi::kGSense;
  Command& told = device.copy(list);
  CHECK(told.good());
  CHECK(told.sense().key == SenseKey::completed);
  CHECK(told.sense().code == AdditionalSense::extended_copy_information_available);
  CHECK(told.sense().segment == 2);
}

TEST_CASE("IMMED=1 is answered first, goes on in the background, and can be aborted") {
  ExtendedCopyDevice device({.copy_duration = {.latency_us = 1000}});
  device.fill_bytes(kA, 0, 512, 1);
  CopyList list{.format = ListFormat::lid4,
                .g_sense_immed = scsi::kExtendedCopyImmed,
                .cscds = {device.cscd(kA), device.cscd(kB)},
                .segments = {verify_segment(false), blocks_segment(1, 0, 0)}};
  CHECK(device.copy(list).good());
  CHECK(device.status().header.copy_operation_status == 0x12);
  CHECK(device.status().header.segments_processed == 1);
  CHECK(device.bytes(kB, 0, 512) == Bytes(512));
  CHECK(unknown(device.receive_lid1(0x01, 0x2C, 100)));
  CHECK(device.held().held_length == 0);
  device.pass(std::chrono::microseconds(1000));
  CHECK(device.status().header.copy_operation_status == 0x01);
  CHECK(device.bytes(kB, 0, 512) == device.bytes(kA, 0, 512));

  list.segments[1] = blocks_segment(1, 0, 9);
  CHECK(device.copy(list).good());
  CHECK(device.abort_copy(0x2C, kA).good());
  CHECK(device.status().header.copy_operation_status == 0x60);
  device.pass(std::chrono::seconds(1));
  CHECK(device.bytes(kB, 9 * 512, 512) == Bytes(512));
}

TEST_CASE("progress moves in bytes over all segments, and a stopped copy writes nothing more") {
  using namespace std::chrono_literals;
  ExtendedCopyDevice device({.copy_duration = {.latency_us = 500'000, .bytes_per_second = 512 * 100}});
  device.fill_bytes(kA, 0, 1 << 16, 1);
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kB)},
                .segments = {blocks_segment(10, 0, 0), blocks_segment(100, 10, 10)}};
  Command& command = device.send(ExtendedCopyDevice::cdb(list.format, list.bytes().size()), list.bytes(), kA);
  auto progress = [&] {
    CopyStatusLid4 status = device.status();
    CHECK(status.header.copy_operation_status == 0x11);
    return std::pair(status.header.segments_processed.value(), status.header.transfer_count.value() / 512);
  };
  CHECK(progress() == std::pair<std::uint16_t, std::uint64_t>(0, 0));
  device.pass(600ms);  // the latency, once, and the first segment
  CHECK(progress() == std::pair<std::uint16_t, std::uint64_t>(1, 10));
  device.pass(500ms);
  CHECK(progress() == std::pair<std::uint16_t, std::uint64_t>(1, 60));
  CHECK(device.receive_lid1(0x00, 0x2C, 12).data()[4] == 0x00);
  CHECK(device.abort_copy(0x2C, kA).good());
  CHECK(command.failed_with(SenseKey::copy_aborted, AdditionalSense::commands_cleared_by_device_server));
  CHECK(device.status().header.copy_operation_status == 0x60);
  device.pass(10s);
  CHECK(device.bytes(kB, 0, 60 * 512) == device.bytes(kA, 0, 60 * 512));
  CHECK(device.bytes(kB, 60 * 512, 50 * 512) == Bytes(50 * 512));
}

TEST_CASE("ABORT TASK stops an EXTENDED COPY; its results stay and say so") {
  using namespace std::chrono_literals;
  ExtendedCopyDevice device({.copy_duration = {.latency_us = 500'000}});
  device.fill_bytes(kA, 0, 512, 1);
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kB)}, .segments = {blocks_segment(1, 0, 0)}};
  Command& command = device.send(ExtendedCopyDevice::cdb(list.format, list.bytes().size()), list.bytes(), kA);
  device.server.manage(scsi::TaskManagementFunction::abort_task, device.nexus, scsi::Lun{kA}, command.task.tag,
                       [](auto) {});
  device.pass(1s);
  CHECK(command.status() == scsi::Status::task_aborted);
  CHECK(device.bytes(kB, 0, 512) == Bytes(512));
  CHECK(device.status().header.copy_operation_status == 0x60);
  CHECK(device.receive_lid1(0x00, 0x2C, 12).data()[4] == 0x02);
  CHECK(device.copies.operations().in_progress() == 0);
}

TEST_CASE("a ROD is populated in several steps, used as a copy source, and is as the data was then") {
  for (std::uint32_t type : {0x00010000u, 0x00800000u, 0x00800001u, 0x00800002u, 0x0080FFFFu}) {
    ExtendedCopyDevice device;
    device.fill_bytes(kA, 0, 1 << 16, 1);
    Bytes before = device.bytes(kA, 0, 1 << 16);
    CopyList list{.cscds = {rod_cscd({.type = type}), device.cscd(kB)}};
    SegmentOptions into{.source = kThis, .destination = 0};
    list.segments = {populate_segment({{8, 4}, {0, 2}}, into),
                     blocks_segment(1, 60, 9, {.source = kThis, .destination = kThis}),
                     populate_one_segment(20, 2, into), blocks_segment(7, 1, 30, {.source = 0, .destination = 1})};
    CHECK(device.copy(list).good());
    Bytes rod(before.begin() + 8 * 512, before.begin() + 12 * 512);
    rod.insert(rod.end(), before.begin(), before.begin() + 1024);
    rod.insert(rod.end(), before.begin() + 20 * 512, before.begin() + 22 * 512);
    if (type == 0x00010000) std::copy_n(before.begin() + 60 * 512, 512, rod.begin() + 512);
    CHECK(device.bytes(kB, 30 * 512, 7 * 512) == Bytes(rod.begin() + 512, rod.end()));
  }
}

TEST_CASE("R_TOKEN brings a token for each ROD, with its CSCD index, that WRITE USING TOKEN and EXTENDED COPY take") {
  ExtendedCopyDevice device;
  device.fill_bytes(kA, 0, 1 << 16, 1);
  CopyList list{.cscds = {device.cscd(kB), rod_cscd({.r_token = true, .lifetime_s = 100}), rod_cscd({.r_token = true}),
                          rod_cscd({.r_token = true})},
                .segments = {populate_one_segment(8, 8, {.source = kThis, .destination = 1}),
                             populate_one_segment(40, 4, {.source = kThis, .destination = 3})}};
  CHECK(device.copy(list).good());
  Bytes data = device.receive_rod_token(0x2C, kA, 4096).data();
  REQUIRE(data.size() == 32 + 4 + 2 * 514);
  CHECK(base::load<base::be32>(base::Bytes(data).subspan(32)) == 2 * 514);
  CHECK(base::load<base::be16>(base::Bytes(data).subspan(36)) == 1);
  CHECK(base::load<base::be16>(base::Bytes(data).subspan(36 + 514)) == 3);
  auto first = base::load<tokens::RodToken>(base::Bytes(data).subspan(38));
  auto second = base::load<tokens::RodToken>(base::Bytes(data).subspan(38 + 514));
  CHECK(first.number_of_bytes_represented == 4096);
  CHECK(unknown(device.receive_rod_token(0x2C, kA, 4096)));

  CHECK(device.write_using(1, second, {{0, 4}}, 0, 0, kB).good());
  CHECK(device.bytes(kB, 0, 2048) == device.bytes(kA, 40 * 512, 2048));
  CopyList inline_token{.cscds = {rod_cscd({.type = 0, .del_tkn = true, .producer = 0xF800}), device.cscd(kWide)},
                        .segments = {blocks_segment(1, 0, 7, {.flags = scsi::kDc})},
                        .inline_data = as_list(first)};
  CHECK(device.copy(inline_token, kB).good());
  CHECK(device.bytes(kWide, 7 * 4096, 4096) == device.bytes(kA, 8 * 512, 4096));
  CHECK(device.copy(inline_token, kB)
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_token_operation_token_deleted));
}

TEST_CASE("a token's lifetime is what was asked for, and not below the minimum") {
  ExtendedCopyDevice device({.minimum_token_lifetime_s = 50});
  for (std::uint32_t asked : {10u, 60u}) {
    CopyList list{.cscds = {rod_cscd({.r_token = true, .lifetime_s = asked})},
                  .segments = {populate_one_segment(0, 1, {.source = kThis, .destination = 0})}};
    CHECK(device.copy(list).good());
    tokens::RodToken token = device.result(0x2C, kA).token.value();
    device.clock.advance(std::chrono::seconds(std::max(asked, 50u)) - std::chrono::microseconds(1));
    CHECK(device.write_using(1, token, {{0, 1}}, 0, 0, kB).good());
    device.clock.advance(std::chrono::microseconds(1));
    CHECK(device.write_using(1, token, {{0, 1}}, 0, 0, kB)
              .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_token_operation_token_expired));
  }
}

TEST_CASE("the zero token in the inline data is a source of zeros without end") {
  ExtendedCopyDevice device;
  device.fill_bytes(kB, 0, 8192, 1);
  CopyList list{.cscds = {rod_cscd({.type = 0}), device.cscd(kB)},
                .segments = {blocks_segment(4, 1ull << 40, 2)},
                .inline_data = as_list(tokens::zero_token())};
  CHECK(device.copy(list).good());
  CHECK(device.bytes(kB, 1024, 2048) == Bytes(2048));
  CHECK(device.bytes(kB, 3072, 1) != Bytes(1));
}

TEST_CASE("REPORT ALL ROD TOKENS lists the tokens of this copy manager, oldest first") {
  ExtendedCopyDevice device;
  auto report = [&](std::uint16_t number) { return device.run(in_cdb(0x08, 0, 4096), {}, number).data(); };
  CHECK(report(kA) == hex("00 00 00 04 00 00 00 00"));
  auto first = device.token_of({{0, 8}}, {}, kA);
  device.token_of({{0, 8}}, {}, kB);
  auto second = device.token_of({{8, 1}}, {}, kA);
  Bytes data = report(kA);
  REQUIRE(data.size() == 8 + 2 * 96);
  CHECK(std::equal(data.begin() + 8, data.begin() + 104, base::bytes_of(first).begin()));
  CHECK(std::equal(data.begin() + 104, data.end(), base::bytes_of(second).begin()));
  CHECK(report(kB).size() == 8 + 96);
  // A short answer counts all of them.
  Bytes cut = device.run(in_cdb(0x08, 0, 8 + 95), {}, kA).data();
  CHECK(cut == Bytes(data.begin(), data.begin() + 8 + 95));
  device.clock.advance(std::chrono::hours(2));
  CHECK(report(kA) == hex("00 00 00 04 00 00 00 00"));
}

TEST_CASE("RECEIVE COPY OPERATING PARAMETERS and VPD page 8Fh agree") {
  ExtendedCopyDevice device;
  Bytes parameters = device.run(hex("84 03 00 00 00 00 00 00 00 00 00 00 10 00 00 00"), {}, kA).data();
  Bytes page = device.copies.third_party_copy_page(device.lu(kA));
  Bytes counts(parameters.begin() + 8, parameters.begin() + 16);
  CHECK(std::search(page.begin(), page.end(), counts.begin(), counts.end()) != page.end());
  Bytes types(parameters.begin() + 43, parameters.end());
  CHECK(std::search(page.begin(), page.end(), types.begin(), types.end()) != page.end());
  Bytes held = hex("C0 01 00 1C");
  held.insert(held.end(), parameters.begin() + 24, parameters.begin() + 28);
  CHECK(std::search(page.begin(), page.end(), held.begin(), held.end()) != page.end());
}

TEST_CASE("logical unit reset and I_T nexus loss discard results and held data") {
  ExtendedCopyDevice device;
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kB)}, .segments = {blocks_segment(1, 0, 0, {}, 0x0D)}};
  CHECK(device.copy(list).good());
  device.server.manage(scsi::TaskManagementFunction::logical_unit_reset, device.nexus, scsi::Lun{kA}, 0, [](auto) {});
  device.run({0, 0, 0, 0, 0, 0}, {}, kA);
  CHECK(unknown(device.receive_lid1(0x00, 0x2C, 12)));
  CHECK(unknown(device.receive_lid1(0x01, 0x2C, 12)));
  CHECK(unknown(device.receive_lid1(0x04, 0x2C, 100)));
}

TEST_CASE("residual data of all segments together is bounded") {
  ExtendedCopyDevice device;
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kB)}};
  SegmentOptions to_null{.flags = scsi::kCat, .destination = scsi::kNullBlockDevice};
  list.segments = {blocks_segment(8192, 0, 0, to_null), verify_segment(false)};  // 4 MiB; the last would discard it
  CHECK(device.copy(list).good());
  list.segments.insert(list.segments.begin(), blocks_segment(1, 0, 0, to_null));
  Command& more = device.copy(list);
  CHECK(more.failed_with(SenseKey::copy_aborted, AdditionalSense::insufficient_resources));
}

TEST_CASE("a reset of the destination stops a copy that another logical unit processes, before it completes") {
  ExtendedCopyDevice device({.copy_duration = {.latency_us = 1000}});
  device.fill_bytes(kA, 0, 512, 1);
  CopyList list{.format = ListFormat::lid4,
                .g_sense_immed = scsi::kExtendedCopyImmed,
                .cscds = {device.cscd(kA), device.cscd(kB)},
                .segments = {blocks_segment(1, 0, 0)}};
  REQUIRE(device.copy(list).good());
  bool complete = false;
  device.server.manage(scsi::TaskManagementFunction::logical_unit_reset, device.nexus, scsi::Lun{kB}, 0,
                       [&](scsi::TaskManagementResponse) { complete = true; });
  CHECK(complete);
  CHECK(device.status().header.copy_operation_status == 0x60);
  device.pass(std::chrono::seconds(1));
  CHECK(device.bytes(kB, 0, 512) == Bytes(512));
}

TEST_CASE("PREEMPT AND ABORT of a nexus on the destination stops its copies there, whoever processes them") {
  ExtendedCopyDevice device({.copy_duration = {.latency_us = 1000}});
  device.fill_bytes(kA, 0, 512, 1);
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kB)}, .segments = {blocks_segment(1, 0, 0)}};
  List bytes = list.bytes();
  Command& copy = device.send(device.cdb(list.format, bytes.size()), bytes, kA);
  scsi::NexusId mine = device.nexus, other = device.attach("iqn.2025-01.example:other");
  bool complete = false;
  device.server.abort_preempted(device.lu(kB), {other}, [&] { complete = true; });
  CHECK(complete);
  CHECK_FALSE(copy.done());
  complete = false;
  device.server.abort_preempted(device.lu(kB), {mine}, [&] { complete = true; });
  CHECK(complete);
  CHECK(copy.failed_with(SenseKey::copy_aborted, AdditionalSense::commands_cleared_by_device_server));
  device.pass(std::chrono::seconds(1));
  CHECK(device.bytes(kB, 0, 512) == Bytes(512));
}

TEST_CASE("COPY OPERATION ABORT of list identifier 0 does not mean an operation that has none") {
  ExtendedCopyDevice device({.copy_duration = {.latency_us = 1000}});
  CopyList list{.list_identifier = 0,
                .usage = scsi::ListIdUsage::none,
                .cscds = {device.cscd(kA), device.cscd(kB)},
                .segments = {blocks_segment(1, 0, 0)}};
  List bytes = list.bytes();
  Command& unnamed = device.send(device.cdb(list.format, bytes.size()), bytes, kA);
  CHECK_FALSE(unnamed.done());
  CHECK(unknown(device.abort_copy(0, kA)));
  device.pass(std::chrono::milliseconds(1));
  CHECK(unnamed.good());
}
