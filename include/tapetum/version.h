// The version of these headers, and of the library they are used with.
#pragma once

#include <string_view>

#define TAPETUM_VERSION_MAJOR 0
#define TAPETUM_VERSION_MINOR 1
#define TAPETUM_VERSION_PATCH 0

// Everything public lives in tap::v1 and is used as tap::Name; the number changes when old programs would break. Only
// names of this namespace leave the library.
namespace tap {
namespace v1 [[gnu::visibility("default")]] {

// The library's own version, "0.1.0": differs from the macros when a program runs with another libtapetum.so than the
// one it was compiled for.
//   std::cout << tap::version() << "\n";
std::string_view version() noexcept;

}  // namespace gnu::visibility("default")]]
using namespace v1;
}  // namespace tap
