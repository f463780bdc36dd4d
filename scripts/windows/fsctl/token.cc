#include "fsctl/token.h"

#include <cstring>

#include "fsctl/device.h"

namespace fsctl {
namespace {

std::uint32_t big_endian(std::span<const std::uint8_t> bytes) {
  std::uint32_t value = 0;
  for (const std::uint8_t byte : bytes) value = value << 8 | byte;
  return value;
}

[[noreturn]] void local_failure(const std::wstring& path, const std::string& what) {
  throw Failure(ExitCode::local_file, "token file '" + utf8(path) + "': " + what);
}

OffloadToken load_token(const std::wstring& path) {
  const Handle file(CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr));
  if (file.get() == INVALID_HANDLE_VALUE) local_failure(path, "Win32 error " + std::to_string(GetLastError()));
  std::uint8_t bytes[kTokenSize + 1];
  DWORD count = 0;
  if (!ReadFile(file.get(), bytes, sizeof bytes, &count, nullptr)) {
    local_failure(path, "Win32 error " + std::to_string(GetLastError()));
  }
  if (count != kTokenSize) {
    local_failure(path, (count > kTokenSize ? "more than 512" : std::to_string(count)) + " bytes, a token has 512");
  }
  OffloadToken token;
  std::memcpy(&token, bytes, sizeof token);
  return token;
}

}  // namespace

OffloadToken zero_token() {
  OffloadToken token = {};
  constexpr std::uint8_t kHeader[] = {0xFF, 0xFF, 0x00, 0x01, 0x00, 0x00, 0x01, 0xF8};
  std::memcpy(&token, kHeader, sizeof kHeader);
  return token;
}

OffloadToken token_of(const Arguments& arguments) {
  constexpr std::wstring_view kSources[] = {L"--token-file", L"--token-hex", L"--zero-token", L"--input-hex"};
  arguments.exclusive(kSources);
  if (const auto path = arguments.text(L"--token-file")) return load_token(*path);
  if (arguments.has(L"--zero-token")) return zero_token();
  OffloadToken token = {};
  if (const auto bytes = arguments.bytes(L"--token-hex")) {
    if (bytes->size() > kTokenSize) {
      throw Failure(ExitCode::usage, "--token-hex: " + std::to_string(bytes->size()) + " bytes, a token has 512");
    }
    std::memcpy(&token, bytes->data(), bytes->size());  // what is left out is zero
  }
  return token;
}

void save_token(const std::wstring& path, const OffloadToken& token) {
  const Handle file(CreateFileW(path.c_str(), GENERIC_WRITE, 0, nullptr, CREATE_ALWAYS, 0, nullptr));
  if (file.get() == INVALID_HANDLE_VALUE) local_failure(path, "Win32 error " + std::to_string(GetLastError()));
  DWORD count = 0;
  if (!WriteFile(file.get(), &token, sizeof token, &count, nullptr) || count != sizeof token) {
    local_failure(path, "Win32 error " + std::to_string(GetLastError()));
  }
}

void note_token(Record& record, const OffloadToken& token) {
  const std::uint32_t type = big_endian(token.TokenType);
  record.number32("TokenType", type);
  record.number("TokenIdLength", big_endian(token.TokenIdLength));
  record.boolean("zero_token", type == STORAGE_OFFLOAD_TOKEN_TYPE_ZERO_DATA);
  record.bytes("bytes", bytes_of(token));
}

}  // namespace fsctl
