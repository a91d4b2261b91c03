// A video file, through the media helper. Frames come one at a time: a long file costs no more memory than a short one,
// but 8 bytes a frame for its times.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "media/helper_process.h"

namespace tap {

bool is_video(std::span<const std::byte> bytes);  // by how they begin
// Whether a file begins as videos do (MP4, MOV, MKV, WebM, AVI, MPEG); false for what cannot be read.
bool is_video_file(const std::string& path);

class VideoFile {
 public:
  struct Frame {
    Image image;  // upright
    Dim index = 0;
    double seconds = 0;
  };

  // Starts a helper. Throws Error naming the file: not_found, io, bad_file for what is no video, unsupported for a
  // codec or where the helper is not installed, limit.
  explicit VideoFile(const std::string& path);
  // Of a helper that has its file. `answer_seconds`: how long it may take for one answer (0: as usual).
  VideoFile(HelperProcess helper, const std::string& name, double answer_seconds = 0);

  const std::string& name() const { return path_; }
  Dim width() const { return width_; }  // upright
  Dim height() const { return height_; }
  Dim frames() const { return static_cast<Dim>(seconds_.size()); }
  std::span<const double> seconds() const { return seconds_; }  // when each frame stands, from 0, ascending
  double duration() const;  // of the frames, the last one lasting as long as the mean
  double fps() const;       // mean; 1 for a single frame
  const std::string& codec() const { return codec_; }
  Dim broken() const { return broken_; }  // frames that could not be decoded so far

  // The frame of that index, or where it is broken the next one that is not. Throws Error(bad_file) when there is none,
  // Error(io) when the helper died or gave no answer in time, Error(cancelled).
  Frame frame(Dim index);

 private:
  std::string path_, codec_;
  HelperProcess helper_;
  double answer_seconds_ = 0;
  std::vector<double> seconds_;
  Dim width_ = 0, height_ = 0, broken_ = 0;
};

}  // namespace tap
