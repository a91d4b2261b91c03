// AVIF through libavif, opened when the first one comes: single pictures, grids and sequences, on one thread.
#include <cstring>
#include <memory>

#include <avif/avif.h>

#include "base/dynamic_library.h"
#include "base/log.h"
#include "codec/format.h"
#include "codec/pixels.h"

namespace tap::codec {

namespace {

constexpr std::uint32_t max_frames = 100'000;
constexpr const char* soname = AVIF_VERSION_MAJOR >= 1 ? "libavif.so.16" : "libavif.so.15";

struct Library {
  explicit Library(const DynamicLibrary& l)
      : create(l.symbol<decltype(avifDecoderCreate)>("avifDecoderCreate")),
        destroy(l.symbol<decltype(avifDecoderDestroy)>("avifDecoderDestroy")),
        set_memory(l.symbol<decltype(avifDecoderSetIOMemory)>("avifDecoderSetIOMemory")),
        parse(l.symbol<decltype(avifDecoderParse)>("avifDecoderParse")),
        nearest_key_frame(l.symbol<decltype(avifDecoderNearestKeyframe)>("avifDecoderNearestKeyframe")),
        decode(l.symbol<decltype(avifDecoderNthImage)>("avifDecoderNthImage")),
        set_defaults(l.symbol<decltype(avifRGBImageSetDefaults)>("avifRGBImageSetDefaults")),
        to_rgb(l.symbol<decltype(avifImageYUVToRGB)>("avifImageYUVToRGB")),
        text_of(l.symbol<decltype(avifResultToString)>("avifResultToString")),
        codec_name(l.symbol<decltype(avifCodecName)>("avifCodecName")) {
    // The decoder's fields are set and read directly: they have their places in this version only.
    const std::string version = l.symbol<decltype(avifVersion)>("avifVersion")();
    const std::string wanted = fmt::format("{}.{}.", AVIF_VERSION_MAJOR, AVIF_VERSION_MINOR);
    if (!version.starts_with(wanted))
      fail(ErrorCode::unsupported, "{} is version {}: reading AVIF wants {}x", soname, version, wanted);
  }
  decltype(avifDecoderCreate)* create;
  decltype(avifDecoderDestroy)* destroy;
  decltype(avifDecoderSetIOMemory)* set_memory;
  decltype(avifDecoderParse)* parse;
  decltype(avifDecoderNearestKeyframe)* nearest_key_frame;
  decltype(avifDecoderNthImage)* decode;
  decltype(avifRGBImageSetDefaults)* set_defaults;
  decltype(avifImageYUVToRGB)* to_rgb;
  decltype(avifResultToString)* text_of;
  decltype(avifCodecName)* codec_name;
};

// A decoder that has parsed the file's boxes; nothing of the size of the picture is allocated yet.
struct Parsed {
  Parsed(const Library& l, std::span<const std::byte> bytes, const ImageLimits& limits,
         avifCodecChoice choice = AVIF_CODEC_CHOICE_AUTO)
      : library(l), decoder(l.create(), l.destroy) {
    if (!decoder) throw std::bad_alloc();
    decoder->codecChoice = choice;
    decoder->maxThreads = 1;
    decoder->ignoreExif = decoder->ignoreXMP = AVIF_TRUE;  // rotation and mirroring have boxes of their own
    // Up to libavif's own limit the size is for the caller to refuse, with a better message.
    decoder->imageSizeLimit = AVIF_DEFAULT_IMAGE_SIZE_LIMIT;
    decoder->imageDimensionLimit = static_cast<std::uint32_t>(limits.max_edge_px);
    decoder->imageCountLimit = max_frames;
    // Pictures of early writers lack these two, and Pillow reads them.
    decoder->strictFlags = AVIF_STRICT_ENABLED & ~(AVIF_STRICT_CLAP_VALID | AVIF_STRICT_PIXI_REQUIRED);
    result = l.set_memory(decoder.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    if (result == AVIF_RESULT_OK) result = l.parse(decoder.get());
  }
  Error error(std::string_view what) const {
    if (result == AVIF_RESULT_OUT_OF_MEMORY) throw std::bad_alloc();
    std::string reason = library.text_of(result);
    if (decoder->diag.error[0]) reason += fmt::format(" ({})", log::one_line(decoder->diag.error));
    return bad_picture(what, ImageFormat::avif, reason);
  }
  const Library& library;
  std::unique_ptr<avifDecoder, decltype(avifDecoderDestroy)*> decoder;
  avifResult result;
};

// Rotation (irot, quarter turns anticlockwise) and then mirroring (imir) as the EXIF orientation of the same effect.
int orientation_of(const avifImage& image) {
  const bool is_mirrored = (image.transformFlags & AVIF_TRANSFORM_IMIR) != 0;
  const int turns = image.transformFlags & AVIF_TRANSFORM_IROT ? image.irot.angle & 3 : 0;
  const auto axis_of = [](const auto& imir) {  // 0: top and bottom change places; 1: left and right
    if constexpr (requires { imir.axis; })
      return imir.axis;
    else
      return imir.mode;
  };
  constexpr int plain[] = {1, 8, 3, 6}, top_bottom[] = {4, 5, 2, 7}, left_right[] = {2, 7, 4, 5};
  return (!is_mirrored ? plain : axis_of(image.imir) == 0 ? top_bottom : left_right)[turns];
}

double bytes_per_pixel(const avifImage& image, bool has_alpha) {
  const double samples = image.yuvFormat == AVIF_PIXEL_FORMAT_YUV444   ? 3
                         : image.yuvFormat == AVIF_PIXEL_FORMAT_YUV422 ? 2
                         : image.yuvFormat == AVIF_PIXEL_FORMAT_YUV420 ? 1.5
                                                                       : 1;
  return (samples + (has_alpha ? 1 : 0)) * (image.depth > 8 ? 2 : 1);
}

// libaom says nothing about damaged data, where dav1d writes to stderr and libavif cannot forbid it. But libaom holds
// 11 bytes a pixel beside its pictures (measured with 42 million pixels), so the largest pictures are left to dav1d.
constexpr double aom_bytes_per_pixel = 11;

bool takes_aom(const Library& library, const Header& header, const ImageLimits& limits) {
  const double pixels = static_cast<double>(header.info.width) * static_cast<double>(header.info.height);
  return library.codec_name(AVIF_CODEC_CHOICE_AOM, AVIF_CODEC_FLAG_CAN_DECODE) != nullptr &&
         (3 + aom_bytes_per_pixel) * pixels + header.work_bytes <= static_cast<double>(limits.max_memory_bytes);
}

}  // namespace

Result<DynamicLibrary> open_libavif(std::string_view what) {
  return DynamicLibrary::open(soname, fmt::format("{}: reading AVIF", what),
                              AVIF_VERSION_MAJOR >= 1 ? "libavif16" : "libavif15");
}

Result<Header> avif_header(std::span<const std::byte> bytes, std::string_view what, const DecodeOptions& options) {
  const Result<DynamicLibrary> opened = open_libavif(what);
  if (!opened) return opened.error();
  const Library library(*opened);
  const Parsed parsed(library, bytes, options.limits);
  if (parsed.result != AVIF_RESULT_OK) return parsed.error(what);
  const avifDecoder& decoder = *parsed.decoder;
  const avifImage& stored = *decoder.image;
  Header header;
  header.info.format = ImageFormat::avif;
  header.info.width = stored.width;
  header.info.height = stored.height;
  header.info.frames = decoder.imageCount;
  header.info.orientation = orientation_of(stored);
  header.has_alpha = decoder.alphaPresent != AVIF_FALSE;
  const double pixels = static_cast<double>(stored.width) * static_cast<double>(stored.height);
  // The decoder's picture and the one it is copied or put together to; AV1 has eight reference frames.
  const int pictures = decoder.imageCount > 1 ? 10 : 2;
  header.work_bytes = pixels * (bytes_per_pixel(stored, header.has_alpha) * pictures + (header.has_alpha ? 1 : 0));
  if (options.frame > 0 && options.frame < header.info.frames) {
    const std::uint32_t key = library.nearest_key_frame(&decoder, static_cast<std::uint32_t>(options.frame));
    constexpr double cost = 10;  // of a pixel, beside those that are only copied
    header.work_pixels = cost * pixels * static_cast<double>(options.frame - key + 1);
  }
  return header;
}

Result<Image> decode_avif(std::span<const std::byte> bytes, std::string_view what, const Header& header,
                          const DecodeOptions& options) {
  const Result<DynamicLibrary> opened = open_libavif(what);
  if (!opened) return opened.error();
  const Library library(*opened);
  Parsed parsed(library, bytes, options.limits,
                takes_aom(library, header, options.limits) ? AVIF_CODEC_CHOICE_AOM : AVIF_CODEC_CHOICE_AUTO);
  if (parsed.result == AVIF_RESULT_OK)
    parsed.result = library.decode(parsed.decoder.get(), static_cast<std::uint32_t>(options.frame));
  if (parsed.result != AVIF_RESULT_OK) return parsed.error(what);
  const avifImage& stored = *parsed.decoder->image;
  if (stored.width != header.info.width || stored.height != header.info.height)
    return bad_picture(what, ImageFormat::avif, "two headers disagree");
  Image image;
  image.width = header.info.width;
  image.height = header.info.height;
  const auto pixels = static_cast<std::size_t>(image.width * image.height);
  // RGBA first, laid over the background in place; libavif's RGB of a picture with alpha is multiplied by it.
  image.pixels.resize(pixels * (header.has_alpha ? 4 : 3));
  avifRGBImage rgb;
  library.set_defaults(&rgb, &stored);
  rgb.depth = 8;
  rgb.format = header.has_alpha ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
  rgb.pixels = image.pixels.data();
  rgb.rowBytes = static_cast<std::uint32_t>(image.width * (header.has_alpha ? 4 : 3));
  parsed.result = library.to_rgb(&stored, &rgb);
  if (parsed.result != AVIF_RESULT_OK) return parsed.error(what);
  if (header.has_alpha) {
    lay_rgba(image.pixels.data(), pixels, options.background, image.pixels.data());
    image.pixels.resize(pixels * 3);
  }
  return image;
}

}  // namespace tap::codec
