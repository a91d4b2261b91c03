#include "base/dynamic_library.h"

#include <dlfcn.h>

namespace tap {

Result<DynamicLibrary> DynamicLibrary::open(const std::string& soname, const std::string& need,
                                            const std::string& package) {
  void* handle = ::dlopen(soname.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return Error(ErrorCode::unsupported, fmt::format("{} needs {}: install {}", need, soname, package), soname);
  // Never closed: such libraries leave threads and exit handlers behind.
  return DynamicLibrary(std::shared_ptr<void>(handle, [](void*) {}), soname);
}

void* DynamicLibrary::address(const char* name) const {
  void* found = ::dlsym(handle_.get(), name);
  if (!found) throw Error(ErrorCode::unsupported, fmt::format("{} has no {}: too old", soname_, name), soname_);
  return found;
}

}  // namespace tap
