#include "target/iscsi/digest.h"

#include <isa-l/crc.h>

#include <bit>

namespace iscsi {

std::uint32_t digest_add(std::uint32_t running, base::Bytes bytes) {
  // ISA-L's prototype is not const-correct; a data segment never exceeds its int length.
  return crc32_iscsi(const_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size()), running);
}

base::be32 digest_bytes(std::uint32_t running) { return std::byteswap(~running); }

}  // namespace iscsi
