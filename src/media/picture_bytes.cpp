#include "media/picture_bytes.h"

#include "base/log.h"
#include "io/url.h"
#include "media/helper_process.h"

namespace tap {

std::string picture_url_bytes(const std::string& url, const FetchOptions& fetching) {
  if (is_data_url(url)) {
    DataUrl data = parse_data_url(url, static_cast<std::size_t>(fetching.max_bytes)).value();
    if (!data.mime.starts_with("image/"))
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: its type is {}: must be image/…", shortened_url(url), log::one_line(data.mime)),
                  shortened_url(url));
    return std::move(data.bytes);
  }
  return fetch(url, fetching).value();
}

Image decode_picture(std::span<const std::byte> bytes, const std::string& what, const DecodeOptions& options) {
  if (is_heif(bytes)) return heif_image(bytes, what, options.frame);
  return decode_image(bytes, what, options).value();
}

}  // namespace tap
