// HEIC and HEIF pictures through libheif.
#pragma once

#include <cstdint>

#include "codec/image.h"

namespace tap::helper {

// A picture of the file by its index among those that are pictures of their own (0: the primary one), upright, laid on
// white. `count`: how many there are. Throws Refusal.
Image heif_picture(int fd, std::int64_t index, std::int64_t& count);

// Before the sandbox: what the library reads of the system.
void prepare_heif();

}  // namespace tap::helper
