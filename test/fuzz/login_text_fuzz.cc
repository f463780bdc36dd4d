// Text of login and text requests, in any number of pieces, and the values in it.
#include <cstdlib>
#include <string>

#include "target/iscsi/text_keys.h"

namespace {

void values(std::string_view value) {
  (void)iscsi::parse_boolean(value);
  (void)iscsi::parse_number(value);
  constexpr std::size_t kLimit = 1024;
  auto binary = iscsi::parse_binary(value, kLimit);
  if (!binary) return;
  if (binary->size() > kLimit) std::abort();
  auto again = iscsi::parse_binary(iscsi::format_binary(*binary), kLimit);
  if (!again || *again != *binary) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::size_t piece = data[0] + std::size_t{1};
  base::Bytes rest(data + 1, size - 1);
  iscsi::TextAssembler assembler;
  while (!rest.empty()) {
    base::Bytes part = rest.first(std::min(piece, rest.size()));
    if (!assembler.add(part)) return 0;
    rest = rest.subspan(part.size());
  }
  std::string text = assembler.take();
  auto pairs = iscsi::parse_text(text);
  if (!pairs) return 0;

  std::string written;
  for (const iscsi::TextPair& pair : *pairs) {
    if (pair.key.empty() || pair.key.size() > iscsi::kMaxKeyLength) std::abort();
    values(pair.value);
    iscsi::append_pair(written, pair.key, pair.value);
  }
  auto again = iscsi::parse_text(written);
  if (!again || again->size() != pairs->size()) std::abort();
  return 0;
}
