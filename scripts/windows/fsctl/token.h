// The 512 bytes of a token between two requests: in a file, on the command line, and the well-known zero token.
// Does not: look into a token beyond its header (MS-FSCC 2.1.11).
// Thread: one.
#pragma once

#include <string>

#include "fsctl/definitions.h"
#include "fsctl/options.h"
#include "fsctl/output.h"

namespace fsctl {

/// FF FF 00 01, 00 00, 01 F8, and 504 zeros: reads as zeros on every volume, and needs no earlier read.
OffloadToken zero_token();

/// Of --token-file, --token-hex or --zero-token; zeros without any of them. Throws Failure(usage, local_file).
OffloadToken token_of(const Arguments& arguments);

/// Throws Failure(local_file).
void save_token(const std::wstring& path, const OffloadToken& token);

/// Type and length as the big-endian numbers they are, whether it is the zero token, and all bytes.
void note_token(Record& record, const OffloadToken& token);

}  // namespace fsctl
