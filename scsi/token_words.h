// What there is to say about a token in words: which it is, how it ended, why a command was refused it.
// Thread: the loop's.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"
#include "tokens/rod_token.h"
#include "tokens/token_manager.h"

namespace scsi {

class CopyManager;

/// T10's name of a command that names tokens: "WRITE USING TOKEN".
std::string_view name_of(tokens::CopyCommand command);
/// "expired", "valid".
std::string_view name_of(tokens::TokenState state);

/// "60 s", "4.1 s", "250 ms", "7 us".
std::string duration_words(base::Duration duration);

/// "token 17", "token 17 of array east"; "the token" where it is none that was made since the start.
std::string token_words(const CopyManager& manager, tokens::TokenId id);

/// "expired 12 s ago: inactivity timeout 60 s, last used by WRITE USING TOKEN from iqn...". Without "ago" where it is
/// happening at `now`.
std::string ending_words(const tokens::TokenEnding& ending, base::TimePoint now);

/// Why `token`, which this manager or one of its fabric made, cannot be used: "token 17 expired 12 s ago: ...". Empty
/// where there is no more to say than the error.
std::string refusal_words(CopyManager& manager, const tokens::RodToken& token, tokens::TokenError error);

}  // namespace scsi
