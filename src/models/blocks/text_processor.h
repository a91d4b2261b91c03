// The processor of families, or of members of a family, that read text only.
#pragma once

#include <memory>

#include "models/family.h"

namespace tap {

// A picture given to it is Error(unsupported).
std::unique_ptr<Processor> make_text_processor(const ModelFiles& files);

}  // namespace tap
