#include "runtime/sampling_options.h"

#include <cmath>
#include <limits>
#include <string>
#include <string_view>

namespace tap {

namespace {

void require(bool ok, std::string_view option, double value, std::string_view limits) {
  if (!ok)
    throw Error(ErrorCode::usage, fmt::format("{} is {}, must be {}", option, value, limits), std::string(option));
}

}  // namespace

void SamplingOptions::validate() const {
  require(temperature >= 0 && temperature <= 100, "temperature", temperature,
          "from 0 to 100");  // a NaN fails every comparison
  require(top_k >= 0 && top_k <= std::numeric_limits<std::int32_t>::max(), "top_k", static_cast<double>(top_k),
          "from 0 (off) to 2147483647");
  require(top_p >= 0 && top_p <= 1, "top_p", top_p, "from 0 to 1");
  require(min_p >= 0 && min_p <= 1, "min_p", min_p, "from 0 to 1");
  require(repetition_penalty > 0 && repetition_penalty <= 100, "repetition_penalty", repetition_penalty,
          "above 0, at most 100");
  require(std::abs(presence_penalty) <= 100, "presence_penalty", presence_penalty, "from -100 to 100");
  require(std::abs(frequency_penalty) <= 100, "frequency_penalty", frequency_penalty, "from -100 to 100");
  for (const auto& [id, bias] : logit_bias) {
    require(id >= 0, "logit_bias", id, "of a token's id, 0 or above");
    require(std::abs(bias) <= 100, "logit_bias", bias, "from -100 to 100");
  }
}

SamplingOptions SamplingOptions::from_config(const ConfigReader& in) {
  SamplingOptions options;
  if (in.flag_or("do_sample", false)) {
    options.temperature = in.number_or("temperature", 1.0f);
    options.top_k = in.non_negative_or("top_k", 50);  // HF GenerationConfig's default
    options.top_p = in.number_or("top_p", 1.0f);
    options.min_p = in.number_or("min_p", 0.0f);
  }
  options.repetition_penalty = in.number_or("repetition_penalty", 1.0f);
  try {
    options.validate();
  } catch (const Error& error) {
    in.refuse(error.item(), error.message());
  }
  return options;
}

}  // namespace tap
