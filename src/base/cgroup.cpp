#include "base/cgroup.h"

#include "base/file.h"

namespace tap {

namespace {

// The process's own cgroup below the root (v2 line "0::/path"), so that a limit set on a parent or on it counts.
std::string own_cgroup() {
  const auto text = read_file("/proc/self/cgroup", 1 << 16);
  if (!text.ok()) return "";
  const auto at = text->find("0::/");
  if (at == std::string::npos) return "";
  const auto end = text->find('\n', at);
  return text->substr(at + 3, end == std::string::npos ? std::string::npos : end - at - 3);
}

}  // namespace

void for_each_cgroup(const std::string& root, const std::function<void(const std::string& folder)>& visit) {
  visit(root);
  std::string folder = own_cgroup();
  while (folder.size() > 1) {
    visit(root + folder);
    folder.resize(folder.rfind('/') == std::string::npos ? 0 : folder.rfind('/'));
  }
}

}  // namespace tap
