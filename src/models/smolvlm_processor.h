// The weightless half of the SmolVLM family: the processor, and where patches stand.
#pragma once

#include <memory>
#include <vector>

#include "models/family.h"

namespace tap::smolvlm {

// patch: pixels of a patch's edge; factor: of the connector's space-to-depth; image_token: the id that stands for one
// picture row.
std::unique_ptr<Processor> make_processor(const ModelFiles& files, Dim patch, Dim factor, TokenId image_token);

// Ids of the position table along one axis, for `count` patches of which the first `valid` hold pixels: the patch's
// fraction i / valid among the boundaries 1/side, 2/side, … in float32. The boundaries carry the rounding of
// torch.arange(1/side, 1, 1/side) as published models were trained with it: pairs of 8 lanes count in double from a
// start rounded to float, the rest one by one. For sides such as 19 and 29 the ids of a full tile are therefore not 0,
// 1, 2, …
std::vector<Dim> position_buckets(Dim count, Dim valid, Dim side);

}  // namespace tap::smolvlm
