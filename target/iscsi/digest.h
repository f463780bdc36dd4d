// Header and data digests: CRC32C over everything, pad bytes included (RFC 7143, 13.1), by ISA-L.
// Thread: any.
#pragma once

#include "base/bytes.h"
#include "base/crc.h"

namespace iscsi {

/// Continues a running CRC32C; start with kDigestStart, end with digest_bytes().
inline constexpr std::uint32_t kDigestStart = base::kCrc32cStart;
inline std::uint32_t digest_add(std::uint32_t running, base::Bytes bytes) { return base::crc32c_add(running, bytes); }

/// The digest as it stands on the wire (least significant byte first, RFC 7143, 13.1 and appendix B.4's examples).
base::be32 digest_bytes(std::uint32_t running);

inline base::be32 digest_of(base::Bytes bytes) { return digest_bytes(digest_add(kDigestStart, bytes)); }

}  // namespace iscsi
