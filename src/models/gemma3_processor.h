// The weightless half of the Gemma 3 family.
#pragma once

#include <memory>

#include "models/family.h"

namespace tap::gemma3 {

struct PictureTokens {
  Dim edge_px;  // of the pictures that the tower takes
  Dim rows;     // that one of them becomes
  TokenId begin, row, end;
  bool may_scan;  // whether settings can ask for crops
};

std::unique_ptr<Processor> make_processor(const ModelFiles& files, const PictureTokens& tokens);

}  // namespace tap::gemma3
