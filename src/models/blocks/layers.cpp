#include "models/blocks/layers.h"

#include <string>

#include <fmt/format.h>

namespace tap {

void require_layers(const ConfigReader& in, const Weights& layers, Dim depth, std::string_view member) {
  if (layers.has("0." + std::string(member)) && !layers.has(fmt::format("{}.{}", depth - 1, member)))
    in.refuse("num_hidden_layers", fmt::format("the weights have no layer {}", depth - 1));
}

}  // namespace tap
