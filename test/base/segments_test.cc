// Not tested, and why: nothing known.
#include "base/segments.h"

#include <doctest/doctest.h>

using namespace base;

namespace {

struct Counted final : RefCounted {
  explicit Counted(int& alive) : alive_(alive) { ++alive_; }
  ~Counted() override { --alive_; }
  int& alive_;
};

}  // namespace

TEST_CASE("a reference keeps its object until the last one is gone") {
  int alive = 0;
  {
    auto first = make_ref<Counted>(alive);
    CHECK(first->unique());
    Ref<Counted> second = first;
    CHECK_FALSE(first->unique());
    first = {};
    CHECK(alive == 1);
    CHECK(second->unique());
  }
  CHECK(alive == 0);
}

TEST_CASE("segments keep their owners until cleared or truncated away") {
  int alive = 0;
  static const std::uint8_t text[] = {1, 2, 3, 4};
  Segments segments;
  segments.append(Bytes(text), make_ref<Counted>(alive));
  segments.append(Bytes(text).first(2), make_ref<Counted>(alive));
  segments.append_zeros(3);
  CHECK(segments.size() == 9);
  CHECK(segments.to_vector() == std::vector<std::uint8_t>{1, 2, 3, 4, 1, 2, 0, 0, 0});
  std::vector<std::uint8_t> middle(4);
  segments.copy_to(3, middle);
  CHECK(middle == std::vector<std::uint8_t>{4, 1, 2, 0});
  segments.truncate(4);
  CHECK(alive == 1);
  segments.truncate(3);
  CHECK(segments.to_vector() == std::vector<std::uint8_t>{1, 2, 3});
  segments.truncate(0);
  CHECK(alive == 0);
  CHECK(segments.empty());
}

TEST_CASE("zeros may be longer than the page they come from") {
  Segments segments;
  segments.append_zeros(1'000'000);
  CHECK(segments.size() == 1'000'000);
  CHECK(segments.to_vector() == std::vector<std::uint8_t>(1'000'000));
}
