// Where the data-out of one command is gathered: a buffer of ours, or memory that the logical unit's store lends and
// takes over when it is written. Thread: the loop's.
#pragma once

#include <cstddef>

#include "base/bytes.h"
#include "base/data_buffer.h"
#include "handlers/backing_store.h"
#include "target/iscsi/pdu_decoder.h"

namespace iscsi {

struct DataOutMemory {
  base::Ref<base::DataBuffer> buffer{};
  handlers::Loan loan{};  ///< none where there is a buffer

  /// Bytes it has room for; 0: there is none yet.
  std::size_t capacity() const;
  /// Where bytes [offset, offset + length) go, for which there is room.
  Places places(std::size_t offset, std::size_t length) const;
  /// Copies what fits of `data` to `offset`, unless that is where it lies.
  void put(std::size_t offset, base::Bytes data) const;
  /// Whether the data segment of `pdu` was received at its start.
  bool begins_with(const Pdu& pdu) const;
  /// Without any memory, but able to hold as many pieces.
  void clear();
  /// Cuts a loan to `length` bytes, which there is room for.
  void cut(std::size_t length);
};

}  // namespace iscsi
