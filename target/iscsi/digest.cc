#include "target/iscsi/digest.h"

#include <bit>

namespace iscsi {

base::be32 digest_bytes(std::uint32_t running) { return std::byteswap(~running); }

}  // namespace iscsi
