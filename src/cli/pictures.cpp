#include "cli/pictures.h"

#include "base/log.h"
#include "codec/decode.h"
#include "io/fetch.h"

namespace tap::cli {

namespace {

// The bytes that an http:, https: or data: URL stands for.
std::string bytes_of_url(const std::string& url, std::size_t max_bytes, const Options& options) {
  if (!is_data_url(url)) {
    FetchOptions fetching;
    fetching.max_bytes = max_bytes;
    fetching.allow_private = options.allow_private;
    return fetch(url, fetching).value();
  }
  DataUrl data = parse_data_url(url, max_bytes).value();
  if (!data.mime.starts_with("image/"))
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: its type is {}: must be image/…", shortened_url(url), log::one_line(data.mime)),
                shortened_url(url));
  return std::move(data.bytes);
}

}  // namespace

std::shared_ptr<const Image> load_picture(const std::string& source, const Options& options) {
  DecodeOptions decode;
  if (options.background == "none") decode.background.reset();
  decode.frame = options.frame;
  if (is_url(source)) {
    const std::string bytes = bytes_of_url(source, decode.limits.max_file_bytes, options);
    return std::make_shared<const Image>(
        decode_image(std::as_bytes(std::span(bytes)), shortened_url(source), decode).value());
  }
  return std::make_shared<const Image>(load_image(source, decode).value());
}

}  // namespace tap::cli
