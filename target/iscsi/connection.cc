#include "target/iscsi/connection.h"

#include <algorithm>
#include <cassert>
#include <new>
#include <utility>

#include "base/log.h"
#include "target/iscsi/connection_state.h"
#include "target/iscsi/half_open_logins.h"
#include "target/iscsi/link.h"
#include "target/iscsi/login.h"
#include "target/iscsi/output_queue.h"
#include "target/iscsi/pdu_decoder.h"
#include "target/iscsi/session.h"
#include "target/iscsi/session_registry.h"

namespace iscsi {
namespace {

/// Beyond so much unsent output nothing more is read: a peer that does not take its answers gets no new ones.
constexpr std::uint64_t kMaxUnsentOutput = 16 << 20;
/// Before the login is done: a usual Login Request, or some short ones, so that none does much at once.
constexpr std::size_t kLoginReceive = 1024;

}  // namespace

struct Connection::Impl final : Link {
  Impl(Connection& connection, const ConnectionContext& ctx, ConnectionInfo connection_info,
       ConnectionObserver& the_observer, base::TimePoint now)
      : Link(output),
        self(connection),
        context(ctx),
        info(std::move(connection_info)),
        observer(the_observer),
        login(std::in_place, ctx.directory, ctx.entropy, info.local.portal_group_tag),
        last_received(now),
        login_deadline(now + ctx.directory.limits.login_timeout) {
    decoder.set_receive_limit(kLoginReceive);
    if (!context.sessions.connection_opened()) {
      base::log::warning("{}: refused, {} connections are open", info.peer, context.directory.limits.max_connections);
      surplus = true;
      login_deadline = now;
    }
    half_open = context.sessions.half_open().add([this] {
      half_open.reset();
      lose(false, "gives way: more than max_half_open_logins connections are not logged in");
    });
  }

  ~Impl() {
    // The observer is not told: it is what destroys the connection.
    state = ConnectionState::free;
    *alive = false;
    no_longer_half_open();
    if (session) std::exchange(session, nullptr)->lost(*this, false, "destroyed");
    context.sessions.connection_closed();
  }

  // Link
  void output_added() override {
    in_flight.set(output.size());
    if (!processing) announce();
  }
  std::uint64_t unsent() const override { return output.size(); }
  void stop_reading() override {
    if (full_feature()) enter(ConnectionState::in_logout);
  }
  void finish(bool flush, std::string why) override;
  void end_with_reset() override { reset = true; }
  void request_logout(std::chrono::seconds within) override;
  const std::string& peer() const override { return info.peer; }

  /// Ends the connection, and what the session makes of that follows.
  void lose(bool flush, std::string why);
  void enter(ConnectionState next) {
    assert(is_legal(state, next));
    state = next;
  }
  bool full_feature() const {
    return state == ConnectionState::logged_in || state == ConnectionState::logout_requested;
  }
  bool reads() const {
    bool open = state == ConnectionState::xpt_up || state == ConnectionState::in_login || full_feature();
    return open && !opening && !surplus && output.size() < kMaxUnsentOutput;
  }
  void no_longer_half_open() {
    if (half_open) context.sessions.half_open().remove(*half_open);
    half_open.reset();
  }
  void announce();
  void process();
  void serve(Pdu& pdu, PduDecoder::Result result);
  void serve_login(Pdu& pdu);
  void send_login_response();
  void open_session();
  void session_opened(SessionRegistry::Opened opened);

  Connection& self;
  const ConnectionContext context;
  ConnectionInfo info;
  ConnectionObserver& observer;
  OutputQueue output;
  DataInFlight::Share in_flight{context.sessions.data_in_flight()};
  PduDecoder decoder;
  Pdu pdu;
  ConnectionState state = ConnectionState::xpt_up;
  std::optional<Login> login;
  std::shared_ptr<Session> session;
  std::optional<HalfOpenLogins::Place> half_open;

  bool surplus = false;     // above Limits::max_connections: closed by the first tick
  bool opening = false;     // the login is agreed on; the session waits for another to end
  bool processing = false;  // output is announced once, at the end
  bool announced = false;
  bool reset = false;  // the end is a TCP reset
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);

  base::TimePoint last_received;
  base::TimePoint login_deadline;
  std::optional<base::TimePoint> ping_sent;
  std::optional<base::TimePoint> logout_deadline;
  std::chrono::seconds logout_within{};
};

void Connection::Impl::announce() {
  if (announced || output.empty() || state == ConnectionState::free) return;
  announced = true;
  observer.output_ready(self);
}

void Connection::Impl::finish(bool flush, std::string why) {
  if (state == ConnectionState::free) return;
  base::log::info("{}{}{}: connection ends: {}", info.peer, session ? " " : "",
                  session ? session->identity().initiator_name : std::string(), why);
  enter(ConnectionState::free);
  *alive = false;
  no_longer_half_open();
  session.reset();
  observer.finished(self, flush);
}

void Connection::Impl::lose(bool flush, std::string why) {
  if (std::shared_ptr<Session> mine = session) return mine->lost(*this, flush, std::move(why));
  finish(flush, std::move(why));
}

void Connection::Impl::process() {
  if (processing) return;
  processing = true;
  try {
    while (reads()) {
      PduDecoder::Result result = decoder.next(pdu);
      if (result == PduDecoder::Result::need_more) break;
      serve(pdu, result);
    }
  } catch (const std::bad_alloc&) {
    lose(false, "out of memory");
  }
  processing = false;
  announce();
}

void Connection::Impl::serve(Pdu& received, PduDecoder::Result result) {
  // A PDU may end the session; it stays until the call is over.
  std::shared_ptr<Session> keep = session;
  switch (result) {
    case PduDecoder::Result::need_more: return;
    case PduDecoder::Result::large_data: {
      Places to = session ? session->destination(*this, received) : Places{};
      return to.empty() ? decoder.gather() : decoder.place(std::move(to));
    }
    case PduDecoder::Result::pdu:
      if (!session) return serve_login(received);
      session->receive(*this, received);
      return arriving.clear();
    case PduDecoder::Result::data_digest_error: session->data_digest_failed(*this, received); return arriving.clear();
    case PduDecoder::Result::header_digest_error: return lose(false, "header digest error");
    case PduDecoder::Result::data_too_long:
      if (session) {
        session->reject(*this, received.bhs, RejectReason::protocol_error);
      } else if (state == ConnectionState::in_login) {
        login->refuse(LoginStatus::initiator_error, "a data segment longer than 8192 bytes");
        send_login_response();
      }
      return lose(true, "a data segment longer than MaxRecvDataSegmentLength");
  }
}

void Connection::Impl::serve_login(Pdu& received) {
  auto bhs = header_as<LoginRequestBhs>(received.bhs);
  // DEVIATION: a Login Request is always immediate (RFC 7143, 11.12); without its I bit it is served all the same.
  if (received.bhs.code() != Opcode::login_request) {
    // Before the login: not a word. Within it: a status (RFC 7143, 6.3).
    if (state == ConnectionState::xpt_up) return lose(false, "the first PDU is no Login Request");
    login->refuse(LoginStatus::invalid_during_login, "another request within the login");
    send_login_response();
    return lose(true, "another request within the login");
  }
  if (state == ConnectionState::xpt_up) {
    enter(ConnectionState::in_login);
    stat_sn = StatSn(bhs.exp_stat_sn);
  }
  switch (login->request(bhs, received.data)) {
    case Login::Verdict::respond: return send_login_response();
    case Login::Verdict::complete: return open_session();
    case Login::Verdict::refuse:
      base::log::info("{} {}: login refused, status {:04X}h: {}", info.peer, login->identity().initiator_name,
                      static_cast<unsigned>(login->status()), login->reason());
      send_login_response();
      return lose(true, "login refused");
  }
}

void Connection::Impl::send_login_response() {
  LoginResponseBhs answer = login->response();
  CommandWindow window(CmdSn(login->identity().cmd_sn), std::max(1u, context.directory.limits.command_window));
  const Session* theirs = session ? session.get() : context.sessions.named(login->identity());
  if (theirs) window = theirs->window();
  if (session) answer.tsih = session->tsih();
  answer.exp_cmd_sn = window.expected().value;
  answer.max_cmd_sn = window.max().value;
  answer.stat_sn = stat_sn.value;
  ++stat_sn;
  writer.put(answer, base::bytes_of(login->response_text()));
  output_added();
}

void Connection::Impl::open_session() {
  no_longer_half_open();  // it is agreed on; what it may wait for is ours to end
  opening = true;
  context.sessions.open(context.directory, login->identity(), login->negotiation().parameters(),
                        [this, living = alive](SessionRegistry::Opened opened) {
                          if (*living) return session_opened(std::move(opened));
                          if (opened) (*opened)->end_if_deserted();
                        });
}

void Connection::Impl::session_opened(SessionRegistry::Opened opened) {
  opening = false;
  if (!opened) {
    login->refuse(opened.error(), "no session");
    base::log::info("{} {}: login refused, status {:04X}h", info.peer, login->identity().initiator_name,
                    static_cast<unsigned>(opened.error()));
    send_login_response();
    return lose(true, "login refused");
  }
  session = std::move(*opened);
  session->join(*this, login->identity().cid, login->negotiation(), info.local);
  send_login_response();
  const Parameters& agreed = parameters();
  writer.set_digests(agreed.yes(Key::header_digest), agreed.yes(Key::data_digest));
  decoder.set_digests(agreed.yes(Key::header_digest), agreed.yes(Key::data_digest));
  decoder.set_receive_limit(PduDecoder::kBufferSize);
  decoder.set_max_data_segment_length(context.directory.limits.max_recv_data_segment_length);
  enter(ConnectionState::logged_in);
  const LoginIdentity& identity = session->identity();
  base::log::info("{} {}: logged in to {}, TSIH {}, CID {}", info.peer, identity.initiator_name,
                  identity.target ? identity.target->name : std::string("discovery"), session->tsih(), cid);
  login.reset();
  if (!processing) process();
}

Connection::Connection(const ConnectionContext& context, ConnectionInfo info, ConnectionObserver& observer,
                       base::TimePoint now)
    : impl_(std::make_unique<Impl>(*this, context, std::move(info), observer, now)) {}

Connection::~Connection() = default;

std::size_t Connection::receive_buffers(std::span<iovec> out) {
  return impl_->reads() ? impl_->decoder.receive_buffers(out) : 0;
}

base::MutableBytes Connection::receive_buffer() {
  if (!impl_->reads()) return {};
  return impl_->decoder.receive_buffer();
}

void Connection::received(std::size_t count, base::TimePoint now) {
  impl_->last_received = now;
  impl_->ping_sent.reset();
  impl_->decoder.received(count);
  impl_->process();
}

void Connection::peer_closed() { impl_->lose(false, "closed by the peer"); }

std::size_t Connection::output(std::span<iovec> out) const { return impl_->output.gather(out); }
std::uint64_t Connection::output_size() const { return impl_->output.size(); }

void Connection::sent(std::size_t count) {
  bool read = impl_->reads();
  impl_->output.consume(count);
  impl_->in_flight.set(impl_->output.size());
  if (impl_->output.empty()) impl_->announced = false;
  // What was received before the output grew too long is served now.
  if (!read && impl_->reads()) impl_->process();
}

std::optional<base::TimePoint> Connection::deadline() const {
  const Impl& impl = *impl_;
  const Limits& limits = impl.context.directory.limits;
  switch (impl.state) {
    case ConnectionState::xpt_up:
    case ConnectionState::in_login: return impl.login_deadline;
    case ConnectionState::logged_in:
      if (limits.nop_interval.count() == 0) return std::nullopt;
      return impl.ping_sent ? *impl.ping_sent + limits.nop_timeout : impl.last_received + limits.nop_interval;
    // Not set yet: as soon as possible, so that tick() says what time it is.
    case ConnectionState::logout_requested: return impl.logout_deadline.value_or(base::TimePoint{});
    case ConnectionState::in_logout:
    case ConnectionState::free: return std::nullopt;
  }
  return std::nullopt;
}

void Connection::tick(base::TimePoint now) {
  Impl& impl = *impl_;
  auto due = deadline();
  if (!due || now < *due) return;
  switch (impl.state) {
    case ConnectionState::xpt_up:
    case ConnectionState::in_login: return impl.lose(false, impl.surplus ? "too many connections" : "login timed out");
    case ConnectionState::logged_in:
      if (impl.ping_sent) return impl.lose(false, "no answer to NOP-In");
      impl.ping_sent = now;
      return impl.session->ping(impl);
    case ConnectionState::logout_requested:
      if (impl.logout_deadline) return drop("no logout in the time given");
      impl.logout_deadline = now + impl.logout_within;
      return;
    case ConnectionState::in_logout:
    case ConnectionState::free: return;
  }
}

void Connection::Impl::request_logout(std::chrono::seconds within) {
  if (!full_feature()) return;
  if (state == ConnectionState::logged_in) enter(ConnectionState::logout_requested);
  logout_within = within;
  session->send_async(*this, AsyncEvent::logout_request, static_cast<std::uint16_t>(within.count()));
}

void Connection::request_logout(std::chrono::seconds within) {
  Impl& impl = *impl_;
  if (impl.full_feature()) return impl.request_logout(within);
  if (impl.state == ConnectionState::in_logout) return;
  if (impl.opening) {
    // There is a request to answer: to be tried again, elsewhere or later.
    impl.login->refuse(LoginStatus::service_unavailable, "shutting down");
    impl.send_login_response();
  }
  impl.lose(impl.opening, "shutting down");
}

void Connection::drop(std::string reason) {
  Impl& impl = *impl_;
  bool tell = impl.full_feature();
  if (tell) impl.session->send_async(impl, AsyncEvent::drop_connection, 0);
  impl.lose(tell, std::move(reason));
}

const ConnectionInfo& Connection::info() const { return impl_->info; }
bool Connection::full_feature() const { return impl_->full_feature(); }
bool Connection::ends_with_reset() const { return impl_->reset; }

}  // namespace iscsi
