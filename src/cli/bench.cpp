// tapetum bench: speed and memory of a model as fractions of this machine's limits, one JSON object.
#include <cstdio>

#include "cli/commands.h"
#include "cli/output.h"
#include "io/embedded.h"
#include "runtime/benchmark.h"

namespace tap::cli {

int run_bench(const Options& options) {
  if (!options.words.empty()) fail(ErrorCode::usage, "bench takes no words; name the model with -m");
  const auto stage = [&](std::string_view what) {
    if (!options.quiet) fmt::print(stderr, "bench: {}\n", what);
  };
  LoadOptions load;
  load.dtype = *parse_dtype(options.dtype);
  stage("load");
  const auto model = load_model(model_folder(options.model), load);
  write_json(benchmark(*model, stage));
  return 0;
}

}  // namespace tap::cli
