// The files of the page at "/" (src/server/page), which the build puts into the program.
#pragma once

#include <span>
#include <string_view>

namespace tap::server {

struct PageFile {
  std::string_view path, type, text;  // "/page.js"
};

std::span<const PageFile> page_files();

}  // namespace tap::server
