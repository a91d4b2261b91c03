#include "cli/model_path.h"

#include <array>
#include <climits>
#include <cstdlib>

#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "io/hub.h"

namespace tap::cli {

namespace {

std::string executable_folder() {
  char buffer[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", buffer, sizeof buffer - 1);
  if (n <= 0) return ".";
  const std::string path(buffer, static_cast<std::size_t>(n));
  return path.substr(0, path.rfind('/'));
}

}  // namespace

std::string nano_folder() {
  // bin/../share/tapetum/nano, installed or in the build tree (there a link to data/nano).
  const std::string folder = executable_folder() + "/../share/tapetum/nano";
  if (!file_exists(folder + "/config.json"))
    throw Error(ErrorCode::not_found,
                fmt::format("the embedded model is not at {}: reinstall tapetum, or name a model with -m", folder),
                "nano");
  char resolved[PATH_MAX];
  return ::realpath(folder.c_str(), resolved) ? std::string(resolved) : folder;
}

std::string model_folder(const std::string& name) {
  if (name == "nano") return nano_folder();
  return resolve_model(name, HubEnv::from_environment()).value();
}

}  // namespace tap::cli
