#include "fsctl/situation.h"

#include <algorithm>
#include <optional>

namespace fsctl {
namespace {

constexpr OptionRow kFileOptions[] = {
    {L"--access", L"LIST", L"rights of the handle: read, write, delete, attributes, none, or a number; comma between"},
    {L"--share", L"LIST", L"what others may do meanwhile: read, write, delete or none (default: all three)"},
    {L"--set-eof", L"SIZE", L"first set the end of file, through another handle"},
    {L"--lock", L"OFFSET,LENGTH,KIND",
     L"first lock a range: exclusive or shared by another handle, own-exclusive or "
     L"own-shared by the handle of the request"},
    {L"--delete-pending", L"",
     L"first mark the file for deletion, through another handle: the file is LOST afterwards"},
    {L"--dismount", L"", L"first dismount the volume of the file under the open handle (FSCTL_DISMOUNT_VOLUME)"},
    {L"--close-first", L"", L"close the handle before the request is made with its number"},
};

struct Word {
  std::wstring_view word;
  ULONG bits;
};
constexpr Word kRights[] = {{L"read", FILE_GENERIC_READ},
                            {L"write", FILE_GENERIC_WRITE},
                            {L"delete", DELETE},
                            {L"attributes", FILE_READ_ATTRIBUTES},
                            {L"none", 0}};
constexpr Word kShares[] = {
    {L"read", FILE_SHARE_READ}, {L"write", FILE_SHARE_WRITE}, {L"delete", FILE_SHARE_DELETE}, {L"none", 0}};

std::vector<std::wstring> split(const std::wstring& list) {
  std::vector<std::wstring> words(1);
  for (const wchar_t c : list) {
    if (c == L',') {
      words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  return words;
}

ULONG bits_of(std::wstring_view option, const std::wstring& list, std::span<const Word> words) {
  if (!list.empty() && list[0] >= L'0' && list[0] <= L'9') {
    return static_cast<ULONG>(parse_number(option, list, UINT32_MAX));
  }
  ULONG bits = 0;
  for (const std::wstring& word : split(list)) {
    const auto found = std::ranges::find(words, std::wstring_view(word), &Word::word);
    if (found == words.end()) bad_value(option, list, "has an unknown word '" + utf8(word) + "'");
    bits |= found->bits;
  }
  return bits;
}

struct Lock {
  std::uint64_t offset;
  std::uint64_t length;
  bool exclusive;
  bool own;
};

Lock parse_lock(const std::wstring& value) {
  const auto parts = split(value);
  if (parts.size() != 3) bad_value(L"--lock", value, "is not OFFSET,LENGTH,KIND");
  const std::wstring& kind = parts[2];
  if (kind != L"exclusive" && kind != L"shared" && kind != L"own-exclusive" && kind != L"own-shared") {
    bad_value(L"--lock", value, "ends with none of exclusive, shared, own-exclusive, own-shared");
  }
  return {parse_number(L"--lock", parts[0], UINT64_MAX), parse_number(L"--lock", parts[1], UINT64_MAX),
          kind.ends_with(L"exclusive"), kind.starts_with(L"own-")};
}

}  // namespace

std::span<const OptionRow> file_options() { return kFileOptions; }

Situation::Situation(const Arguments& arguments, const std::wstring& path, ACCESS_MASK default_access, Record& record) {
  Opening how;
  how.access = default_access;
  if (const auto list = arguments.text(L"--access")) how.access = bits_of(L"--access", *list, kRights);
  if (const auto list = arguments.text(L"--share")) how.share = bits_of(L"--share", *list, kShares);
  const auto eof = arguments.number(L"--set-eof");
  const auto lock_value = arguments.text(L"--lock");
  if (lock_value) parse_lock(*lock_value);

  file_ = open_or_fail(path, how);
  number_ = file_.get();
  record.number32("access", how.access | SYNCHRONIZE);
  if (eof) {
    const Handle writer = open_or_fail(path, {FILE_GENERIC_WRITE});
    require(set_end_of_file(writer.get(), *eof), "--set-eof " + std::to_string(*eof));
    record.number("end_of_file_set", *eof);
  }
  if (lock_value) lock(path, *lock_value, record);
  if (arguments.has(L"--delete-pending")) {
    deleting_ = open_or_fail(path, {DELETE});
    require(mark_deletion_pending(deleting_.get()), "--delete-pending");
    record.boolean("deletion_pending", true);
  }
  if (arguments.has(L"--dismount")) dismount(path, record);
  if (arguments.has(L"--close-first")) {
    file_.close();
    record.boolean("handle_closed", true);
  }
}

void Situation::lock(const std::wstring& path, const std::wstring& value, Record& record) {
  const Lock wanted = parse_lock(value);
  if (!wanted.own) other_ = open_or_fail(path, {FILE_GENERIC_READ | FILE_GENERIC_WRITE});
  const HANDLE owner = wanted.own ? file_.get() : other_.get();
  if (const DWORD error = lock_range(owner, wanted.offset, wanted.length, wanted.exclusive); error != ERROR_SUCCESS) {
    throw Failure(ExitCode::preparation, "--lock " + utf8(value) + ": Win32 error " + std::to_string(error));
  }
  record.text("range_locked", utf8(value));
}

void Situation::dismount(const std::wstring& path, Record& record) {
  const std::wstring volume = volume_of(path);
  const Handle handle = open_or_fail(volume, {FILE_GENERIC_READ | FILE_GENERIC_WRITE});
  require(fs_control(handle.get(), FSCTL_DISMOUNT_VOLUME, {}, 0).status, "--dismount of " + utf8(volume));
  record.text("dismounted", utf8(volume));
}

}  // namespace fsctl
