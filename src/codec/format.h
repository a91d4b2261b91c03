// The decoders behind decode.h, one per format. Inside codec only.
#pragma once

#include "base/dynamic_library.h"
#include "codec/decode.h"

namespace tap::codec {

// Headers without limits applied. The information also says what a decoder needs before it may allocate.
struct Header {
  ImageInfo info;
  int channels = 0;        // as stored
  bool has_alpha = false;  // an alpha channel or tRNS
  bool whole = false;      // interlaced PNG or animated WebP: decoded in several passes over the whole picture
  double least_bytes = 0;  // no valid file of this size and kind is shorter
  double work_bytes = 0;   // what decoding holds beside the RGB pixels (libjpeg counts its own)
  double work_pixels = 0;  // pixels that are drawn on the way to the frame that was asked for
};

using HeaderReader = Result<Header>(std::span<const std::byte> bytes, std::string_view what,
                                    const DecodeOptions& options);
// `header` has passed the limits. Pixels as stored, before the orientation is applied.
using Decoder = Result<Image>(std::span<const std::byte> bytes, std::string_view what, const Header& header,
                              const DecodeOptions& options);

HeaderReader png_header, jpeg_header, gif_header, webp_header, bmp_header, ppm_header, tiff_header, avif_header;
Decoder decode_png, decode_jpeg, decode_gif, decode_webp, decode_bmp, decode_ppm, decode_tiff, decode_avif;

// Opened when their first picture comes. Error(unsupported) where they are not installed.
Result<DynamicLibrary> open_libavif(std::string_view what);
Result<DynamicLibrary> open_libtiff(std::string_view what);

// Scans that a progressive JPEG of so many pixels may have: each one is a pass over the whole picture.
int allowed_scans(Dim pixels, const ImageLimits& limits);

// The error of a damaged or unreadable picture: "roof.gif: GIF: reason".
Error bad_picture(std::string_view what, ImageFormat format, std::string_view reason);

// What bytes that no decoder takes look like ("HEIC", "HTML", "text", ...); empty when nothing is recognised.
// `is_picture` says whether that is a picture format at all.
std::string_view sniff_other(std::span<const std::byte> bytes, bool& is_picture);

}  // namespace tap::codec
