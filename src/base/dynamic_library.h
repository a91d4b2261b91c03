// Libraries that few runs need, opened when they are first needed: linking them would add their own start (libcurl 8
// ms, libavif 6 ms) to every run. The headers are there at build time, so that types and names are checked.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"

namespace tap {

class DynamicLibrary {
 public:
  // `soname`: "libcurl.so.4"; `need` and `package` are for the Error (unsupported): "fetching from the network needs
  // libcurl.so.4: install libcurl4".
  static Result<DynamicLibrary> open(const std::string& soname, const std::string& need, const std::string& package);

  // A function of the library, of the type its header declares: `symbol<decltype(curl_easy_init)>("curl_easy_init")`.
  // Throws Error(unsupported) when the library has no such name.
  template <class Function>
  Function* symbol(const char* name) const {
    return reinterpret_cast<Function*>(address(name));
  }

 private:
  explicit DynamicLibrary(std::shared_ptr<void> handle, std::string soname)
      : handle_(std::move(handle)), soname_(std::move(soname)) {}
  void* address(const char* name) const;
  std::shared_ptr<void> handle_;
  std::string soname_;
};

}  // namespace tap
