// Why a file cannot be read; the program puts its name before it.
#pragma once

#include <string>

#include "codec/media_protocol.h"

namespace tap::helper {

struct Refusal {
  media_protocol::Status status;
  std::string why;
};

}  // namespace tap::helper
