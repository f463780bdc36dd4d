#include "host/volume.h"

#include <algorithm>

namespace host {

Volume::Volume(ClassDriver& driver, const Partition& place) : device_(driver, place.first_byte, place.length) {}

Volume::~Volume() = default;

NtResult<std::unique_ptr<Volume>> Volume::mount(ClassDriver& driver, const Partition& place, const Mounter& mounter,
                                                bool read_only) {
  VolumeDevice device(driver, place.first_byte, place.length);
  auto kind = recognise(device);
  if (!kind) return std::unexpected(kind.error());
  return with(driver, place, *kind, mounter, read_only);
}

NtResult<std::unique_ptr<Volume>> Volume::with(ClassDriver& driver, const Partition& place, FileSystemKind kind,
                                               const Mounter& mounter, bool read_only) {
  std::unique_ptr<Volume> volume(new Volume(driver, place));
  volume->kind_ = kind;
  if (kind != FileSystemKind::ntfs || !mounter) return volume;
  auto mounted = mounter(volume->device_, read_only || volume->device_.write_protected());
  if (!mounted) return std::unexpected(mounted.error());
  volume->file_system_ = std::move(*mounted);
  return volume;
}

FileSystem* Volume::file_system() { return state_ == State::dismounted ? nullptr : file_system_.get(); }

bool Volume::read_only() const {
  return file_system_ ? file_system_->information().read_only : device_.write_protected();
}

NtStatus Volume::dismount() {
  if (state_ == State::dismounted) return NtStatus::volume_dismounted;
  state_ = State::dismounted;
  return file_system_ ? file_system_->unmount() : NtStatus::success;
}

NtStatus Volume::shut_down() {
  if (state_ == State::dismounted) return NtStatus::volume_dismounted;
  state_ = State::shut_down;
  if (!file_system_ || read_only()) return NtStatus::success;
  NtStatus status = NtStatus::success;
  const auto keep_first = [&status](NtStatus next) {
    if (succeeded(status)) status = next;
  };
  for (auto& [stream, shared] : open_streams_)
    if (auto open = shared.lock()) keep_first(open->stream->flush());
  keep_first(file_system_->flush());
  keep_first(device_.flush());
  return status;
}

NtStatus Volume::verify() {
  if (state_ == State::dismounted) return NtStatus::volume_dismounted;
  if (!file_system_) return NtStatus::success;
  auto same = file_system_->still_there();
  if (!same) return same.error();
  if (*same) return NtStatus::success;
  file_system_->abandon();
  state_ = State::dismounted;
  return NtStatus::volume_dismounted;
}

bool Volume::detach(const std::string& name) {
  return std::erase_if(filters_, [&name](const Filter& filter) { return filter.name == name; }) != 0;
}

std::shared_ptr<OpenStream> Volume::share(std::shared_ptr<FileStream> stream) {
  std::erase_if(open_streams_, [](const auto& entry) { return entry.second.expired(); });
  std::erase_if(open_files_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<OpenStream>& known = open_streams_[stream.get()];
  auto open = known.lock();
  if (!open) {
    open = std::make_shared<OpenStream>();
    std::weak_ptr<OpenFile>& known_file = open_files_[stream->file_number()];
    open->file = known_file.lock();
    if (!open->file) known_file = open->file = std::make_shared<OpenFile>();
    open->stream = std::move(stream);
    known = open;
  }
  return open;
}

}  // namespace host
