// The processor of families, or of members of a family, that read text only.
#pragma once

#include <memory>

#include "models/family.h"

namespace tap {

// Throws Error(unsupported): what such a model says to a picture.
[[noreturn]] void refuse_picture();

std::unique_ptr<Processor> make_text_processor(const ModelFiles& files);

}  // namespace tap
