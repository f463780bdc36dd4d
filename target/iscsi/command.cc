#include "target/iscsi/command.h"

#include <bit>
#include <cassert>

namespace iscsi {

void Command::recycle() {
  Task::reset();
  phase = Phase::serving;
  link = nullptr;
  immediate = read = write = in_call = unsolicited_open = false;
  expected_length = wanted = unsolicited = unsolicited_data_sn = solicited = next_offset = r2t_sn = 0;
  r2ts.clear();
  memory.clear();
  in_flight = 0;
  reading = 0;
  charged = 0;
}

CommandSet::CommandSet(std::size_t expected) : slots_(std::bit_ceil(expected * 2 + 2)) { all_.reserve(expected); }

std::size_t CommandSet::home(std::uint32_t tag) const {
  // Fibonacci hashing: tags are counters or table indexes, so that their low bits alone would do, mostly.
  constexpr std::uint32_t kGolden = 0x9E3779B9;
  return (tag * kGolden) / 65536 & (slots_.size() - 1);
}

Command* CommandSet::find(std::uint32_t initiator_task_tag) const {
  for (std::size_t i = home(initiator_task_tag); slots_[i]; i = (i + 1) & (slots_.size() - 1))
    if (slots_[i]->tag == initiator_task_tag) return slots_[i];
  return nullptr;
}

Command& CommandSet::take(std::uint32_t initiator_task_tag) {
  assert(!find(initiator_task_tag));
  if (!free_) {
    all_.push_back(std::make_unique<Command>());
    free_ = all_.back().get();
  }
  Command& command = *free_;
  free_ = command.next_free;
  command.next_free = nullptr;
  command.tag = initiator_task_tag;
  if ((size_ + 1) * 2 > slots_.size()) grow();
  insert(command);
  ++size_;
  return command;
}

void CommandSet::insert(Command& command) {
  std::size_t i = home(command.tag);
  while (slots_[i]) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = &command;
}

void CommandSet::grow() {
  std::vector<Command*> old = std::move(slots_);
  slots_.assign(old.size() * 2, nullptr);
  for (Command* command : old)
    if (command) insert(*command);
}

void CommandSet::release(Command& command) {
  std::size_t mask = slots_.size() - 1;
  std::size_t hole = home(command.tag);
  while (slots_[hole] != &command) hole = (hole + 1) & mask;
  // Whatever follows in the same run and may stand in the hole moves up, so that probing never meets a gap.
  for (std::size_t i = (hole + 1) & mask; slots_[i]; i = (i + 1) & mask) {
    std::size_t distance_home = (i - home(slots_[i]->tag)) & mask;
    if (distance_home >= ((i - hole) & mask)) {
      slots_[hole] = slots_[i];
      hole = i;
    }
  }
  slots_[hole] = nullptr;
  --size_;
  command.recycle();
  command.next_free = free_;
  free_ = &command;
}

}  // namespace iscsi
