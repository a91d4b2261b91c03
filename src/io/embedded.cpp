#include "io/embedded.h"

#include <climits>
#include <cstdlib>
#include <vector>

#include <dlfcn.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "io/hub.h"

namespace tap {

namespace {

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

// The shared library that this code is in, or empty when it is part of the program (whose dli_fname is only argv[0]).
std::string library_path() {
  Dl_info info;
  if (::dladdr(reinterpret_cast<const void*>(&nano_folder), &info) == 0 || !info.dli_fname) return {};
  const std::string path = info.dli_fname;
  return path.find(".so") != std::string::npos && path.find('/') != std::string::npos ? path : std::string();
}

std::string program_path() {
  char buffer[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", buffer, sizeof buffer);
  return n > 0 && n < PATH_MAX ? std::string(buffer, static_cast<std::size_t>(n)) : std::string();
}

// Folders that may hold `nano`, best first.
std::vector<std::string> data_folders() {
  std::vector<std::string> all;
  if (const char* named = std::getenv("TAPETUM_DATA"); named && *named) all.emplace_back(named);
  if (const std::string library = library_path(); !library.empty())
    all.push_back(folder_of(library) + "/" TAPETUM_DATA_FROM_LIB);
  if (const std::string program = program_path(); !program.empty())
    all.push_back(folder_of(program) + "/" TAPETUM_DATA_FROM_BIN);
  all.emplace_back(TAPETUM_DATA_INSTALLED);
  return all;
}

}  // namespace

std::string nano_folder() {
  std::string looked_at;
  for (const std::string& data : data_folders()) {
    const std::string folder = data + "/nano";
    char resolved[PATH_MAX];
    if (file_exists(folder + "/config.json"))
      return ::realpath(folder.c_str(), resolved) ? std::string(resolved) : folder;
    looked_at += (looked_at.empty() ? "" : ", ") + folder;
  }
  throw Error(ErrorCode::not_found,
              fmt::format("the embedded model is not at {}: reinstall tapetum, set TAPETUM_DATA to the folder that "
                          "holds nano, or name another model",
                          looked_at),
              "nano");
}

std::string model_folder(const std::string& name) {
  return name == "nano" ? nano_folder() : resolve_model(name, HubEnv::from_environment()).value();
}

}  // namespace tap
