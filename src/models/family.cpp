#include "models/family.h"

#include <algorithm>

namespace tap {

#define TAP_FAMILY(name) \
  namespace name {       \
  Family family();       \
  }
#include "models/families.inc"
#undef TAP_FAMILY

std::span<const Family> families() {
#define TAP_FAMILY(name) name::family(),
  static const Family all[] = {
#include "models/families.inc"
  };
#undef TAP_FAMILY
  return all;
}

const Family* find_family(std::string_view architecture) {
  for (const Family& family : families())
    for (const std::string& known : family.architectures)
      if (known == architecture) return &family;
  return nullptr;
}

void SizePx::require_pixels() const {
  if (width < 1 || height < 1) fail(ErrorCode::bad_input, "a picture of {}x{} has no pixels", width, height);
}

void ImagePlan::require_source(const Image& image) const {
  if (image.width != source.width || image.height != source.height)
    fail(ErrorCode::bad_input, "a picture of {}x{} with the plan of one of {}x{}", image.width, image.height,
         source.width, source.height);
}

void ImagePlan::require_tiles(Dim begin, Dim end) const {
  if (begin < 0 || end < begin || end > tiles())
    fail(ErrorCode::bad_input, "tiles {} to {} of a picture with {}", begin, end, tiles());
}

FrameChoice Processor::choose_frames(const VideoShape&, const FrameWish&) const {
  fail(ErrorCode::unsupported, "this model takes pictures, not videos");
}

ImagePlan Processor::plan_video(Dim, Dim, const FrameTimes&) const {
  fail(ErrorCode::unsupported, "this model takes pictures, not videos");
}

ImagePlan Processor::plan_of_grid(const PatchGrid&, double) const {
  fail(ErrorCode::unsupported, "this model's pictures are no grids of patches");
}

Tensor Processor::video_tiles(std::span<const Image>, const ImagePlan&, Dim, Dim) const {
  fail(ErrorCode::unsupported, "this model takes pictures, not videos");
}

bool has_location_tokens(const Tokenizer& tokenizer) {
  return tokenizer.id_of("<loc0000>") && tokenizer.id_of("<loc1023>");
}

bool has_mask_tokens(const Tokenizer& tokenizer) { return tokenizer.id_of("<seg000>") && tokenizer.id_of("<seg127>"); }

std::vector<SafetyHead::Policy> policies_of(const ModelFiles& files) {
  std::vector<SafetyHead::Policy> policies;
  if (!files.processor.has("policy_definitions")) return policies;
  const ConfigReader own = files.processor.child("policy_definitions");
  for (const auto& [name, text] : own.json().items()) policies.push_back({name, own.text(name)});
  return policies;
}

std::int32_t Prompt::next_position() const {
  std::int32_t next = 0;
  for (const auto& axis : positions)
    for (const std::int32_t at : axis) next = std::max(next, at + 1);
  return next;
}

Batch Prompt::batch(Dim begin, Dim end) const {
  if (begin < 0 || end < begin || end > rows())
    fail(ErrorCode::internal, "rows {} to {} of a prompt of {}", begin, end, rows());
  Batch batch;
  batch.sequences = {{0, end - begin, begin}};
  for (const auto& axis : positions) batch.positions.emplace_back(axis.begin() + begin, axis.begin() + end);
  batch.intervals.assign(intervals.begin() + begin, intervals.begin() + end);
  for (const Span& span : atomic)
    if (span.begin >= begin && span.end <= end) batch.atomic.push_back({span.begin - begin, span.end - begin, begin});
  return batch;
}

}  // namespace tap
