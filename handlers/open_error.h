// Why a store could not be opened: a configuration error, thrown once, up to main.
#pragma once

#include <stdexcept>

namespace handlers {

/// what() names the value or path and the rule it breaks.
class OpenError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace handlers
