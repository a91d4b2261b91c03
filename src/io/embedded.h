// The model that comes with tapetum, and which folder a model's name means.
#pragma once

#include <string>

namespace tap {

// The folder of nano. Looked for, in this order: in the folder that TAPETUM_DATA names, beside the library or the
// program as an installation (or a build) lays them out, and where this build is to be installed. Throws
// Error(not_found).
std::string nano_folder();

// The folder of a model: "nano", a folder, or org/name in the local hub cache. Throws Error(not_found) saying where it
// looked and how to get one.
std::string model_folder(const std::string& name);

}  // namespace tap
