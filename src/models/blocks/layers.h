// What towers and decoders check before they make their layers.
#pragma once

#include <string_view>

#include "io/config_reader.h"
#include "io/weights.h"

namespace tap {

// Refuses `num_hidden_layers` when the file has layers, but not so many: one line instead of a list of every tensor of
// layers that it never had. `member`: a tensor that every layer has.
void require_layers(const ConfigReader& in, const Weights& layers, Dim depth, std::string_view member);

}  // namespace tap
