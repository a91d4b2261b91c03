// Masks as runs in COCO's layout (cocodataset/cocoapi, common/maskApi.c): columns from the left, each from the top;
// runs of 0 and 1 in turn, the first of 0 (and empty when the first pixel is set).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dim.h"
#include "base/error.h"

namespace tap {

struct MaskRuns {
  Dim height = 0, width = 0;
  std::vector<std::uint32_t> counts;  // add up to height * width
  Dim area() const;                   // pixels set
  bool operator==(const MaskRuns&) const = default;
};

// mask: [height, width] row-major, any value but 0 is set. Throws Error(bad_input) for another number of pixels.
MaskRuns runs_of(std::span<const std::uint8_t> mask, Dim height, Dim width);
std::vector<std::uint8_t> pixels_of(const MaskRuns& runs);  // [height, width], 0 or 1

// The string that COCO files have for counts: each as groups of 5 bits offset by 48, from the third run on as the
// difference to the run two before. The way back refuses what does not add up to height * width.
std::string compressed(const MaskRuns& runs);
Result<MaskRuns> decompressed(std::string_view text, Dim height, Dim width);

struct PixelBox {  // ends excluded; all 0 for an empty mask
  Dim x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  bool operator==(const PixelBox&) const = default;
};
PixelBox bounds_of(const MaskRuns& runs);

}  // namespace tap
