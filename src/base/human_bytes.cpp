#include "base/human_bytes.h"

#include <fmt/format.h>

namespace tap {

std::string human_bytes(double bytes) {
  for (const char* unit : {"B", "KB", "MB", "GB"}) {
    if (bytes < 1000 || unit[0] == 'G')
      return fmt::format("{:.{}f} {}", bytes, unit[0] == 'B' || bytes >= 100 ? 0 : 1, unit);
    bytes /= 1000;
  }
  return "";
}

}  // namespace tap
