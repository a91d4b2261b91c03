// The cgroup folders that bind this process: the root's and those of its own group and every ancestor.
#pragma once

#include <functional>
#include <string>

namespace tap {

// Calls `visit` with the folder of each, the root first. `root` is where cgroups are mounted, a parameter for tests.
void for_each_cgroup(const std::string& root, const std::function<void(const std::string& folder)>& visit);

}  // namespace tap
