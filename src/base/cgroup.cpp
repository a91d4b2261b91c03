#include "base/cgroup.h"

#include <algorithm>

#include "base/file.h"

namespace tap {

namespace {

// Visits a cgroup and its ancestors below `root`, so that a limit set on any of them counts.
void visit_up(const std::string& root, std::string folder, const std::function<void(const std::string&)>& visit) {
  while (folder.size() > 1) {
    visit(root + folder);
    folder.resize(folder.rfind('/'));
  }
}

}  // namespace

void for_each_cgroup(const std::string& root, const std::function<void(const std::string& folder)>& visit) {
  visit(root);
  const auto text = read_file("/proc/self/cgroup", 1 << 16);
  if (!text.ok()) return;
  // Lines "0::/path" (v2) and "4:memory:/path" (v1, each controller mounted in a folder of its name).
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find('\n', at), text->size());
    const std::string line = text->substr(at, end - at);
    at = end + 1;
    const std::size_t name = line.find(':') + 1, path = line.find(":/", name);
    if (name == 0 || path == std::string::npos) continue;
    const std::string controller = line.substr(name, path - name);
    visit_up(controller.empty() ? root : root + "/" + controller, line.substr(path + 1), visit);
  }
}

}  // namespace tap
