#include "tokens/rod_token.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <stdexcept>

namespace tokens {

namespace {

constexpr std::size_t kSealedBytes = offsetof(RodToken, extended) + offsetof(ExtendedRodTokenData, mac);

void require(bool good) {
  if (!good) throw std::runtime_error("OpenSSL offers no HMAC-SHA-256");
}

}  // namespace

std::vector<RodTypeSupport> all_rod_types() {
  return {
      {.type = RodType::access_upon_reference, .token_in = true, .token_out = true, .internal = true},
      {.type = RodType::point_in_time_default,
       .token_in = true,
       .token_out = true,
       .point_in_time = true,
       .internal = true},
      {.type = RodType::point_in_time_change_vulnerable,
       .token_in = true,
       .token_out = true,
       .point_in_time = true,
       .internal = true},
      {.type = RodType::point_in_time_persistent,
       .token_in = true,
       .token_out = true,
       .point_in_time = true,
       .internal = true},
      // A token of it shows the type that was really made, so none comes in.
      {.type = RodType::point_in_time_any, .token_out = true, .point_in_time = true, .internal = true},
      // TOKEN_OUT is zero by SPC-4 7.8.17.9.
      {.type = RodType::block_device_zero, .token_in = true},
  };
}

const RodTypeSupport* find_rod_type(std::span<const RodTypeSupport> supported, std::uint32_t type) {
  auto row = std::ranges::find(supported, static_cast<RodType>(type), &RodTypeSupport::type);
  return row == supported.end() ? nullptr : &*row;
}

RodToken zero_token() {
  RodToken token{};
  token.rod_type = static_cast<std::uint32_t>(RodType::block_device_zero);
  token.rod_token_length = kRodTokenLength;
  token.creator_logical_unit_descriptor.descriptor_type_code = 0;
  token.creator_logical_unit_descriptor.code_set = 0;
  token.creator_logical_unit_descriptor.designator_type = 0;
  token.creator_logical_unit_descriptor.designator_length = 0;
  return token;
}

struct TokenSeal::Keyed {
  EVP_MAC* algorithm = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  EVP_MAC_CTX* context = algorithm ? EVP_MAC_CTX_new(algorithm) : nullptr;
  ~Keyed() {
    EVP_MAC_CTX_free(context);
    EVP_MAC_free(algorithm);
  }
};

TokenSeal::TokenSeal(base::Entropy& entropy) : keyed_(std::make_unique<Keyed>()) {
  require(keyed_->context != nullptr);
  entropy.fill(epoch_);
  std::array<std::uint8_t, 32> secret;
  entropy.fill(secret);
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                   OSSL_PARAM_construct_end()};
  require(EVP_MAC_init(keyed_->context, secret.data(), secret.size(), parameters) == 1);
  OPENSSL_cleanse(secret.data(), secret.size());
}

TokenSeal::~TokenSeal() = default;

std::array<std::uint8_t, 32> TokenSeal::mac_of(const RodToken& token) {
  std::array<std::uint8_t, 32> mac;
  std::size_t length = 0;
  base::Bytes sealed = base::bytes_of(token).first(kSealedBytes);
  // A null key starts over with the one the context keeps.
  require(EVP_MAC_init(keyed_->context, nullptr, 0, nullptr) == 1 &&
          EVP_MAC_update(keyed_->context, sealed.data(), sealed.size()) == 1 &&
          EVP_MAC_final(keyed_->context, mac.data(), &length, mac.size()) == 1 && length == mac.size());
  return mac;
}

void TokenSeal::seal(RodToken& token, base::Entropy& entropy) {
  token.extended.key_epoch = epoch_;
  entropy.fill(token.extended.secure_random);
  entropy.fill(token.extended.filler);
  token.extended.mac = mac_of(token);
}

bool TokenSeal::same_epoch(const RodToken& token) const { return token.extended.key_epoch == epoch_; }

bool TokenSeal::intact(const RodToken& token) {
  auto mac = mac_of(token);
  return CRYPTO_memcmp(mac.data(), token.extended.mac.data(), mac.size()) == 0;
}

}  // namespace tokens
