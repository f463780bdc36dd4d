// Exit codes of odx; documented in docs/man/odx.1.
#pragma once

namespace cli {

enum ExitCode : int {
  kOk = 0,
  kFailed = 1,        ///< a command or the copy failed; the NTSTATUS says why
  kUsage = 2,         ///< wrong command line
  kNoConnection = 3,  ///< no session with a target
  kNoOdx = 4,         ///< the disk does not offer ODX (STATUS_DEVICE_FEATURE_NOT_SUPPORTED)
};

}  // namespace cli
