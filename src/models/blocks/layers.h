// What towers and decoders check before they make their layers.
#pragma once

#include <string_view>

#include "io/config_reader.h"
#include "io/weights.h"
#include "ops/ops.h"

namespace tap {

// Refuses `num_hidden_layers` when the file has layers, but not so many: one line instead of a list of every tensor of
// layers that it never had. `member`: a tensor that every layer has; `key`: what the depth is called.
void require_layers(const ConfigReader& in, const Weights& layers, Dim depth, std::string_view member,
                    std::string_view key = "num_hidden_layers");

// An id that config.json gives, below the vocabulary's size (which the config calls `vocab_key`).
TokenId token_id(const ConfigReader& in, std::string_view key, Dim fallback, Dim vocab,
                 std::string_view vocab_key = "text_config.vocab_size");

// What products of activations among themselves (attention) are made in, given the weights' type.
DType activation_type(WeightType weights);

}  // namespace tap
