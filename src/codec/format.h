// The decoders behind decode.h, one per format. Inside codec only.
#pragma once

#include "codec/decode.h"

namespace tap::codec {

// Headers without limits applied. The information also says what a decoder needs before it may allocate.
struct Header {
  ImageInfo info;
  int channels = 0;        // as stored
  bool has_alpha = false;  // PNG: an alpha channel or tRNS
  bool whole = false;      // interlaced PNG or progressive JPEG: decoded in several passes over the whole picture
  double least_bytes = 0;  // no valid file of this size and kind is shorter
};

Result<Header> png_header(std::span<const std::byte> bytes, std::string_view what);
Result<Header> jpeg_header(std::span<const std::byte> bytes, std::string_view what);

// `header` has passed the limits. Pixels as stored, before the orientation is applied.
Result<Image> decode_png(std::span<const std::byte> bytes, std::string_view what, const Header& header,
                         const DecodeOptions& options);
Result<Image> decode_jpeg(std::span<const std::byte> bytes, std::string_view what, const Header& header,
                          const DecodeOptions& options);

// Scans that a progressive JPEG of so many pixels may have: each one is a pass over the whole picture.
int allowed_scans(Dim pixels, const ImageLimits& limits);

// What bytes that are no PNG and no JPEG look like ("GIF", "HTML", "text", ...); empty when nothing is recognised.
// `is_picture` says whether that is a picture format at all.
std::string_view sniff_other(std::span<const std::byte> bytes, bool& is_picture);

}  // namespace tap::codec
