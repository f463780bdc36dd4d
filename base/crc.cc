#include "base/crc.h"

#include <isa-l/crc.h>

namespace base {

std::uint32_t crc32c_add(std::uint32_t running, Bytes bytes) {
  // ISA-L's prototype is not const-correct; nothing that is summed here exceeds its int length.
  return crc32_iscsi(const_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size()), running);
}

std::uint32_t crc32(Bytes bytes) { return crc32_gzip_refl(0, bytes.data(), bytes.size()); }

}  // namespace base
