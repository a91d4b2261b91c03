// A folder that appears whole or not at all: written beside its place under a temporary name, then renamed.
#pragma once

#include <string>

namespace tap {

class NewFolder {
 public:
  // `path`: not there yet, an empty folder, or one to be replaced. Throws Error when it is a file, or holds something
  // and may not be replaced, or nothing can be made beside it.
  NewFolder(const std::string& path, bool replace);
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  ~NewFolder();  // removes what was not published

  const std::string& place() const { return temporary_; }  // where to write
  void publish();                                          // gives the folder its name; the one that was there goes

 private:
  std::string path_, temporary_;
  bool replace_;
  bool published_ = false;
};

}  // namespace tap
