#include "initiator/libiscsi_initiator.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <utility>

// libiscsi's headers use names of C, and must come after the system's.
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "base/bytes.h"
#include "base/clock.h"

namespace initiator {

namespace {

using Milliseconds = std::chrono::milliseconds;

/// How long libiscsi is left alone when it has nothing to wait for (its header asks for 100 ms or more while it is
/// between connections; we are never between connections, so this is only a bound).
constexpr Milliseconds kIdlePoll{100};
constexpr Milliseconds kQuiet{2};  ///< before Options::Pace is asked what now
constexpr Milliseconds kAbortTimeout{5000};
constexpr Milliseconds kLogoutTimeout{2000};
/// The largest random ISID field of RFC 7143, 11.12.5 (type 10b).
constexpr std::uint32_t kRandomIsidMask = 0x00FFFFFF;
/// The iSCSI response puts SENSE LENGTH before the sense data (RFC 7143, 11.4.7.2).
using SenseLength = base::be16;

struct ContextDeleter {
  void operator()(iscsi_context* context) const { iscsi_destroy_context(context); }
};
using Context = std::unique_ptr<iscsi_context, ContextDeleter>;

struct TaskDeleter {
  void operator()(scsi_task* task) const { scsi_free_scsi_task(task); }
};
using TaskPointer = std::unique_ptr<scsi_task, TaskDeleter>;

struct UrlDeleter {
  void operator()(iscsi_url* url) const { iscsi_destroy_url(url); }
};
using Url = std::unique_ptr<iscsi_url, UrlDeleter>;

/// What a callback leaves behind. libiscsi calls back exactly once, perhaps while its context is destroyed.
struct Completion {
  bool done = false;
  int status = 0;

  static void callback(iscsi_context*, int status, void*, void* self) {
    auto* completion = static_cast<Completion*>(self);
    completion->done = true;
    completion->status = status;
  }
};

/// libiscsi's last error for people. It says "can not reconnect" whenever a connection broke before the login was done.
std::string last_error(iscsi_context* context) {
  std::string text = iscsi_get_error(context);
  while (!text.empty() && (text.back() == '\n' || text.back() == '.')) text.pop_back();
  if (text.empty()) return "no answer";
  return text.find("reconnect") != std::string::npos ? "the connection was refused or closed" : text;
}

int transfer_direction(const Command& command) {
  if (!command.data_out.empty()) return SCSI_XFER_WRITE;
  return command.data_in_length > 0 ? SCSI_XFER_READ : SCSI_XFER_NONE;
}

void take_residual(const scsi_task& task, Result& result) {
  switch (task.residual_status) {
    case SCSI_RESIDUAL_NO_RESIDUAL: return;
    case SCSI_RESIDUAL_UNDERFLOW: result.residual = Result::Residual::underflow; break;
    case SCSI_RESIDUAL_OVERFLOW: result.residual = Result::Residual::overflow; break;
  }
  result.residual_count = static_cast<std::uint32_t>(task.residual);
}

/// `status` is a SCSI status byte.
Result delivered(const scsi_task& task, int status) {
  Result result;
  result.status = static_cast<std::uint8_t>(status);
  base::Bytes data(task.datain.data, task.datain.data ? static_cast<std::size_t>(task.datain.size) : 0);
  if (status == SCSI_STATUS_CHECK_CONDITION) {
    base::ByteReader reader(data);
    std::size_t length = reader.u16();
    base::Bytes sense = reader.take_up_to(length);
    result.sense.assign(sense.begin(), sense.end());
  } else {
    result.data_in.assign(data.begin(), data.end());
  }
  take_residual(task, result);
  return result;
}

}  // namespace

/// NOP-Outs of a connection, which are answered in their order.
struct Pings {
  unsigned sent = 0;
  unsigned answered = 0;
  bool asked = false;  ///< since the command began

  static void callback(iscsi_context*, int status, void*, void* self) {
    if (status == SCSI_STATUS_GOOD) ++static_cast<Pings*>(self)->answered;
  }
};

struct IscsiSession::Impl {
  Options options;
  IscsiUrl names;
  std::string url;
  std::uint32_t isid = 0;
  Pings pings;  ///< outlives the context, which calls back when it goes
  Context context;
  bool lost = true;
  std::function<bool()> stop;  ///< of what is being done
  WireCounters earlier;        ///< of connections that are gone

  std::expected<void, std::string> login();
  bool stopped() const { return stop && stop(); }
  bool pump(const Completion& completion, Milliseconds timeout, const Options::Pace& pace = {});
  WireCounters connection_bytes() const;
  void drop();
  void set_chap(const iscsi_url& parsed);
  Result not_delivered(Transport transport, std::string reason);
  Result time_out(scsi_task* task, const Completion& command_completion, Milliseconds timeout);
  Result execute(int lun, const Command& command);
};

/// Serves the socket until `completion` is done. False: the time is up, the connection broke, or it is to stop.
bool IscsiSession::Impl::pump(const Completion& completion, Milliseconds timeout, const Options::Pace& pace) {
  base::SteadyClock steady;
  const base::Clock& clock = pace.clock ? *pace.clock : steady;
  const Milliseconds idle = pace.when_quiet ? kQuiet : kIdlePoll;
  const base::TimePoint deadline = clock.now() + timeout;
  while (!completion.done) {
    auto left = std::chrono::duration_cast<Milliseconds>(deadline - clock.now());
    if (left <= Milliseconds::zero() || stopped()) return false;
    pollfd descriptor{iscsi_get_fd(context.get()), static_cast<short>(iscsi_which_events(context.get())), 0};
    const int ready = poll(&descriptor, 1, static_cast<int>(std::min(left + Milliseconds(1), idle).count()));
    if (ready < 0) {
      if (errno != EINTR) return false;
      descriptor.revents = 0;
    }
    if (ready == 0 && pace.when_quiet) pace.when_quiet();
    if (iscsi_service(context.get(), descriptor.revents) < 0 && !completion.done) return false;
  }
  return true;
}

/// Kernel counts of this connection: payload bytes sent once, and received in order (tcp_info, Linux 4.19).
WireCounters IscsiSession::Impl::connection_bytes() const {
  if (!context) return {};
  tcp_info info{};
  socklen_t length = sizeof info;
  if (getsockopt(iscsi_get_fd(context.get()), IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return {};
  return {info.tcpi_bytes_sent - info.tcpi_bytes_retrans, info.tcpi_bytes_received};
}

void IscsiSession::Impl::drop() {
  WireCounters bytes = connection_bytes();
  earlier.sent += bytes.sent;
  earlier.received += bytes.received;
  context.reset();
  pings = {};
  lost = true;
}

std::expected<void, std::string> IscsiSession::Impl::login() {
  context.reset(iscsi_create_context(options.initiator_name.c_str()));
  if (!context) return std::unexpected("libiscsi has no memory for a session");
  auto fail = [this](const std::string& what) {
    std::string why = last_error(context.get());
    drop();
    return std::unexpected(what + ": " + why);
  };
  iscsi_set_header_digest(context.get(), ISCSI_HEADER_DIGEST_NONE_CRC32C);  // unless the URL says otherwise
  Url parsed(iscsi_parse_full_url(context.get(), url.c_str()));
  if (!parsed) return fail("bad URL");
  iscsi_set_noautoreconnect(context.get(), 1);
  iscsi_set_isid_random(context.get(), isid, 0);
  iscsi_set_targetname(context.get(), parsed->target);
  iscsi_set_session_type(context.get(), ISCSI_SESSION_NORMAL);
  set_chap(*parsed);

  Completion connected;
  if (iscsi_connect_async(context.get(), parsed->portal, Completion::callback, &connected) != 0)
    return fail("cannot connect to " + names.portal);
  if (!pump(connected, options.login_timeout) || connected.status != SCSI_STATUS_GOOD)
    return fail("cannot connect to " + names.portal);
  Completion logged_in;
  if (iscsi_login_async(context.get(), Completion::callback, &logged_in) != 0)
    return fail("cannot log in to " + names.target_name);
  if (!pump(logged_in, options.login_timeout) || logged_in.status != SCSI_STATUS_GOOD)
    return fail("cannot log in to " + names.target_name);
  lost = false;
  return {};
}

void IscsiSession::Impl::set_chap(const iscsi_url& parsed) {
  if (options.chap)
    iscsi_set_initiator_username_pwd(context.get(), options.chap->name.c_str(), options.chap->secret.c_str());
  else if (parsed.user[0] != '\0')
    iscsi_set_initiator_username_pwd(context.get(), parsed.user, parsed.passwd);
  if (options.mutual_chap)
    iscsi_set_target_username_pwd(context.get(), options.mutual_chap->name.c_str(),
                                  options.mutual_chap->secret.c_str());
  else if (parsed.target_user[0] != '\0')
    iscsi_set_target_username_pwd(context.get(), parsed.target_user, parsed.target_passwd);
}

Result IscsiSession::Impl::not_delivered(Transport transport, std::string reason) {
  Result result;
  result.transport = transport;
  result.reason = std::move(reason);
  return result;
}

Result IscsiSession::Impl::time_out(scsi_task* task, const Completion& command_completion, Milliseconds timeout) {
  std::string reason = "no answer in " + std::to_string(timeout.count()) + " ms";
  // Takes the task out of libiscsi's queues (its callback runs with SCSI_STATUS_CANCELLED), then asks the target.
  Completion aborted;
  bool answered = iscsi_task_mgmt_abort_task_async(context.get(), task, Completion::callback, &aborted) == 0 &&
                  pump(aborted, kAbortTimeout);
  if (!answered || !command_completion.done) {
    drop();
    reason += "; ABORT TASK was not answered either, connection dropped";
  }
  return not_delivered(Transport::timed_out, std::move(reason));
}

Result IscsiSession::Impl::execute(int lun, const Command& command) {
  stop = command.stop;
  if (lost) {
    if (auto again = login(); !again) return not_delivered(Transport::connection_lost, again.error());
  }
  pings.asked = false;
  const bool writes = !command.data_out.empty();
  const std::size_t length = writes ? command.data_out.size() : command.data_in_length;
  std::vector<std::uint8_t> cdb = command.cdb;
  Completion completion;  // outlives the task, and any drop()
  TaskPointer task(scsi_create_task(static_cast<int>(cdb.size()), cdb.data(), transfer_direction(command),
                                    static_cast<int>(length)));
  // libiscsi only reads through this pointer when the direction is out.
  iscsi_data out{length, writes ? const_cast<unsigned char*>(command.data_out.data()) : nullptr};
  if (!task || iscsi_scsi_command_async(context.get(), lun, task.get(), Completion::callback, writes ? &out : nullptr,
                                        &completion) != 0) {
    std::string why = last_error(context.get());
    drop();
    return not_delivered(Transport::connection_lost, std::move(why));
  }
  base::SteadyClock steady;
  const Options::Pace pace = options.pace.value_or(Options::Pace{});
  const base::Clock& clock = pace.clock ? *pace.clock : steady;
  const base::TimePoint deadline = clock.now() + command.timeout;
  if (!pump(completion, command.timeout, pace)) {
    if (stopped()) {
      drop();
      return not_delivered(Transport::aborted, "given up");
    }
    if (clock.now() >= deadline) return time_out(task.get(), completion, command.timeout);
    std::string why = last_error(context.get());
    drop();
    return not_delivered(Transport::connection_lost, std::move(why));
  }
  constexpr int kStatusByte = 0xFF;
  if (completion.status >= 0 && completion.status <= kStatusByte) return delivered(*task, completion.status);
  // SCSI_STATUS_CANCELLED: the connection went away. SCSI_STATUS_ERROR: libiscsi could not read the answer.
  std::string why = last_error(context.get());
  drop();
  return not_delivered(Transport::connection_lost, std::move(why));
}

bool IscsiSession::reset_logical_unit(int lun) {
  Impl& session = *impl_;
  session.stop = {};
  if (session.lost && !session.login()) return false;
  struct Response {
    Completion completion;
    std::uint32_t code = UINT32_MAX;
  } response;
  auto answered = [](iscsi_context*, int status, void* data, void* self) {
    auto* got = static_cast<Response*>(self);
    got->completion = {true, status};
    if (status == SCSI_STATUS_GOOD && data) got->code = *static_cast<std::uint32_t*>(data);
  };
  if (iscsi_task_mgmt_lun_reset_async(session.context.get(), static_cast<std::uint32_t>(lun), answered, &response) != 0)
    return false;
  if (!session.pump(response.completion, kAbortTimeout)) session.drop();
  return response.code == ISCSI_TMR_FUNC_COMPLETE;
}

std::expected<IscsiUrl, std::string> parse_iscsi_url(const std::string& url) {
  Context context(iscsi_create_context("iqn.2026-11.example:odx-client"));
  Url parsed(context ? iscsi_parse_full_url(context.get(), url.c_str()) : nullptr);
  if (!parsed) return std::unexpected("not an iSCSI URL (iscsi://[user%password@]host[:port]/target-name/lun): " + url);
  return IscsiUrl{url, parsed->portal, parsed->target, parsed->user, parsed->lun};
}

IscsiSession::IscsiSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

IscsiSession::~IscsiSession() {
  impl_->stop = {};
  if (impl_->lost || !impl_->context) return;
  Completion completion;
  if (iscsi_logout_async(impl_->context.get(), Completion::callback, &completion) == 0)
    impl_->pump(completion, kLogoutTimeout);
  impl_->context.reset();  // while `completion` can still be called back
}

std::expected<std::shared_ptr<IscsiSession>, std::string> IscsiSession::open(const std::string& url, Options options) {
  auto names = parse_iscsi_url(url);
  if (!names) return std::unexpected(names.error());
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  impl->names = *names;
  impl->url = url;
  impl->isid = std::random_device()() & kRandomIsidMask;
  impl->stop = impl->options.stop;
  if (auto logged_in = impl->login(); !logged_in) return std::unexpected(logged_in.error());
  return std::shared_ptr<IscsiSession>(new IscsiSession(std::move(impl)));
}

void IscsiSession::ping() {
  Pings& pings = impl_->pings;
  if (pings.asked && pings.answered != pings.sent) return;
  pings.asked = true;
  ++pings.sent;  // also where the connection is gone, as its socket will tell
  iscsi_nop_out_async(impl_->context.get(), Pings::callback, nullptr, 0, &pings);
}

bool IscsiSession::ping_answered() const { return impl_->pings.asked && impl_->pings.answered == impl_->pings.sent; }

Result IscsiSession::execute(int lun, const Command& command) { return impl_->execute(lun, command); }

WireCounters IscsiSession::wire() const {
  WireCounters bytes = impl_->connection_bytes();
  return {impl_->earlier.sent + bytes.sent, impl_->earlier.received + bytes.received};
}

}  // namespace initiator
