// SEND DIAGNOSTIC (SPC-4 6.43): the default self-test.
#include <cstddef>

#include "scsi/block_layouts.h"
#include "scsi/io_error_sense.h"
#include "scsi/logical_unit.h"
#include "scsi/primary_bodies.h"

namespace scsi {
namespace {

/// DEVOFFL and UNITOFFL let the test disturb others; it does not. PF is about pages, of which there are none.
struct SendDiagnosticCdb {
  std::uint8_t operation_code;
  std::uint8_t flags;
  std::uint8_t reserved;
  base::be16 parameter_list_length;
  std::uint8_t control;

  static constexpr std::uint8_t kSelfTestCode = 0xE0;
  static constexpr std::uint8_t kSelfTestCodeHighBit = 7;
  static constexpr std::uint8_t kSelfTest = 0x04;
};
static_assert(sizeof(SendDiagnosticCdb) == 6 && offsetof(SendDiagnosticCdb, parameter_list_length) == 3);

}  // namespace

std::expected<void, Sense> send_diagnostic(CommandContext& context) {
  auto cdb = context.cdb_as<SendDiagnosticCdb>();
  if (cdb.flags & SendDiagnosticCdb::kSelfTestCode) {
    return std::unexpected(Sense::invalid_field_in_cdb(offsetof(SendDiagnosticCdb, flags),
                                                       SendDiagnosticCdb::kSelfTestCodeHighBit,
                                                       "SELF-TEST CODE: there is the default self-test only"));
  }
  if (!(cdb.flags & SendDiagnosticCdb::kSelfTest) || context.lu->capacity().value == 0) return {};
  // What can fail is the store: its first block is read, whatever it holds.
  handlers::BackingStore& store = context.lu->store();
  const handlers::ByteRange first = context.lu->bytes(base::Lba(0), base::BlockCount(1));
  auto read = [&store, first]() -> std::expected<void, Sense> {
    base::Segments data;
    return io_outcome(store.read(first, data));
  };
  auto judged = [](std::expected<void, Sense> outcome) -> std::expected<void, Sense> {
    if (outcome) return {};
    return std::unexpected(Sense{SenseKey::hardware_error,
                                 AdditionalSense::logical_unit_failed_self_test,
                                 {},
                                 {},
                                 std::move(outcome.error().rule)});
  };
  context.start(Access::shared, first, std::move(read), std::move(judged));
  return {};
}

}  // namespace scsi
