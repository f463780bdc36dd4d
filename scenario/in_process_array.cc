#include "scenario/in_process_array.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <utility>

#include "base/array_clock.h"
#include "scenario/host.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"

namespace scenario {
namespace {

void must(const handlers::IoResult<void>& result, const std::string& what) {
  if (!result) throw ScriptError(fmt::format("{}: {}", what, result.error().reason));
}

/// The document. Throws Refused.
json::value answer_of(const target::control::DirectControl::Reply& reply) {
  boost::system::error_code error;
  json::value document = json::parse(reply.text, error);
  constexpr unsigned kFirstGood = 200, kFirstOther = 300;
  if (reply.status < kFirstGood || reply.status >= kFirstOther) throw Refused(reply.status, document);
  return document;
}

}  // namespace

InProcessArray::InProcessArray(World& world, unsigned number, FileAccess access)
    : ArrayProcess(world, fmt::format("array {}", number)), number_(number), access_(std::move(access)) {}

InProcessArray::~InProcessArray() = default;

void InProcessArray::configure(const json::value& wanted) { config_ = config_from(wanted, access_, number_); }

target::Arrays& InProcessArray::arrays() {
  if (!arrays_) throw ScriptError(fmt::format("{} is stopped", name_));
  return *arrays_;
}

void InProcessArray::start() {
  if (arrays_) throw ScriptError(fmt::format("{} is running", name_));
  arrays_ =
      std::make_unique<target::Arrays>(config_, world_.clock(), world_.timers(), world_.entropy(), world_.executor());
  arrays_->set_journal(&world_.journal());
  ++starts_;
  restore(kept_);
  kept_.clear();
  world_.timeline().add(world_.elapsed(), name_, starts_ == 1 ? "starts" : "starts again");
}

void InProcessArray::stop() {
  target::Arrays& ending = arrays();
  if (std::exchange(stopping_, true)) throw ScriptError(fmt::format("{} is being stopped", name_));
  world_.timeline().add(world_.elapsed(), name_, "stops");
  for (const auto& node : ending.directory().targets) {
    scsi::DeviceServer& server = *node->device_server;
    while (!server.nexuses().empty()) {
      const scsi::NexusId nexus = server.nexuses().begin()->first;
      abort_all(server, nexus);
      server.detach(nexus);
    }
  }
  ending.stop_copies();
  world_.settle();
  for (const std::string& failure : ending.flush()) throw ScriptError(failure);
  kept_ = capture();
  control_.reset();
  arrays_.reset();
  stopping_ = false;
}

ArrayProcess::Content InProcessArray::capture() {
  Content content;
  for (const auto& array : arrays().all()) {
    for (const target::Array::ExportedLun& lun : array->luns()) {
      handlers::BackingStore& store = lun.logical_unit->store();
      if (store.may_block()) continue;  // a file keeps its own
      const handlers::ByteRange all{0, store.size_bytes()};
      auto captured = store.capture(std::span(&all, 1));
      if (!captured) throw ScriptError(fmt::format("{}: {}", lun.config.name, captured.error().reason));
      content[lun.config.name] = *captured;
    }
  }
  return content;
}

void InProcessArray::restore(const Content& content) {
  for (const auto& array : arrays().all()) {
    for (const target::Array::ExportedLun& lun : array->luns()) {
      auto held = content.find(lun.config.name);
      if (held == content.end()) continue;
      handlers::BackingStore& store = lun.logical_unit->store();
      const std::uint64_t length = std::min(store.size_bytes(), held->second->size_bytes());
      must(store.clone(*held->second, {0, length}, 0, nullptr), lun.config.name);
    }
  }
}

void InProcessArray::settle() {
  while (running() && arrays_->reclaim()) {
  }
}

void InProcessArray::abort_all(scsi::DeviceServer& server, scsi::NexusId nexus) {
  auto done = std::make_shared<bool>(false);
  server.abort_all(nexus, [done] { *done = true; });
  while (!*done && world_.step()) {
  }
}

std::unique_ptr<Way> InProcessArray::way(Host& host, const std::string& target, std::uint16_t lun) {
  return std::make_unique<InProcessWay>(world_, host, *this, target, lun);
}

json::value InProcessArray::control(const std::string& method, const std::string& target, const json::value& body) {
  target::Arrays& steered = arrays();
  if (!control_)
    control_ =
        std::make_unique<target::control::DirectControl>(steered, world_.array_clock(), world_.executor(), config_);
  return answer_of(
      control_->request(method, target, body.is_null() ? "" : json::serialize(body), [this] { return world_.step(); }));
}

}  // namespace scenario
