// The entry point of every unit test executable. The log is off, so that what a failing test says can be found;
// ODX_TEST_LOG=1 in the environment turns it on.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>

#include "base/log.h"

int main(int argc, char** argv) {
  base::log::set_level(std::getenv("ODX_TEST_LOG") != nullptr ? base::log::Level::debug : base::log::Level::off);
  return doctest::Context(argc, argv).run();
}
