// --guard on every command that asks a model: what goes in is judged before, what comes out before anybody sees it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/options.h"
#include "io/json.h"
#include "tasks/guards.h"

namespace tap::cli {

// MODEL[:THRESHOLD][@in|out]; a threshold is a number or a file of `guard calibrate`.
struct GuardSpec {
  std::string model;
  std::string threshold;  // empty: 0.5
  bool in = true, out = true;
};
GuardSpec parse_guard(std::string_view text);  // throws Error(usage)

// Sets one threshold for all policies, or those of a file {"thresholds": {policy: number}}. Throws Error.
void set_threshold(GuardOptions& options, const std::string& text);

// The guard's model, with a context of its own. `options` say what load_model_for reads of them.
std::shared_ptr<const Model> load_guard(const GuardSpec& spec, const Options& options);

// Those that --guard names.
class Guards : public tap::Guards {
 public:
  Guards() = default;
  // Loads their models. Throws Error: a guard that is none, or one of pictures behind a model.
  explicit Guards(const Options& options);
};

}  // namespace tap::cli
