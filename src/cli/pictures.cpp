#include "cli/pictures.h"

#include "codec/decode.h"

namespace tap::cli {

std::shared_ptr<const Image> load_picture(const std::string& source, const Options& options) {
  DecodeOptions decode;
  if (options.background == "none") decode.background.reset();
  decode.frame = options.frame;
  return std::make_shared<const Image>(load_image(source, decode).value());
}

}  // namespace tap::cli
