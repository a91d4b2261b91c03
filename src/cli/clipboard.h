// The desktop's clipboard, through the tool that the desktop has for it.
#pragma once

#include <cstddef>
#include <string>

#include "base/error.h"

namespace tap::cli {

// The picture in the clipboard as a file's bytes (PNG). Errors: no tool installed (names the packages), no picture
// there, more than `limit_bytes`, no answer in ten seconds.
Result<std::string> clipboard_picture(std::size_t limit_bytes);

}  // namespace tap::cli
