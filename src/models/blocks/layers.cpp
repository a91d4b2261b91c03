#include "models/blocks/layers.h"

#include <string>

#include <fmt/format.h>

namespace tap {

void require_layers(const ConfigReader& in, const Weights& layers, Dim depth, std::string_view member,
                    std::string_view key) {
  if (layers.has("0." + std::string(member)) && !layers.has(fmt::format("{}.{}", depth - 1, member)))
    in.refuse(key, fmt::format("the weights have no layer {}", depth - 1));
}

TokenId token_id(const ConfigReader& in, std::string_view key, Dim fallback, Dim vocab, std::string_view vocab_key) {
  const Dim id = in.non_negative_or(key, fallback);
  if (id >= vocab) in.refuse(key, fmt::format("is not below {} {}", vocab_key, vocab));
  return static_cast<TokenId>(id);
}

DType activation_type(WeightType weights) { return weights == WeightType::f32 ? DType::f32 : DType::bf16; }

}  // namespace tap
