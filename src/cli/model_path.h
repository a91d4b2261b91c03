// Where a model named on the command line lies.
#pragma once

#include <string>

namespace tap::cli {

// The folder of a model: "nano" (the embedded one, beside the executable), a folder, or org/name in the hub cache.
// Throws Error(not_found) saying where it looked and how to get one.
std::string model_folder(const std::string& name);

// The embedded model's folder: share/tapetum/nano of an installation, data/nano of a source tree.
std::string nano_folder();

}  // namespace tap::cli
