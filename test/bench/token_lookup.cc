// What the table of tokens costs by how many there are, without commands and sockets: look-up by identifier, a token
// judged and used (its seal included), making one, and ending one. Tokens are asked for in random order, so that the
// caches hold none of them. Prints one line of JSON; asserts nothing.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <vector>

#include "base/clock.h"
#include "base/entropy.h"
#include "handlers/memory_store.h"
#include "tokens/token_manager.h"

namespace {

using namespace tokens;

double median(std::vector<double> values) {
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double microseconds(auto&& work) {
  auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

class Table {
 public:
  explicit Table(std::size_t count)
      : manager_({.tokens = count + kAsked, .tombstones = count + kAsked}, clock_, entropy_), count_(count) {
    manager_.add_creator({});
    for (std::size_t i = 0; i < count; ++i) all_.push_back(make());
  }

  double find() {
    auto some = chosen();
    std::size_t found = 0;
    double took = microseconds([&] {
      for (const RodToken* token : some)
        found += manager_.find(TokenId{token->copy_manager_rod_token_identifier.value()}).has_value();
    });
    if (found != some.size()) throw std::runtime_error("a token is not found");
    return took / static_cast<double>(some.size());
  }

  double use() {
    auto some = chosen();
    bool good = true;
    double took = microseconds([&] {
      for (const RodToken* token : some) good = good && manager_.use(*token).has_value();
    });
    if (!good) throw std::runtime_error("a token is refused");
    return took / static_cast<double>(some.size());
  }

  /// Of one token more, and its end: as many there are as before.
  std::pair<double, double> create_and_end() {
    std::vector<RodToken> more(kAsked);
    double made = microseconds([&] {
      for (RodToken& token : more) token = make();
    });
    double ended = microseconds([&] {
      for (const RodToken& token : more)
        manager_.delete_by_client(TokenId{token.copy_manager_rod_token_identifier.value()});
    });
    return {made / kAsked, ended / kAsked};
  }

 private:
  static constexpr std::size_t kAsked = 10'000;

  RodToken make() {
    handlers::ByteRange range{next_++ % 1000 * 4096, 4096};
    return *manager_.create(
        {.rod = base::make_ref<const Rod>(RodType::point_in_time_default, *store_.capture({&range, 1}), RodSource{}),
         .inactivity_timeout = std::chrono::seconds(60)});
  }

  std::vector<const RodToken*> chosen() {
    std::vector<const RodToken*> some;
    for (std::size_t i = 0; i < kAsked; ++i) some.push_back(&all_[random_() % count_]);
    return some;
  }

  base::VirtualClock clock_;
  base::SystemEntropy entropy_;
  handlers::MemoryStore store_{std::uint64_t{1} << 30};
  TokenManager manager_;
  std::size_t count_;
  std::size_t next_ = 0;
  std::vector<RodToken> all_;
  std::mt19937_64 random_{1};
};

}  // namespace

int main(int argc, char** argv) try {
  std::size_t tokens = 1000;
  int runs = 5;
  CLI::App app("Measures the table of tokens");
  app.add_option("--tokens", tokens, "alive")->check(CLI::PositiveNumber);
  app.add_option("--runs", runs, "the medians count")->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  Table table(tokens);
  std::vector<double> find, use, create, end;
  for (int run = 0; run < runs; ++run) {
    find.push_back(table.find());
    use.push_back(table.use());
    auto [made, ended] = table.create_and_end();
    create.push_back(made);
    end.push_back(ended);
  }
  fmt::print("{{\"find_us\": {:.3f}, \"use_us\": {:.3f}, \"create_us\": {:.3f}, \"end_us\": {:.3f}}}\n", median(find),
             median(use), median(create), median(end));
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "token_lookup: {}\n", error.what());
  return 1;
}
