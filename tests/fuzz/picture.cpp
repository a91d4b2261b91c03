// Every picture format: the first bytes choose the decoder. Small limits keep a run short.
#include "codec/decode.h"
#include "fuzz.h"

namespace {

using namespace tap;

void run(fuzz::Bytes bytes) {
  DecodeOptions options;
  options.limits.max_pixels = 1 << 16;
  options.limits.max_edge_px = 4096;
  options.limits.max_file_bytes = 1 << 18;
  options.limits.max_memory_bytes = std::size_t{8} << 20;
  options.limits.max_scans = 10;
  const auto info = probe_image(bytes, "picture", options.limits);
  const auto image = decode_image(bytes, "picture", options);
  if (!info) fuzz::require_readable(info.error());
  if (!image) return fuzz::require_readable(image.error());
  fuzz::require(info.ok(), "a picture that decodes has a header that reads");
  fuzz::require(image->width >= 1 && image->height >= 1 && image->width * image->height <= options.limits.max_pixels,
                "a picture stays within the limits");
  fuzz::require(image->width == info->upright_width() && image->height == info->upright_height(),
                "the header says the size that comes out");
  fuzz::require(image->pixels.size() == static_cast<std::size_t>(image->width * image->height * 3), "3 bytes a pixel");
}

const fuzz::FuzzTarget target("picture", run);

}  // namespace
