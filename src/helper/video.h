// A video file through FFmpeg's libraries: one stream of pictures, by index in order of presentation.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "codec/image.h"
#include "helper/refusal.h"

namespace tap::helper {

class Video {
 public:
  explicit Video(int fd);  // a file that can be read from anywhere; throws Refusal
  ~Video();

  const std::vector<double>& seconds() const { return seconds_; }  // of each frame, from 0
  std::int64_t width() const;                                      // upright
  std::int64_t height() const;
  std::string codec() const;
  std::int64_t broken() const { return broken_; }

  // The frame of that index, upright, or the first one after it that can be decoded; `index` becomes its own. Throws
  // Refusal when there is none.
  Image frame(std::int64_t& index);

 private:
  struct Parts;
  void scan();
  bool next();  // decodes one frame; false at the end
  void seek(std::int64_t pts);
  void rewind();
  Image picture() const;
  std::unique_ptr<Parts> parts_;
  std::vector<std::int64_t> pts_, keys_;  // ascending, in the stream's time base
  std::vector<double> seconds_;
  std::int64_t broken_ = 0, at_ = INT64_MIN;  // at_: pts of the frame decoded last
};

}  // namespace tap::helper
