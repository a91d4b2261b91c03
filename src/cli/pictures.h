// Pictures as the command line names them.
#pragma once

#include <memory>
#include <string>

#include "cli/options.h"
#include "codec/image.h"

namespace tap::cli {

// The picture of a file, of an http:, https: or data: URL, or of stdin when `source` is "-". Throws Error naming the source.
std::shared_ptr<const Image> load_picture(const std::string& source, const Options& options);

}  // namespace tap::cli
