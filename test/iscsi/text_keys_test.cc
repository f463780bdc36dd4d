// Text: pairs, labels, values, and texts longer than a PDU.
//
// Not tested, and why: what keys mean (negotiation_test.cc).
#include "target/iscsi/text_keys.h"

#include <doctest/doctest.h>

using namespace iscsi;
using namespace std::string_literals;

namespace {

std::string joined(std::string_view text) {
  auto pairs = parse_text(text);
  if (!pairs) return "error: " + pairs.error();
  std::string all;
  for (const TextPair& pair : *pairs) all.append(pair.key).append("=").append(pair.value).append(";");
  return all;
}

}  // namespace

TEST_SUITE("iscsi text") {
  TEST_CASE("Pairs end with a zero byte, the last one may lack it") {
    CHECK(joined("") == "");
    CHECK(joined("A=1\0B=2\0"s) == "A=1;B=2;");
    CHECK(joined("A=1\0B=2"s) == "A=1;B=2;");
    CHECK(joined("A=\0B==\0"s) == "A=;B==;");
    CHECK(joined("A=1\0\0\0"s) == "A=1;");
    CHECK(joined("X-com.example.key=x,y\0X#Node=z\0"s) == "X-com.example.key=x,y;X#Node=z;");
  }

  TEST_CASE("Text that breaks a rule is refused as a whole") {
    CHECK(joined("A"s) == "error: text without '='");
    CHECK(joined("A=1\0B\0"s) == "error: text without '='");
    CHECK(joined("=1\0"s) == "error: a key of 0 characters");
    CHECK(joined(std::string(64, 'k') + "=1") == "error: a key of 64 characters");
    CHECK(joined(std::string(63, 'k') + "=1") == std::string(63, 'k') + "=1;");
    CHECK(joined("A B=1\0"s) == "error: a key with characters outside A-Z a-z 0-9 . - + @ _ #");
    CHECK(joined("A=1\0A=2\0"s) == "error: key A given twice");
    std::string many;
    for (std::size_t i = 0; i <= kMaxTextPairs; ++i) append_pair(many, "K" + std::to_string(i), "v");
    CHECK(joined(many) == "error: too many keys");
  }

  TEST_CASE("Booleans and numbers have one spelling each") {
    CHECK(*parse_boolean("Yes"));
    CHECK(!*parse_boolean("No"));
    for (const char* wrong : {"yes", "NO", "", "1", "Yes "}) CHECK(!parse_boolean(wrong));
    CHECK(*parse_number("0") == 0);
    CHECK(*parse_number("16777215") == 16777215);
    CHECK(*parse_number("0x10") == 16);
    CHECK(*parse_number("0XfF") == 255);
    CHECK(*parse_number("0x00FF") == 255);
    for (const char* wrong : {"", "0x", "-1", "+1", "1k", " 1", "00", "01", "99999999999999999999"})
      CHECK(!parse_number(wrong));
  }

  TEST_CASE("Binary values come in base16 and base64") {
    using Bytes = std::vector<std::uint8_t>;
    CHECK(*parse_binary("0x0102fF", 16) == Bytes{1, 2, 255});
    CHECK(*parse_binary("0Xabc", 16) == Bytes{0x0A, 0xBC});
    CHECK(*parse_binary("0bAQID", 16) == Bytes{1, 2, 3});
    CHECK(*parse_binary("0BAQI=", 16) == Bytes{1, 2});
    CHECK(*parse_binary("0b/w==", 16) == Bytes{255});
    for (const char* wrong : {"", "0x", "0b", "0102", "0xg0", "0b=AAA", "0bAQI", "0bA?==", "0bAA=A"})
      CHECK(!parse_binary(wrong, 16));
    CHECK(parse_binary("0x" + std::string(32, '0'), 16));
    CHECK(!parse_binary("0x" + std::string(34, '0'), 16));
    CHECK(!parse_binary("0x" + std::string(100000, '0'), 16));
    CHECK(format_binary(Bytes{0, 0xAB}) == "0x00ab");
  }

  TEST_CASE("A request in several PDUs is put together up to a limit") {
    TextAssembler assembler;
    CHECK(assembler.add(base::bytes_of(std::string_view("Send"))));
    CHECK(assembler.add(base::bytes_of(std::string_view("Targets=All\0", 12))));
    CHECK(assembler.take() == "SendTargets=All\0"s);
    CHECK(assembler.empty());
    std::vector<std::uint8_t> much(kMaxTextLength, 'a');
    CHECK(assembler.add(much));
    CHECK(!assembler.add(base::bytes_of(std::string_view("a"))));
  }

  TEST_CASE("A response longer than a data segment is handed out in pieces") {
    TextSlicer slicer;
    auto empty = slicer.next(512);
    CHECK(empty.text.empty());
    CHECK(empty.last);
    slicer.clear();
    slicer.add(std::string(1024, 'x'));
    auto first = slicer.next(512);
    CHECK(first.text.size() == 512);
    CHECK(!first.last);
    CHECK(slicer.pending());
    auto second = slicer.next(512);
    CHECK(second.text.size() == 512);
    CHECK(second.last);
    CHECK(!slicer.pending());
  }
}
