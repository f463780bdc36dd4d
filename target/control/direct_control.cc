#include "target/control/direct_control.h"

#include "target/control/route.h"
#include "target/control/steered.h"
#include "target/event_loop.h"

namespace target::control {

struct DirectControl::Impl {
  Impl(Arrays& arrays, base::ArrayClock& clock, base::Executor& executor, const Config& started)
      : sessions(arrays.directory().limits),
        snapshots(arrays, clock, executor),
        reporter(arrays, clock, executor),
        steered{arrays, sessions, snapshots, reporter, clock, loop, executor, started, {}},
        dispatcher(routes(), steered) {
    steered.ready = true;
  }

  EventLoop loop{1};  // for what waits by real time: nothing runs it
  iscsi::SessionRegistry sessions;
  Snapshots snapshots;
  StatusReporter reporter;
  Steered steered;
  Dispatcher dispatcher;
};

DirectControl::DirectControl(Arrays& arrays, base::ArrayClock& clock, base::Executor& executor, const Config& started)
    : impl_(std::make_unique<Impl>(arrays, clock, executor, started)) {}
DirectControl::~DirectControl() = default;

DirectControl::Reply DirectControl::request(const std::string& method, const std::string& target,
                                            const std::string& body, const std::function<bool()>& step) const {
  Request request{.method = method, .target = target, .body = body};
  if (!body.empty()) request.content_type = "application/json";
  Answer answer = impl_->dispatcher.answer(request);
  if (!answer.begin) return {answer.response.status, std::move(answer.response.body)};
  auto late = std::make_shared<Reply>();
  answer.begin([late](Response response) { *late = {response.status, std::move(response.body)}; });
  while (late->status == 0 && step()) {
  }
  return *late;
}

}  // namespace target::control
