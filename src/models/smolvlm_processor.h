// The processor half of the SmolVLM family.
#pragma once

#include <memory>

#include "models/family.h"

namespace tap::smolvlm {

// patch: pixels of a patch's edge; factor: of the connector's space-to-depth; image_token: the id that stands for one picture row.
std::unique_ptr<Processor> make_processor(const ModelFiles& files, Dim patch, Dim factor, TokenId image_token);

}  // namespace tap::smolvlm
