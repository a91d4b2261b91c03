#include "helper/still.h"

#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <libheif/heif.h>
#include <unistd.h>

#include "codec/decode.h"
#include "codec/pixels.h"
#include "helper/refusal.h"

namespace tap::helper {

namespace {

using media_protocol::Status;

constexpr std::int64_t most_bytes = std::int64_t{256} << 20;
constexpr int most_pictures = 1000;

void require(const heif_error& error, const char* what) {
  if (error.code == heif_error_Ok) return;
  const bool unknown = error.code == heif_error_Unsupported_filetype || error.code == heif_error_Unsupported_feature;
  throw Refusal{unknown ? Status::unsupported : Status::bad_file,
                std::string(what) + ": " + (error.message ? error.message : "unknown reason")};
}

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* value) const {
    Free(value);
  }
};

std::vector<std::uint8_t> whole_file(int fd) {
  const std::int64_t size = ::lseek(fd, 0, SEEK_END);
  if (size <= 0 || size > most_bytes)
    throw Refusal{size > most_bytes ? Status::limit : Status::bad_file,
                  std::to_string(size) + " bytes; the limit is " + std::to_string(most_bytes)};
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(size));
  for (std::int64_t at = 0; at < size;) {
    const ssize_t got = ::pread(fd, bytes.data() + at, static_cast<std::size_t>(size - at), at);
    if (got <= 0) throw Refusal{Status::bad_file, "cannot be read"};
    at += got;
  }
  return bytes;
}

Status status_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::unsupported: return Status::unsupported;
    case ErrorCode::limit:
    case ErrorCode::out_of_memory: return Status::limit;
    case ErrorCode::internal: return Status::failed;
    default: return Status::bad_file;
  }
}

}  // namespace

void prepare_stills() {
  heif_init(nullptr);
  open_late_libraries();
}

Image coded_picture(int fd, std::int64_t index) {
  const std::vector<std::uint8_t> bytes = whole_file(fd);
  constexpr std::string_view what = "picture";  // the program puts its own name there
  try {
    DecodeOptions options;
    options.frame = index;
    return decode_image(std::as_bytes(std::span(bytes)), what, options).value();
  } catch (const Error& error) {
    const std::string_view why = error.message();
    const bool named = why.starts_with(what) && why.substr(what.size()).starts_with(": ");
    throw Refusal{status_of(error), std::string(named ? why.substr(what.size() + 2) : why)};
  }
}

Image heif_picture(int fd, std::int64_t index, std::int64_t& count) {
  std::vector<std::uint8_t> bytes = whole_file(fd);
  const std::unique_ptr<heif_context, Freed<heif_context_free>> context(heif_context_alloc());
  if (!context) throw std::bad_alloc();
  heif_context_set_max_decoding_threads(context.get(), 0);
  heif_context_set_maximum_image_size_limit(context.get(), static_cast<int>(media_protocol::most_edge));
  require(heif_context_read_from_memory_without_copy(context.get(), bytes.data(), bytes.size(), nullptr),
          "is no HEIF picture");
  count = heif_context_get_number_of_top_level_images(context.get());
  if (count < 1) throw Refusal{Status::bad_file, "holds no picture"};
  if (count > most_pictures) throw Refusal{Status::limit, "holds more than 1000 pictures"};
  heif_image_handle* raw = nullptr;
  if (index == 0) {
    require(heif_context_get_primary_image_handle(context.get(), &raw), "has no picture to show");
  } else {
    std::vector<heif_item_id> ids(static_cast<std::size_t>(count));
    heif_context_get_list_of_top_level_image_IDs(context.get(), ids.data(), static_cast<int>(count));
    heif_item_id primary = 0;
    require(heif_context_get_primary_image_ID(context.get(), &primary), "has no picture to show");
    std::erase(ids, primary);
    if (index < 0 || index > static_cast<std::int64_t>(ids.size()))
      throw Refusal{Status::bad_file, "has no picture " + std::to_string(index) + ": it holds " +
                                          std::to_string(count) + ", counted from 0"};
    require(heif_context_get_image_handle(context.get(), ids[static_cast<std::size_t>(index - 1)], &raw),
            "a picture cannot be read");
  }
  const std::unique_ptr<heif_image_handle, Freed<heif_image_handle_release>> handle(raw);
  const std::int64_t width = heif_image_handle_get_width(raw), height = heif_image_handle_get_height(raw);
  if (width < 1 || height < 1 || width > media_protocol::most_edge || height > media_protocol::most_edge ||
      width * height > media_protocol::most_pixels)
    throw Refusal{Status::limit, std::to_string(width) + "x" + std::to_string(height) + " pixels; the limit is " +
                                     std::to_string(media_protocol::most_pixels)};
  heif_image* decoded = nullptr;
  require(heif_decode_image(raw, &decoded, heif_colorspace_RGB, heif_chroma_interleaved_RGBA, nullptr),
          "cannot be decoded");
  const std::unique_ptr<heif_image, Freed<heif_image_release>> image(decoded);
  int stride = 0;
  const std::uint8_t* rows = heif_image_get_plane_readonly(decoded, heif_channel_interleaved, &stride);
  const std::int64_t w = heif_image_get_width(decoded, heif_channel_interleaved),
                     h = heif_image_get_height(decoded, heif_channel_interleaved);
  if (!rows || w < 1 || h < 1 || w > media_protocol::most_edge || h > media_protocol::most_edge || stride < 4 * w)
    throw Refusal{Status::bad_file, "cannot be decoded"};
  Image out(w, h);
  constexpr std::array<std::uint8_t, 3> white{255, 255, 255};
  for (std::int64_t y = 0; y < h; ++y)
    codec::lay_rgba(rows + y * stride, static_cast<std::size_t>(w), white, out.row(y));
  return out;
}

}  // namespace tap::helper
