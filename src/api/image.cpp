#include "api/internal.h"

#include <algorithm>

namespace tap::v1 {

namespace {

DecodeOptions decode_options(const ImageOptions& options) {
  DecodeOptions decode;
  decode.background = options.background;
  decode.frame = options.frame;
  return decode;
}

}  // namespace

Image Image::load(const std::string& path, const ImageOptions& options) {
  return api::guarded([&] {
    if (path == "-") fail(tap::ErrorCode::not_found, "-: no such picture; decode() takes bytes");
    return api::Access::image(load_image(path, decode_options(options)).value());
  });
}

Image Image::decode(std::span<const std::byte> bytes, std::string_view name, const ImageOptions& options) {
  return api::guarded([&] { return api::Access::image(decode_image(bytes, name, decode_options(options)).value()); });
}

Image Image::fetch(const std::string& url, const ImageOptions& options, bool allow_private) {
  return api::guarded([&] {
    FetchOptions fetching;
    fetching.max_bytes = ImageLimits{}.max_file_bytes;
    fetching.allow_private = allow_private;
    const std::string bytes = picture_url_bytes(url, fetching), name = shortened_url(url);
    return api::Access::image(decode_picture(std::as_bytes(std::span(bytes)), name, decode_options(options)));
  });
}

Image Image::from_rgb(std::int64_t width, std::int64_t height, std::span<const std::uint8_t> rgb) {
  return api::guarded([&] {
    const ImageLimits limits;
    if (width < 1 || height < 1)
      fail(tap::ErrorCode::usage, "a picture of {}x{}: both must be at least 1", width, height);
    if (width > limits.max_edge_px || height > limits.max_edge_px || width * height > limits.max_pixels)
      fail(tap::ErrorCode::limit, "a picture of {}x{}: at most {} pixels an edge and {} in all", width, height,
           limits.max_edge_px, limits.max_pixels);
    if (rgb.size() != static_cast<std::size_t>(width * height * 3))
      fail(tap::ErrorCode::usage, "{} bytes for a picture of {}x{}: must be {} (3 each pixel)", rgb.size(), width,
           height, width * height * 3);
    tap::Image image(width, height);
    std::ranges::copy(rgb, image.pixels.begin());
    return api::Access::image(std::move(image));
  });
}

std::int64_t Image::width() const noexcept { return picture_->image.width; }
std::int64_t Image::height() const noexcept { return picture_->image.height; }
std::span<const std::uint8_t> Image::rgb() const noexcept { return picture_->image.pixels; }

std::vector<std::byte> Image::png() const {
  return api::guarded([&] { return encode_png(picture_->image); });
}

void Image::save(const std::string& path) const {
  api::guarded([&] { write_file_atomic(path, std::span<const std::byte>(encode_png(picture_->image))); });
}

Image draw(const Image& image, std::span<const Detection> detections) {
  return api::guarded([&] {
    tap::Image drawn = *api::Access::picture(image);
    std::vector<tap::Detection> all;
    for (const Detection& d : detections) {
      tap::Detection& one = all.emplace_back();
      one.label = d.label;
      one.box = {d.box.x1, d.box.y1, d.box.x2, d.box.y2};
      if (d.point) one.point = {d.point->x, d.point->y};
      if (d.mask) one.mask = runs_of(d.mask->pixels, d.mask->height, d.mask->width);
    }
    draw_detections(drawn, all);
    return api::Access::image(std::move(drawn));
  });
}

}  // namespace tap::v1
