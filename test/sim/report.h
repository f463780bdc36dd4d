// What a run did: how often each operation ended how, which faults were set and met, and what else is worth knowing
// about how far it went. Thread: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace sim {

class Report {
 public:
  /// One operation and its end: "good", "aborted", or the sense data in short.
  void ended(const std::string& operation, const std::string& outcome) { ++operations_[operation][outcome]; }
  void fault_set(const std::string& fault) { ++faults_set_[fault]; }
  void call_failed(const std::string& call) { ++calls_failed_[call]; }
  void count(const std::string& what, std::uint64_t by = 1) { counts_[what] += by; }
  void at_least(const std::string& what, std::uint64_t value) {
    counts_[what] = counts_[what] > value ? counts_[what] : value;
  }
  void print() const;
  std::uint64_t operations() const;

 private:
  std::map<std::string, std::map<std::string, std::uint64_t>> operations_{};
  std::map<std::string, std::uint64_t> faults_set_{}, calls_failed_{};
  std::map<std::string, std::uint64_t> counts_{};
};

}  // namespace sim
