// The one EXIF tag that changes pixels: orientation (EXIF 2.32, tag 0x0112).
#pragma once

#include <cstddef>
#include <span>

#include "codec/image.h"

namespace tap {

// `tiff` starts at the byte order mark ("II" or "MM"). Returns 1..8; 1 when the tag is absent, malformed or out of
// range. Only the first directory is read and links are not followed, so nothing can loop.
int exif_orientation(std::span<const std::byte> tiff);

// Turns a stored picture upright: orientation o of pixel rows and columns as the EXIF standard names them. Pictures of
// more than `copied_bytes` are turned in place, slower: two of the default size are what a picture may hold at most.
Image apply_orientation(Image image, int orientation, std::size_t copied_bytes = std::size_t{128} << 20);

}  // namespace tap
