// Runs seeded simulations of an array against a model of blocks and tokens, and says what they did.
#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "test/sim/simulation.h"

namespace {

/// What is run when no seed is named. Fresh ones are for whoever asks for them (--seconds): what they find needs a
/// person.
constexpr std::uint64_t kSeeds[] = {1, 2, 3, 4, 5, 6};
constexpr std::uint64_t kSteps = 6000;

struct Options {
  std::vector<std::uint64_t> seeds{};
  std::uint64_t steps = kSteps;
  std::uint64_t seconds = 0;  ///< go on with fresh seeds for so long
};

[[noreturn]] void usage() {
  fmt::print(stderr, "usage: test_sim [--seed N]... [--steps N] [--seconds N]\n");
  std::exit(2);
}

Options options_of(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    std::string_view name = argv[i];
    std::uint64_t value = 0;
    if (i + 1 >= argc) usage();
    const char* end = argv[i + 1] + std::strlen(argv[i + 1]);
    if (std::from_chars(argv[i + 1], end, value).ptr != end) usage();
    if (name == "--seed") {
      options.seeds.push_back(value);
    } else if (name == "--steps") {
      options.steps = value;
    } else if (name == "--seconds") {
      options.seconds = value;
    } else {
      usage();
    }
  }
  return options;
}

/// Whether the array and the model agreed to the end.
bool run(sim::RunOptions options, sim::Report& report) {
  auto simulation = std::make_unique<sim::Simulation>(options, report);
  try {
    simulation->run();
    return true;
  } catch (const std::exception& error) {
    for (const std::string& event : simulation->last_events()) fmt::print("  {}\n", event);
    for (const std::string& operation : simulation->in_flight()) fmt::print("  in flight: {}\n", operation);
    fmt::print("seed {}: {}\nrun it again: test_sim --seed {} --steps {}\n", options.seed, error.what(), options.seed,
               options.steps);
    // Never destroyed: what is in flight has no end that the array and the model agree on.
    static_cast<void>(simulation.release());
    return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  base::log::set_level(std::getenv("ODX_TEST_LOG") != nullptr ? base::log::Level::debug : base::log::Level::off);
  Options options = options_of(argc, argv);
  sim::Report report;
  std::uint64_t passed = 0, failed = 0;
  auto run_one = [&](std::uint64_t seed) { ++(run({seed, options.steps}, report) ? passed : failed); };

  std::random_device fresh;
  if (options.seeds.empty()) options.seeds.assign(std::begin(kSeeds), std::end(kSeeds));
  for (std::uint64_t seed : options.seeds) run_one(seed);
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(options.seconds);
  while (std::chrono::steady_clock::now() < end && failed == 0) run_one(fresh());

  report.print();
  std::string seeds;
  for (std::uint64_t seed : options.seeds) seeds += fmt::format(" {}", seed);
  fmt::print("seeds:{}, then {} fresh ones; {} operations\n", seeds, passed + failed - options.seeds.size(),
             report.operations());
  fmt::print("{} passed, {} failed, 0 skipped\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
