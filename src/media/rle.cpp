#include "media/rle.h"

#include <algorithm>
#include <numeric>

namespace tap {

Dim MaskRuns::area() const {
  Dim sum = 0;
  for (std::size_t i = 1; i < counts.size(); i += 2) sum += counts[i];
  return sum;
}

MaskRuns runs_of(std::span<const std::uint8_t> mask, Dim height, Dim width) {
  if (height < 0 || width < 0 || static_cast<Dim>(mask.size()) != height * width)
    fail(ErrorCode::bad_input, "a mask of {} pixels, wanted {}x{}", mask.size(), width, height);
  MaskRuns runs{height, width, {}};
  bool set = false;
  std::uint32_t length = 0;
  for (Dim x = 0; x < width; ++x)
    for (Dim y = 0; y < height; ++y) {
      if ((mask[static_cast<std::size_t>(y * width + x)] != 0) != set) {
        runs.counts.push_back(std::exchange(length, 0));
        set = !set;
      }
      ++length;
    }
  runs.counts.push_back(length);
  return runs;
}

std::vector<std::uint8_t> pixels_of(const MaskRuns& runs) {
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(runs.height * runs.width));
  Dim at = 0;
  for (std::size_t i = 0; i < runs.counts.size(); at += runs.counts[i], ++i)
    if (i % 2 == 1)
      for (Dim k = at; k < at + runs.counts[i]; ++k)
        mask[static_cast<std::size_t>(k % runs.height * runs.width + k / runs.height)] = 1;
  return mask;
}

PixelBox bounds_of(const MaskRuns& runs) {
  PixelBox box;
  Dim at = 0;
  for (std::size_t i = 0; i < runs.counts.size(); at += runs.counts[i], ++i) {
    if (i % 2 == 0 || runs.counts[i] == 0) continue;
    const Dim first = at / runs.height, last = (at + runs.counts[i] - 1) / runs.height;
    const bool whole = last > first;  // goes round a column's end
    const Dim top = whole ? 0 : at % runs.height;
    const Dim bottom = whole ? runs.height : (at + runs.counts[i] - 1) % runs.height + 1;
    if (box.x2 == 0) box = {first, top, last + 1, bottom};
    box = {std::min(box.x1, first), std::min(box.y1, top), std::max(box.x2, last + 1), std::max(box.y2, bottom)};
  }
  return box;
}

std::string compressed(const MaskRuns& runs) {
  std::string text;
  for (std::size_t i = 0; i < runs.counts.size(); ++i) {
    std::int64_t value = runs.counts[i];
    if (i > 2) value -= runs.counts[i - 2];
    for (bool more = true; more;) {
      std::int64_t group = value & 31;
      value >>= 5;
      more = (group & 16) ? value != -1 : value != 0;
      if (more) group |= 32;
      text += static_cast<char>(group + 48);
    }
  }
  return text;
}

Result<MaskRuns> decompressed(std::string_view text, Dim height, Dim width) {
  const auto bad = [](std::string_view why) { return make_error(ErrorCode::bad_input, "compressed runs: {}", why); };
  if (height < 0 || width < 0 || (height > 0 && width > INT32_MAX / height)) return bad("a size out of range");
  MaskRuns runs{height, width, {}};
  std::int64_t sum = 0;
  for (std::size_t at = 0; at < text.size();) {
    std::int64_t value = 0;
    int shift = 0;
    for (bool more = true; more; shift += 5) {
      if (at >= text.size()) return bad("end within a number");
      if (shift > 35) return bad("a number is too long");
      const int group = text[at++] - 48;
      if (group < 0 || group > 63) return bad("a character out of range");
      value |= static_cast<std::int64_t>(group & 31) << shift;
      more = group & 32;
      if (!more && (group & 16)) value |= -(std::int64_t{1} << (shift + 5));
    }
    if (runs.counts.size() > 2) value += runs.counts[runs.counts.size() - 2];
    if (value < 0 || value > height * width) return bad("a run out of range");
    runs.counts.push_back(static_cast<std::uint32_t>(value));
    if ((sum += value) > height * width) return bad("more pixels than the picture has");
  }
  if (sum != height * width) return bad("fewer pixels than the picture has");
  return runs;
}

}  // namespace tap
