// Bodies of POPULATE TOKEN and WRITE USING TOKEN (SBC-4 5.12, 5.59).
//
// Lists are read in copy_parameter_list, tokens judged in tokens/, data moved in copy_data; here they meet. Thread: the
// loop's.
#pragma once

#include <expected>

#include "base/async.h"
#include "scsi/command_table.h"
#include "scsi/copy_data.h"
#include "scsi/copy_fabric.h"
#include "scsi/sense.h"
#include "tokens/token_manager.h"

namespace scsi {

class CopyJob;
class CopyManager;

/// SBC-4 5.12. Errors: 05/00/16; those of parse_populate_token(); 0B/55/03 out of tokens or of room to capture; those
/// of the store.
std::expected<void, Sense> populate_token(CommandContext& context);

/// SBC-4 5.59. Errors: 05/00/16; 07/27/00 and 07/27/02; those of parse_write_using_token(); 05/23/xx of the token;
/// 05/26/00 OFFSET INTO ROD; 05/0D/04 more than the ROD holds; 05/08/04 (or what the profile says) unreachable;
/// 0A/0D/04 stopped midway, INFORMATION = blocks written; 0B/55/03; those of the store.
std::expected<void, Sense> write_using_token(CommandContext& context);

// What EXTENDED COPY shares.

/// SPC-4 5.17.6.5.2. `byte` is where the token stands in the parameter list, `why` the reason in words where there is
/// more to say than the error does (scsi/token_words.h).
Sense token_sense(tokens::TokenError error, std::size_t byte, std::string why = {});

/// Judges a token for use by `job`'s copy manager: its own, or of another array of the fabric.
std::expected<tokens::TokenUse, tokens::TokenError> use_token(CopyJob& job, const tokens::RodToken& token);

/// What a token stands for, once it was judged: where its data is, or how to ask for it.
struct JudgedToken {
  std::optional<tokens::TokenUse> use{};  ///< absent: another machine's token
  RemoteRods* remote = nullptr;
};
/// `byte` is where the token stands in the parameter list. Errors: 05/23/xx.
std::expected<JudgedToken, Sense> judge_token(CopyJob& job, const tokens::RodToken& token, std::size_t byte);
/// The size of a token's ROD in bytes, as far as 64 bits tell.
std::uint64_t size_of(const JudgedToken& judged, const tokens::RodToken& token);
/// The data a token stands for, null for zeros; `byte` is where the token stands in the parameter list. Errors: those
/// of data_of() of its ROD; of another machine's token 05/23/xx, and 0A/0D/02 where that cannot be reached.
base::Async<Captured> data_of(CopyJob& job, const JudgedToken& judged, const tokens::RodToken& token, std::size_t byte);

/// Why no data can move from logical unit `source` to `destination`; nothing when it can.
std::optional<Sense> unreachable(CopyManager& manager, const std::string& source, const std::string& destination);

/// The ROD type that is made when `asked` for.
tokens::RodType made_type(const DeviceProfile& profile, tokens::RodType asked);

/// Creates a token whose ROD is of the job's logical unit, and lets a change of its source end it where its type or the
/// profile says so. Errors: too_many_tokens.
std::expected<tokens::RodToken, tokens::TokenError> create_token(CopyJob& job, tokens::NewToken token);

/// What keeps a logical unit from being written to: 07/27/00, 07/27/02.
std::optional<Sense> write_protection(LogicalUnit& lu);

}  // namespace scsi
