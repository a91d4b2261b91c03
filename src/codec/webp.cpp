// WebP through libwebp: single pictures straight to their rows, animations through its WebPAnimDecoder, as Pillow.
#include <cstring>
#include <memory>

#include <webp/decode.h>
#include <webp/demux.h>

#include "codec/exif.h"
#include "codec/format.h"
#include "codec/pixels.h"

namespace tap::codec {

namespace {

using Demuxer = std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)>;
using Animation = std::unique_ptr<WebPAnimDecoder, decltype(&WebPAnimDecoderDelete)>;

WebPData data_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

int orientation_of(const WebPDemuxer* demuxer) {
  WebPChunkIterator chunk;
  if (!WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk)) return 1;
  std::span<const std::byte> exif = std::as_bytes(std::span(chunk.chunk.bytes, chunk.chunk.size));
  if (exif.size() > 6 && std::memcmp(exif.data(), "Exif\0\0", 6) == 0) exif = exif.subspan(6);  // some writers' prefix
  const int orientation = exif_orientation(exif);
  WebPDemuxReleaseChunkIterator(&chunk);
  return orientation;
}

bool read_features(std::span<const std::byte> bytes, WebPBitstreamFeatures* features) {
  return WebPGetFeatures(data_of(bytes).bytes, bytes.size(), features) == VP8_STATUS_OK;
}

std::string_view reason_of(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY: return "no memory to decode it";
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED: return "the file ends before the picture does";
    case VP8_STATUS_UNSUPPORTED_FEATURE: return "a feature that libwebp cannot read";
    default: return "damaged data";
  }
}

Result<Image> decode_single(std::span<const std::byte> bytes, std::string_view what, const Header& header,
                            const DecodeOptions& options) {
  Image image;
  image.width = header.info.width;
  image.height = header.info.height;
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) return bad_picture(what, ImageFormat::webp, "libwebp is of another version");
  const bool keep_alpha = header.has_alpha && options.background;
  const auto pixels = static_cast<std::size_t>(image.width * image.height);
  image.pixels.resize(pixels * (keep_alpha ? 4 : 3));  // RGBA is laid over the background in place
  config.output.colorspace = keep_alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = image.pixels.data();
  config.output.u.RGBA.stride = static_cast<int>(image.width * (keep_alpha ? 4 : 3));
  config.output.u.RGBA.size = image.pixels.size();
  const VP8StatusCode status = WebPDecode(data_of(bytes).bytes, bytes.size(), &config);
  WebPFreeDecBuffer(&config.output);
  if (status == VP8_STATUS_OUT_OF_MEMORY) throw std::bad_alloc();
  if (status != VP8_STATUS_OK) return bad_picture(what, ImageFormat::webp, reason_of(status));
  if (keep_alpha) {
    lay_rgba(image.pixels.data(), pixels, options.background, image.pixels.data());
    image.pixels.resize(pixels * 3);
  }
  return image;
}

}  // namespace

Result<Header> webp_header(std::span<const std::byte> bytes, std::string_view what, const DecodeOptions& options) {
  WebPBitstreamFeatures features;
  if (!read_features(bytes, &features))
    return bad_picture(what, ImageFormat::webp, "the header is damaged, or the file ends inside it");
  const WebPData data = data_of(bytes);
  const Demuxer demuxer(WebPDemux(&data), WebPDemuxDelete);
  if (!demuxer) return bad_picture(what, ImageFormat::webp, "the file is cut, or its chunks make no sense");
  Header header;
  header.info.format = ImageFormat::webp;
  header.info.width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  header.info.height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  header.info.frames = WebPDemuxGetI(demuxer.get(), WEBP_FF_FRAME_COUNT);
  header.info.orientation = orientation_of(demuxer.get());
  header.has_alpha = features.has_alpha != 0;
  header.whole = features.has_animation != 0;
  const double pixels = static_cast<double>(header.info.width) * static_cast<double>(header.info.height);
  constexpr int lossy = 1;
  // An animation has two RGBA canvases; lossless pixels and the alpha of lossy ones are unpacked to 4 bytes each.
  header.work_bytes = pixels * (header.whole ? 10 : features.format != lossy ? 5 : header.has_alpha ? 6 : 0);
  const auto frame = static_cast<double>(options.frame);
  // Each frame copies the canvas twice and is found by walking the list of frames.
  if (header.whole) header.work_pixels = (frame + 1) * pixels * 2 + frame * frame / 2;
  return header;
}

Result<Image> decode_webp(std::span<const std::byte> bytes, std::string_view what, const Header& header,
                          const DecodeOptions& options) {
  if (!header.whole) return decode_single(bytes, what, header, options);
  WebPAnimDecoderOptions how;
  const WebPData data = data_of(bytes);
  if (!WebPAnimDecoderOptionsInit(&how)) return bad_picture(what, ImageFormat::webp, "libwebp is of another version");
  how.color_mode = MODE_RGBA;
  how.use_threads = 0;
  const Animation animation(WebPAnimDecoderNew(&data, &how), WebPAnimDecoderDelete);
  if (!animation) throw std::bad_alloc();  // the header has been demuxed before
  std::uint8_t* canvas = nullptr;
  for (Dim i = 0; i <= options.frame; ++i)
    if (int time_ms = 0; !WebPAnimDecoderGetNext(animation.get(), &canvas, &time_ms))
      return bad_picture(what, ImageFormat::webp, fmt::format("the pixels of frame {} are damaged or cut", i));
  Image image(header.info.width, header.info.height);
  lay_rgba(canvas, static_cast<std::size_t>(image.width * image.height),
           header.has_alpha ? options.background : Background(), image.pixels.data());
  return image;
}

}  // namespace tap::codec
