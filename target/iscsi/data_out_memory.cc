#include "target/iscsi/data_out_memory.h"

#include <algorithm>
#include <cstring>

namespace iscsi {

static_assert(kMostPlaces >= handlers::kMostLoanParts);

std::size_t DataOutMemory::capacity() const {
  if (buffer) return buffer->capacity();
  std::size_t bytes = 0;
  for (const handlers::LoanPart& part : loan) bytes += part.bytes.size();
  return bytes;
}

Places DataOutMemory::places(std::size_t offset, std::size_t length) const {
  Places places;
  if (buffer) {
    places.push_back({buffer->bytes().subspan(offset, length), buffer});
    return places;
  }
  for (const handlers::LoanPart& part : loan) {
    if (length == 0) break;
    if (offset >= part.bytes.size()) {
      offset -= part.bytes.size();
      continue;
    }
    base::MutableBytes here = part.bytes.subspan(offset, std::min(length, part.bytes.size() - offset));
    places.push_back({here, part.owner});
    length -= here.size();
    offset = 0;
  }
  return places;
}

void DataOutMemory::put(std::size_t offset, base::Bytes data) const {
  const std::size_t room = capacity();
  if (offset >= room || data.empty()) return;
  data = data.first(std::min(data.size(), room - offset));
  for (const Place& place : places(offset, data.size())) {
    if (place.bytes.data() != data.data()) std::memcpy(place.bytes.data(), data.data(), place.bytes.size());
    data = data.subspan(place.bytes.size());
  }
}

bool DataOutMemory::begins_with(const Pdu& pdu) const {
  if (pdu.placed.empty() || pdu.placed.front().bytes.empty()) return false;
  const std::uint8_t* begin = buffer ? buffer->bytes().data() : loan.empty() ? nullptr : loan.front().bytes.data();
  return begin == pdu.placed.front().bytes.data();
}

void DataOutMemory::clear() {
  buffer = {};
  loan.clear();
}

void DataOutMemory::cut(std::size_t length) {
  std::size_t parts = 0;
  for (; length > 0 && parts < loan.size(); ++parts) {
    base::MutableBytes& bytes = loan[parts].bytes;
    bytes = bytes.first(std::min(bytes.size(), length));
    length -= bytes.size();
  }
  loan.resize(parts);
}

}  // namespace iscsi
