// Pictures: HEIC and HEIF through libheif, the others through codec.
#pragma once

#include <cstdint>

#include "codec/image.h"

namespace tap::helper {

// A picture of the file by its index among those that are pictures of their own (0: the primary one), upright, laid on
// white. `count`: how many there are. Throws Refusal.
Image heif_picture(int fd, std::int64_t index, std::int64_t& count);

// A picture of the formats that codec reads, as decode_image gives it. Throws Refusal.
Image coded_picture(int fd, std::int64_t index);

// Before the sandbox: what the libraries read of the system.
void prepare_stills();

}  // namespace tap::helper
