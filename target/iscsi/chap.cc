#include "target/iscsi/chap.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>

namespace iscsi {
namespace {

struct AlgorithmRow {
  ChapAlgorithm algorithm;
  const char* name;  // OpenSSL's
};

constexpr std::array<AlgorithmRow, 4> kAlgorithms{{
    {ChapAlgorithm::md5, "MD5"},
    {ChapAlgorithm::sha1, "SHA1"},
    {ChapAlgorithm::sha256, "SHA256"},
    {ChapAlgorithm::sha3_256, "SHA3-256"},
}};

using Digest = std::unique_ptr<EVP_MD, decltype(&EVP_MD_free)>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

Digest fetch(ChapAlgorithm algorithm) {
  auto row = std::ranges::find(kAlgorithms, algorithm, &AlgorithmRow::algorithm);
  return {row == kAlgorithms.end() ? nullptr : EVP_MD_fetch(nullptr, row->name, nullptr), &EVP_MD_free};
}

std::size_t digest_size(ChapAlgorithm algorithm) {
  Digest digest = fetch(algorithm);
  return digest ? static_cast<std::size_t>(EVP_MD_get_size(digest.get())) : 0;
}

/// The value of `key`, or nothing at all when it is not there: both are as wrong.
std::string_view text_of(std::span<const TextPair> offers, std::string_view key) {
  return value_of(offers, key).value_or("");
}

bool has(std::span<const TextPair> offers, std::initializer_list<std::string_view> keys) {
  return std::ranges::any_of(offers,
                             [&](const TextPair& each) { return std::ranges::find(keys, each.key) != keys.end(); });
}

bool equal_in_constant_time(base::Bytes a, base::Bytes b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

std::vector<std::uint8_t> chap_response(ChapAlgorithm algorithm, std::uint8_t identifier, std::string_view secret,
                                        base::Bytes challenge) {
  Digest digest = fetch(algorithm);
  DigestContext context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  if (!digest || !context) return {};
  std::vector<std::uint8_t> result(static_cast<std::size_t>(EVP_MD_get_size(digest.get())));
  bool ok = EVP_DigestInit_ex(context.get(), digest.get(), nullptr) == 1 &&
            EVP_DigestUpdate(context.get(), &identifier, 1) == 1 &&
            EVP_DigestUpdate(context.get(), secret.data(), secret.size()) == 1 &&
            EVP_DigestUpdate(context.get(), challenge.data(), challenge.size()) == 1 &&
            EVP_DigestFinal_ex(context.get(), result.data(), nullptr) == 1;
  if (!ok) return {};
  return result;
}

std::expected<void, std::string> Chap::fail(std::string reason) {
  state_ = State::failed;
  return std::unexpected(std::move(reason));
}

std::expected<void, std::string> Chap::step(std::span<const TextPair> offers, std::string& answers) {
  bool choice = has(offers, {"CHAP_A"});
  bool answer = has(offers, {"CHAP_N", "CHAP_R", "CHAP_I", "CHAP_C"});
  switch (state_) {
    case State::algorithm:
      if (answer) return fail("CHAP_N, CHAP_R, CHAP_I or CHAP_C before our challenge");
      if (!choice) return {};
      return choose(text_of(offers, "CHAP_A"), answers);
    case State::response:
      if (choice) return fail("CHAP_A after our challenge");
      return judge(offers, answers);
    case State::succeeded:
      if (choice || answer) return fail("CHAP keys after the authentication");
      return {};
    case State::failed: return fail("a login goes on after its authentication failed");
  }
  return fail("unreachable");
}

std::expected<void, std::string> Chap::choose(std::string_view list, std::string& answers) {
  for (std::string_view rest = list;;) {
    std::size_t comma = rest.find(',');
    auto number = parse_number(rest.substr(0, comma));
    auto row = std::ranges::find_if(kAlgorithms, [&](const AlgorithmRow& each) {
      return number && *number == static_cast<std::uint64_t>(each.algorithm) && digest_size(each.algorithm) > 0;
    });
    if (row != kAlgorithms.end()) {
      algorithm_ = row->algorithm;
      break;
    }
    if (comma == std::string_view::npos) return fail("no algorithm of ours in CHAP_A");
    rest.remove_prefix(comma + 1);
  }
  challenge_.resize(digest_size(algorithm_));
  entropy_.fill(challenge_);
  entropy_.fill({&identifier_, 1});
  append_pair(answers, "CHAP_A", fmt::format("{}", static_cast<int>(algorithm_)));
  append_pair(answers, "CHAP_I", fmt::format("{}", identifier_));
  append_pair(answers, "CHAP_C", format_binary(challenge_));
  state_ = State::response;
  return {};
}

std::expected<void, std::string> Chap::judge(std::span<const TextPair> offers, std::string& answers) {
  std::string_view name = text_of(offers, "CHAP_N");
  auto response = parse_binary(text_of(offers, "CHAP_R"), kMaxBinaryLength);
  // An initiator without a secret is judged by this one, and fails whatever it says.
  static const ChapCredentials kNobody{"nobody", "no-secret-at-all"};
  const ChapCredentials& right = wanted_.initiator ? *wanted_.initiator : kNobody;
  std::vector<std::uint8_t> right_digest = chap_response(algorithm_, identifier_, right.secret, challenge_);
  // Both are always compared, so that a wrong name takes as long as a wrong secret.
  bool right_name = equal_in_constant_time(base::bytes_of(name), base::bytes_of(right.name));
  bool right_response =
      equal_in_constant_time(response.value_or(std::vector<std::uint8_t>{}), right_digest) && !right_digest.empty();
  if (name.empty() || !response) return fail("CHAP_N or CHAP_R missing or malformed");
  if (!wanted_.initiator || !right_name || !right_response) return fail("wrong CHAP name or secret");

  if (has(offers, {"CHAP_I", "CHAP_C"})) {
    if (auto proved = prove(text_of(offers, "CHAP_I"), text_of(offers, "CHAP_C"), answers); !proved) return proved;
  } else if (wanted_.target && wanted_.mutual_required) {
    return fail("mutual authentication is required and was not asked for");
  }
  state_ = State::succeeded;
  return {};
}

std::expected<void, std::string> Chap::prove(std::string_view identifier, std::string_view challenge,
                                             std::string& answers) {
  if (!wanted_.target) return fail("mutual authentication asked for, but no secret of ours is configured");
  if (wanted_.target->secret == wanted_.initiator->secret) return fail("both CHAP secrets are the same");
  auto number = parse_number(identifier);
  auto bytes = parse_binary(challenge, kMaxBinaryLength);
  if (!number || *number > 255 || !bytes) return fail("CHAP_I or CHAP_C missing or malformed");
  // Answering our own challenge would prove the initiator's secret with our help (RFC 7143, 12.1.3).
  if (*bytes == challenge_) return fail("our challenge was reflected");
  std::vector<std::uint8_t> response =
      chap_response(algorithm_, static_cast<std::uint8_t>(*number), wanted_.target->secret, *bytes);
  if (response.empty()) return fail("the digest failed");
  append_pair(answers, "CHAP_N", wanted_.target->name);
  append_pair(answers, "CHAP_R", format_binary(response));
  return {};
}

}  // namespace iscsi
