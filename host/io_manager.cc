#include "host/io_manager.h"

#include <fmt/format.h>

#include <limits>

#include "host/fsctl_layouts.h"
#include "host/offload_engine.h"

namespace host {

namespace {

constexpr Handle kHandleStep = 4;

/// The rights an open needs for a control code: its bits 14 and 15 (CTL_CODE, MS-FSCC 2.3).
std::uint32_t required_access(std::uint32_t code) {
  constexpr std::uint32_t kFileReadAccess = 0x4000, kFileWriteAccess = 0x8000;
  std::uint32_t access = 0;
  if ((code & kFileReadAccess) != 0) access |= kFileReadData;
  if ((code & kFileWriteAccess) != 0) access |= kFileWriteData;
  return access;
}

FsctlReply refuse(NtStatus status, std::string reason) { return {status, {}, std::move(reason)}; }

}  // namespace

NtResult<Handle> IoManager::add(FileObject file) {
  file.number = next_number_++;
  if (file.open) ++file.open->opens, ++file.open->file->opens;
  const Handle handle = next_handle_;
  next_handle_ += kHandleStep;
  handles_[handle] = std::make_shared<FileObject>(std::move(file));
  return handle;
}

NtResult<Handle> IoManager::open(Volume& volume, const StreamName& name, const OpenOptions& options) {
  if (volume.state() == Volume::State::dismounted) return std::unexpected(NtStatus::volume_dismounted);
  FileSystem* file_system = volume.file_system();
  if (file_system == nullptr) return std::unexpected(NtStatus::unrecognized_volume);
  auto stream = file_system->open(name, Disposition::open);
  if (stream && volume.share(*stream)->delete_pending()) return std::unexpected(NtStatus::delete_pending);
  if (!stream && !name.stream.empty())  // a stream that is not there, of a file that may be on its way out
    if (auto file = file_system->open({name.path}, Disposition::open); file && volume.share(*file)->delete_pending())
      return std::unexpected(NtStatus::delete_pending);
  if (options.disposition != Disposition::open) {
    if (volume.state() == Volume::State::shut_down) return std::unexpected(NtStatus::too_late);
    stream = file_system->open(name, options.disposition);
  }
  if (!stream) return std::unexpected(stream.error());
  return add({&volume, volume.share(std::move(*stream)), 0, options.access, options.transacted, !name.stream.empty()});
}

NtResult<Handle> IoManager::open_volume(Volume& volume, std::uint32_t access) {
  return add({&volume, nullptr, 0, access});
}

NtStatus IoManager::close(Handle handle) {
  auto found = handles_.find(handle);
  if (found == handles_.end()) return NtStatus::invalid_handle;
  const std::shared_ptr<FileObject> file = std::move(found->second);
  handles_.erase(found);
  file->cleaned_up = true;
  if (!file->open) return NtStatus::success;
  OpenStream& open = *file->open;
  open.locks.release(file->number);
  const bool last_of_stream = --open.opens == 0;
  const bool last_of_file = --open.file->opens == 0;
  if (file->volume->state() != Volume::State::mounted) return NtStatus::success;
  if (open.file->deleted) return last_of_file ? open.file->deleted->remove() : NtStatus::success;
  return last_of_stream && open.deleted ? open.stream->remove() : NtStatus::success;
}

std::shared_ptr<FileObject> IoManager::reference(Handle handle) const {
  auto found = handles_.find(handle);
  return found == handles_.end() ? nullptr : found->second;
}

NtResult<std::shared_ptr<FileObject>> IoManager::usable(Handle handle, std::uint32_t access) const {
  auto file = reference(handle);
  if (!file) return std::unexpected(NtStatus::invalid_handle);
  if ((file->access & access) == 0) return std::unexpected(NtStatus::access_denied);
  if (!file->open) return std::unexpected(NtStatus::invalid_device_request);
  if (file->volume->state() == Volume::State::dismounted) return std::unexpected(NtStatus::volume_dismounted);
  return file;
}

NtResult<std::shared_ptr<FileObject>> IoManager::changeable(Handle handle, std::uint32_t access) const {
  auto file = usable(handle, access);
  if (!file) return file;
  if ((*file)->volume->state() == Volume::State::shut_down) return std::unexpected(NtStatus::too_late);
  if ((*file)->volume->read_only()) return std::unexpected(NtStatus::media_write_protected);
  return file;
}

NtResult<std::size_t> IoManager::read(Handle handle, std::uint64_t offset, base::MutableBytes out) {
  auto file = usable(handle, kFileReadData);
  if (!file) return std::unexpected(file.error());
  if (out.empty()) return 0;
  OpenStream& open = *(*file)->open;
  if (offset >= open.stream->sizes().end_of_file) return std::unexpected(NtStatus::end_of_file);
  if (open.locks.conflict((*file)->number, offset, out.size(), ByteRangeLocks::Intent::read))
    return std::unexpected(NtStatus::file_lock_conflict);
  return open.stream->read(offset, out);
}

NtStatus IoManager::write(Handle handle, std::uint64_t offset, base::Bytes data) {
  auto file = changeable(handle, kFileWriteData);
  if (!file) return file.error();
  if (data.empty()) return NtStatus::success;
  constexpr std::uint64_t kLargestOffset = std::numeric_limits<std::int64_t>::max();  // MS-FSA 2.1.5.4
  if (offset > kLargestOffset || data.size() > kLargestOffset - offset) return NtStatus::invalid_parameter;
  OpenStream& open = *(*file)->open;
  if (open.locks.conflict((*file)->number, offset, data.size(), ByteRangeLocks::Intent::write))
    return NtStatus::file_lock_conflict;
  return open.stream->write(offset, data);
}

NtStatus IoManager::set_end_of_file(Handle handle, std::uint64_t length) {
  auto file = changeable(handle, kFileWriteData);
  return file ? (*file)->open->stream->set_end_of_file(length) : file.error();
}

NtStatus IoManager::mark_deleted(Handle handle) {
  auto file = changeable(handle, kDelete);
  if (!file) return file.error();
  if ((*file)->open->stream->kind().metadata) return NtStatus::access_denied;
  OpenStream& open = *(*file)->open;
  if ((*file)->named_stream)
    open.deleted = true;
  else
    open.file->deleted = open.stream;
  return NtStatus::success;
}

NtStatus IoManager::lock(Handle handle, std::uint64_t offset, std::uint64_t length, bool exclusive) {
  auto file = usable(handle, kFileReadData | kFileWriteData);
  if (!file) return file.error();
  if ((*file)->open->stream->kind().directory) return NtStatus::invalid_parameter;
  return (*file)->open->locks.lock((*file)->number, offset, length, exclusive);
}

NtStatus IoManager::unlock(Handle handle, std::uint64_t offset, std::uint64_t length) {
  auto file = usable(handle, kFileReadData | kFileWriteData);
  if (!file) return file.error();
  if ((*file)->open->stream->kind().directory) return NtStatus::invalid_parameter;
  return (*file)->open->locks.unlock((*file)->number, offset, length);
}

FsctlReply IoManager::fs_control(Handle handle, std::uint32_t code, base::Bytes input, std::size_t output_length) {
  auto file = reference(handle);
  if (!file) return refuse(NtStatus::invalid_handle, fmt::format("handle {} is not open", handle));
  return fs_control(file, code, input, output_length);
}

FsctlReply IoManager::fs_control(const std::shared_ptr<FileObject>& file, std::uint32_t code, base::Bytes input,
                                 std::size_t output_length) {
  const std::uint32_t missing = required_access(code) & ~file->access;
  if (missing != 0)
    return refuse(NtStatus::access_denied,
                  fmt::format("control code {:08X}h needs access rights {:X}h that the handle lacks", code, missing));
  if (code != kFsctlOffloadRead && code != kFsctlOffloadWrite)
    return refuse(NtStatus::invalid_device_request, fmt::format("control code {:08X}h is not known", code));

  const bool writing = code == kFsctlOffloadWrite;
  const NtStatus not_opted_in =
      writing ? NtStatus::offload_write_flt_not_supported : NtStatus::offload_read_flt_not_supported;
  if (filter_supported_features_mode == 1) return refuse(not_opted_in, "FilterSupportedFeaturesMode is 1");
  const std::uint32_t feature = writing ? kSupportsOffloadWrite : kSupportsOffloadRead;
  const std::vector<Filter>& filters = file->volume->filters();
  for (const Filter& filter : filters)
    if ((filter.supported_features & feature) == 0)
      return refuse(not_opted_in, fmt::format("SupportedFeatures of filter {} is {:X}h, without bit {:X}h", filter.name,
                                              filter.supported_features, feature));
  for (const Filter& filter : filters)
    if (filter.blocks) return refuse(NtStatus::not_supported, fmt::format("filter {} blocks offloads", filter.name));

  return writing ? OffloadEngine::offload_write(*file, input, output_length)
                 : OffloadEngine::offload_read(*file, input, output_length);
}

}  // namespace host
