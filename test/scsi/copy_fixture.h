// A device with logical units for copies: two of 512-byte blocks and one of 4096, one of them thick, over sparse
// stores; and the CDBs and lists of third-party copy in short.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "scsi/copy_layouts.h"
#include "test/scsi/device_fixture.h"
#include "test/scsi/sparse_store.h"
#include "tokens/token_manager.h"

namespace test {

using Bytes = std::vector<std::uint8_t>;

/// "83 10 0A" as bytes.
inline Bytes hex(std::string_view text) {
  Bytes bytes;
  int high = -1;
  for (char c : text) {
    std::size_t digit = std::string_view("0123456789ABCDEF").find(c);
    if (digit == std::string_view::npos) continue;
    if (high < 0) {
      high = static_cast<int>(digit);
    } else {
      bytes.push_back(static_cast<std::uint8_t>(high * 16 + static_cast<int>(digit)));
      high = -1;
    }
  }
  return bytes;
}

struct Range {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
};
using Ranges = std::vector<Range>;

inline void write_ranges(base::ByteWriter& writer, const Ranges& ranges) {
  auto length = writer.length16();
  for (const Range& range : ranges) {
    writer.u64(range.lba);
    writer.u32(range.blocks);
    writer.zeros(4);
  }
}

struct PopulateOptions {
  std::uint8_t flags = 0;
  std::uint32_t timeout_s = 0;
  std::uint32_t rod_type = 0;
};

inline Bytes populate_list(const Ranges& ranges, PopulateOptions options = {}) {
  Bytes list;
  base::ByteWriter writer(list);
  {
    auto length = writer.length16();
    writer.u8(options.flags);
    writer.zeros(1);
    writer.u32(options.timeout_s);
    writer.u32(options.rod_type);
    writer.zeros(2);
    write_ranges(writer, ranges);
  }
  return list;
}

inline Bytes write_list(const tokens::RodToken& token, const Ranges& ranges, std::uint64_t offset = 0,
                        std::uint8_t flags = 0) {
  Bytes list;
  base::ByteWriter writer(list);
  {
    auto length = writer.length16();
    writer.u8(flags);
    writer.zeros(5);
    writer.u64(offset);
    writer.layout(token);
    writer.zeros(6);
    write_ranges(writer, ranges);
  }
  return list;
}

inline Bytes out_cdb(std::uint8_t service_action, std::uint32_t list_identifier, std::size_t length) {
  scsi::TokenOutCdb cdb{};
  cdb.operation_code = 0x83;
  cdb.service_action = service_action;
  cdb.list_identifier = list_identifier;
  cdb.parameter_list_length = static_cast<std::uint32_t>(length);
  auto raw = base::bytes_of(cdb);
  return {raw.begin(), raw.end()};
}

inline Bytes abort_cdb(std::uint32_t list_identifier) {
  scsi::CopyResultsCdb cdb{};
  cdb.operation_code = 0x83;
  cdb.service_action = 0x1C;
  cdb.list_identifier = list_identifier;
  auto raw = base::bytes_of(cdb);
  return {raw.begin(), raw.end()};
}

inline Bytes in_cdb(std::uint8_t service_action, std::uint32_t list_identifier, std::uint32_t allocation_length) {
  scsi::CopyResultsCdb cdb{};
  cdb.operation_code = 0x84;
  cdb.service_action = service_action;
  cdb.list_identifier = list_identifier;
  cdb.allocation_length = allocation_length;
  auto raw = base::bytes_of(cdb);
  return {raw.begin(), raw.end()};
}

/// What RECEIVE ROD TOKEN INFORMATION and RECEIVE COPY STATUS(LID4) answer with, as read by a client.
struct CopyResult {
  explicit CopyResult(const Bytes& data) {
    base::ByteReader reader(data);
    available_data = reader.u32();
    header = reader.layout<scsi::CopyStatusHeader>();
    auto field = reader.take(header.sense_data_field_length);
    sense.assign(field.begin(), field.begin() + header.sense_data_length);
    if (reader.remaining() > 0) descriptors_length = reader.u32();
    if (reader.remaining() > 0) {
      cscd_index = reader.u16();
      token = reader.layout<tokens::RodToken>();
    }
    complete = reader.ok() && reader.remaining() == 0 && available_data + 4 == data.size();
  }
  std::uint32_t available_data = 0;
  scsi::CopyStatusHeader header{};
  Bytes sense{};
  std::uint32_t descriptors_length = 0;
  std::uint16_t cscd_index = 0;
  std::optional<tokens::RodToken> token{};
  bool complete = false;
};

class CopyDevice : public Device {
 public:
  static constexpr std::uint16_t kSource = 10;       ///< 512-byte blocks, thin
  static constexpr std::uint16_t kDestination = 11;  ///< 512-byte blocks, thick
  static constexpr std::uint16_t kLarge = 12;        ///< 4096-byte blocks, thin
  static constexpr std::uint64_t kSize = 1ull << 40;

  explicit CopyDevice(scsi::DeviceProfile profile = {}) : Device({.size_bytes = 4096, .profile = profile}) {
    add_sparse(kSource, 512, true);
    add_sparse(kDestination, 512, false);
    add_sparse(kLarge, 4096, true);
    nexus = attach("iqn.2025-01.example:host");
  }

  SparseStore& store(std::uint16_t lun) { return *sparse_.at(lun); }

  Command& populate(std::uint32_t list_identifier, const Ranges& ranges, PopulateOptions options = {},
                    std::uint16_t lun = kSource) {
    Bytes list = populate_list(ranges, options);
    return run(out_cdb(0x10, list_identifier, list.size()), list, lun);
  }
  Command& write_using(std::uint32_t list_identifier, const tokens::RodToken& token, const Ranges& ranges,
                       std::uint64_t offset = 0, std::uint8_t flags = 0, std::uint16_t lun = kDestination) {
    Bytes list = write_list(token, ranges, offset, flags);
    return run(out_cdb(0x11, list_identifier, list.size()), list, lun);
  }
  Command& receive_rod_token(std::uint32_t list_identifier, std::uint16_t lun, std::uint32_t allocation_length = 805) {
    return run(in_cdb(0x07, list_identifier, allocation_length), {}, lun);
  }
  Command& receive_status(std::uint32_t list_identifier, std::uint16_t lun, std::uint32_t allocation_length = 805) {
    return run(in_cdb(0x05, list_identifier, allocation_length), {}, lun);
  }
  CopyResult result(std::uint32_t list_identifier, std::uint16_t lun) {
    return CopyResult(receive_rod_token(list_identifier, lun).data());
  }

  Command& abort_copy(std::uint32_t list_identifier, std::uint16_t lun) {
    return run(abort_cdb(list_identifier), {}, lun);
  }

  /// Lets time pass: what is due meanwhile happens at its moment.
  void pass(base::Duration time) {
    base::TimePoint end = clock.now() + time;
    for (auto next = copies.timers().next(); next && *next <= end; next = copies.timers().next()) {
      clock.advance(*next - clock.now());
      copies.timers().run_due(clock.now());
      executor.run_all();
    }
    clock.advance(end - clock.now());
  }

  /// A token for the ranges, with a list identifier of its own.
  tokens::RodToken token_of(const Ranges& ranges, PopulateOptions options = {}, std::uint16_t lun = kSource) {
    std::uint32_t list_identifier = 0xF000'0000 + ++tokens_made_;
    if (!populate(list_identifier, ranges, options, lun).good()) throw std::logic_error("POPULATE TOKEN failed");
    return result(list_identifier, lun).token.value();
  }

  /// Fills blocks with bytes that tell where they were written and by which call.
  void fill(std::uint16_t lun, Range range, std::uint8_t mark) {
    std::uint64_t block = lu(lun).block_length();
    Bytes bytes(range.blocks * block, mark);
    for (std::uint64_t i = 0; i < bytes.size(); i += 512)
      base::store(base::MutableBytes(bytes).subspan(i), base::be64(range.lba * block + i));
    store(lun).write(range.lba * block, bytes).value();
  }
  Bytes read(std::uint16_t lun, Range range) {
    base::Segments out;
    std::uint64_t block = lu(lun).block_length();
    store(lun).read({range.lba * block, range.blocks * block}, out).value();
    return out.to_vector();
  }

 private:
  void add_sparse(std::uint16_t number, std::uint32_t block_length, bool thin) {
    auto owned = std::make_unique<SparseStore>(kSize);
    sparse_[number] = owned.get();
    scsi::LogicalUnitConfig config;
    config.name = "sparse" + std::to_string(number);
    config.identity.serial = config.name;
    config.identity.naa = {0x60, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(number)};
    config.identity.eui64 = {0x02, 0x4F, 0x44, 1, 1, 1, 1, static_cast<std::uint8_t>(number)};
    config.block_length = block_length;
    config.thin = thin;
    server.add(scsi::Lun{number}, std::make_shared<scsi::LogicalUnit>(config, std::move(owned)));
  }

  std::map<std::uint16_t, SparseStore*> sparse_{};
  std::uint32_t tokens_made_ = 0;
};

}  // namespace test
