// CHAP (RFC 7143, 12.1.3; RFC 1994), one-way and mutual: text pairs in, text pairs out.
//
// Names and digests are compared in constant time; whatever is wrong about an answer - the name, the secret, its form,
// an initiator that has no secret at all - takes the same steps and the same work and looks the same. Secrets are never
// logged. Thread: the loop's.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/entropy.h"
#include "target/iscsi/node.h"
#include "target/iscsi/text_keys.h"

namespace iscsi {

/// The values registered for CHAP_A.
enum class ChapAlgorithm : std::uint8_t { md5 = 5, sha1 = 6, sha256 = 7, sha3_256 = 8 };

/// H(identifier, secret, challenge) (RFC 1994, 4.1); empty when the algorithm is not to be had (MD5 in FIPS mode).
std::vector<std::uint8_t> chap_response(ChapAlgorithm algorithm, std::uint8_t identifier, std::string_view secret,
                                        base::Bytes challenge);

class Chap {
 public:
  static constexpr std::size_t kMaxBinaryLength = 1024;  ///< RFC 7143, 12.1.3: binary values of CHAP

  enum class State {
    algorithm,  ///< waits for CHAP_A
    response,   ///< waits for CHAP_N and CHAP_R
    succeeded,
    failed,
  };

  /// Without `wanted.initiator` nobody succeeds, after as many steps as others need. `entropy` outlives the object.
  Chap(Authentication wanted, base::Entropy& entropy) : wanted_(std::move(wanted)), entropy_(entropy) {}

  State state() const { return state_; }

  /// Serves one step: the CHAP_ keys among `offers`, answered into `answers`. No CHAP_ key at all is not an error
  /// while CHAP_A is awaited (the initiator may send it in its next request); one before or after its step is. The
  /// error says why the login fails (0201h), for the log only.
  std::expected<void, std::string> step(std::span<const TextPair> offers, std::string& answers);

 private:
  std::expected<void, std::string> fail(std::string reason);
  std::expected<void, std::string> choose(std::string_view list, std::string& answers);
  std::expected<void, std::string> judge(std::span<const TextPair> offers, std::string& answers);
  std::expected<void, std::string> prove(std::string_view identifier, std::string_view challenge, std::string& answers);

  const Authentication wanted_;
  base::Entropy& entropy_;
  State state_ = State::algorithm;
  ChapAlgorithm algorithm_ = ChapAlgorithm::md5;
  std::uint8_t identifier_ = 0;
  std::vector<std::uint8_t> challenge_;
};

}  // namespace iscsi
