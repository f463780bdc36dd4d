#include "target/journal_file.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "target/array.h"
#include "target/journal_document.h"

namespace target {

namespace {
namespace json = boost::json;
constexpr mode_t kFileMode = 0600;
}  // namespace

/// The descriptor, and what is being written. A worker's while a write is under way, else the loop's.
struct JournalFile::Output {
  explicit Output(int descriptor) : fd(descriptor) {}
  ~Output() { close(fd); }

  /// Writes all of `text`. Returns errno, 0 when it was written.
  int write() {
    if (std::exchange(cut, false)) text.insert(0, "\n");
    std::size_t done = 0;
    while (done < text.size()) {
      ssize_t count = ::write(fd, text.data() + done, text.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        cut = done > 0 && text[done - 1] != '\n';
        return count < 0 ? errno : EIO;
      }
      done += static_cast<std::size_t>(count);
    }
    return 0;
  }

  int fd;
  std::string text;
  bool cut = false;  ///< the file ends inside a line
};

JournalFile::JournalFile(const std::string& path, std::string first, scsi::Journal& journal, base::Executor& executor)
    : executor_(executor), waiting_(std::move(first)) {
  int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, kFileMode);
  if (fd < 0) throw StoreError(fmt::format("journal.file: {}: {}", path, std::strerror(errno)));
  output_ = std::make_unique<Output>(fd);
  subscription_ = journal.subscribe([this](const scsi::Event& event) { take(event); });
}

JournalFile::~JournalFile() = default;

void JournalFile::take(const scsi::Event& event) {
  if (waiting_.size() > kMostWaiting) {
    if (lost_events_++ == 0) lost_reason_ = "the disk is too slow";
    return;
  }
  put_lost();
  waiting_ += event_line(event);
  ++waiting_events_;
}

/// Where events are missing the file says so, before the first that is not.
void JournalFile::put_lost() {
  if (lost_events_ == 0) return;
  waiting_ +=
      json::serialize(json::object{{"kind", "lost"}, {"events", lost_events_}, {"reason", lost_reason_}}) + "\n";
  waiting_events_ += std::exchange(lost_events_, 0);
}

void JournalFile::settle() {
  if (writing_ || waiting_.empty()) return;
  writing_ = true;
  output_->text = std::exchange(waiting_, {});
  writing_events_ = std::exchange(waiting_events_, 0);
  auto error = std::make_shared<int>(0);
  executor_.post([output = output_.get(), error] { *error = output->write(); }, [this, error] { wrote(*error); });
}

void JournalFile::wrote(int error) {
  writing_ = false;
  if (bool failed_before = std::exchange(failing_, error != 0); error != 0 && !failed_before)
    base::log::error("journal.file: events are lost: {}", std::strerror(error));
  if (error == 0) return;
  lost_events_ += writing_events_;  // some of them may have been written
  lost_reason_ = std::strerror(error);
}

void JournalFile::finish() {
  put_lost();
  output_->text = std::exchange(waiting_, {});
  if (int error = output_->write(); error != 0)
    base::log::error("journal.file: events are lost: {}", std::strerror(error));
}

std::string journal_start_line(std::chrono::system_clock::time_point now, std::string_view clock_mode,
                               std::string_view version) {
  std::string started = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(now)));
  return json::serialize(
             json::object{{"kind", "start"}, {"started", started}, {"clock", clock_mode}, {"version", version}}) +
         "\n";
}

}  // namespace target
