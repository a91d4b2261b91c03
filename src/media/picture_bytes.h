// Pictures by URL, and of any kind that is known here, also those that the media helper reads.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "codec/decode.h"
#include "io/fetch.h"

namespace tap {

// The bytes that an http:, https: or data: URL of a picture stands for. Throws Error naming it: bad_input for another
// scheme or type, what fetching throws.
std::string picture_url_bytes(const std::string& url, const FetchOptions& fetching);

// decode_image, or what the helper makes of HEIC. Throws Error naming `what`.
Image decode_picture(std::span<const std::byte> bytes, const std::string& what, const DecodeOptions& options = {});

}  // namespace tap
