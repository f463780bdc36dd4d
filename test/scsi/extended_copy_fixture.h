// A device for EXTENDED COPY: stores of both block lengths in memory or in files, addressed to the byte, beside the
// sparse stores of copy_fixture.h; and the commands in short.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "handlers/factory.h"
#include "scsi/copy_identity.h"
#include "test/scsi/copy_fixture.h"
#include "test/scsi/extended_copy_lists.h"

namespace test {

/// What RECEIVE COPY STATUS(LID4) and RECEIVE COPY DATA(LID4) answer with.
struct CopyStatusLid4 {
  explicit CopyStatusLid4(const Bytes& data) {
    base::ByteReader reader(data);
    available_data = reader.u32();
    header = reader.layout<scsi::CopyStatusHeader>();
    auto field = reader.take(header.sense_data_field_length);
    sense.assign(field.begin(), field.begin() + header.sense_data_length);
    if (reader.remaining() > 0) {
      held_length = reader.u32();
      auto rest = reader.take(reader.remaining());
      held.assign(rest.begin(), rest.end());
    }
  }
  std::uint32_t available_data = 0;
  scsi::CopyStatusHeader header{};
  Bytes sense{};
  std::uint32_t held_length = 0;
  Bytes held{};
};

class ExtendedCopyDevice : public CopyDevice {
 public:
  static constexpr std::uint16_t kA = 20;     ///< 512-byte blocks
  static constexpr std::uint16_t kB = 21;     ///< 512-byte blocks
  static constexpr std::uint16_t kWide = 22;  ///< 4096-byte blocks
  static constexpr std::uint64_t kMemoryBytes = 1 << 24;

  /// `folder`: kB and kWide live in files there.
  explicit ExtendedCopyDevice(scsi::DeviceProfile profile = {}, const std::filesystem::path& folder = {})
      : CopyDevice(std::move(profile)) {
    add_unit(kA, 512, {});
    add_unit(kB, 512, folder);
    add_unit(kWide, 4096, folder);
    nexus = attach("iqn.2025-01.example:host");
  }

  List cscd(std::uint16_t number, bool pad = false) {
    return naa_cscd(lu(number).identity().naa, lu(number).block_length(), pad);
  }

  /// Sends the list to `number`.
  Command& copy(const CopyList& list, std::uint16_t number = kA) {
    return copy_bytes(list.bytes(), list.format, number);
  }
  Command& copy_bytes(const List& bytes, scsi::ListFormat format, std::uint16_t number = kA) {
    return run(cdb(format, bytes.size()), bytes, number);
  }
  static Bytes cdb(scsi::ListFormat format, std::size_t length) {
    scsi::ExtendedCopyCdb cdb{};
    cdb.operation_code = 0x83;
    cdb.service_action = format == scsi::ListFormat::lid1 ? 0x00 : 0x01;
    cdb.parameter_list_length = static_cast<std::uint32_t>(length);
    return as_list(cdb);
  }
  Command& receive_lid1(std::uint8_t service_action, std::uint8_t list_identifier, std::uint32_t allocation_length,
                        std::uint16_t number = kA) {
    scsi::CopyResultsLid1Cdb cdb{};
    cdb.operation_code = 0x84;
    cdb.service_action = service_action;
    cdb.list_identifier = list_identifier;
    cdb.allocation_length = allocation_length;
    return run(as_list(cdb), {}, number);
  }
  CopyStatusLid4 status(std::uint32_t list_identifier = 0x2C, std::uint16_t number = kA) {
    return CopyStatusLid4(receive_status(list_identifier, number).data());
  }
  CopyStatusLid4 held(std::uint32_t list_identifier = 0x2C, std::uint16_t number = kA) {
    return CopyStatusLid4(run(in_cdb(0x06, list_identifier, 0x00FFFFFF), {}, number).data());
  }

  // Bytes of the memory stores.
  Bytes bytes(std::uint16_t number, std::uint64_t offset, std::uint64_t length) {
    base::Segments out;
    lu(number).store().read({offset, length}, out).value();
    return out.to_vector();
  }
  void put(std::uint16_t number, std::uint64_t offset, const Bytes& data) {
    lu(number).store().write(offset, data).value();
  }
  /// Bytes that differ from their neighbours, everywhere else and by `mark`.
  static Bytes pattern(std::size_t length, std::uint8_t mark) {
    Bytes data(length);
    std::uint32_t state = mark * 2654435761u + 1;
    for (std::uint8_t& byte : data) {
      state = state * 1664525u + 1013904223u;
      byte = static_cast<std::uint8_t>(state >> 24);
    }
    return data;
  }
  void fill_bytes(std::uint16_t number, std::uint64_t offset, std::size_t length, std::uint8_t mark) {
    put(number, offset, pattern(length, mark));
  }

 private:
  void add_unit(std::uint16_t number, std::uint32_t block_length, const std::filesystem::path& folder) {
    std::string spec =
        folder.empty() ? "memory:16M" : "file:" + (folder / std::to_string(number)).string() + ",size=16M";
    scsi::LogicalUnitConfig config;
    config.name = "memory" + std::to_string(number);
    config.identity.naa = {0x60, 3, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(number)};
    config.identity.eui64 = {0x02, 0x4F, 0x44, 3, 3, 3, 3, static_cast<std::uint8_t>(number)};
    config.block_length = block_length;
    server.add(scsi::Lun{number},
               std::make_shared<scsi::LogicalUnit>(config, handlers::open_store(spec, {pool_, block_length})));
  }

  base::Ref<handlers::MemoryPool> pool_ = handlers::MemoryPool::create();
};

}  // namespace test
