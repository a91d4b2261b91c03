// tapetum bench: speed and memory of a model as fractions of this machine's limits, one JSON object.
#include <cstdio>

#include "cli/commands.h"
#include "cli/output.h"
#include "io/embedded.h"
#include "runtime/benchmark.h"

namespace tap::cli {

namespace {

void print_stages(const Json& stages) {
  for (const Json& stage : stages) {
    const double all = stage["ms"].get<double>();
    fmt::print("{}: {:.1f} ms\n", stage["stage"].get<std::string>(), all);
    fmt::print("{:>9} {:>6} {:>7}  {:<18} {}\n", "ms", "share", "calls", "of its limit", "operation");
    for (const Json& operation : stage["operations"]) {
      const double ms = operation["ms"].get<double>(), fraction = operation["fraction"].get<double>();
      const std::string reached =
          fraction > 0 ? fmt::format("{:3.0f} % of {}", fraction * 100, operation["limit"].get<std::string>()) : "";
      fmt::print("{:9.2f} {:5.1f}% {:7}  {:<18} {}\n", ms, ms / all * 100, operation["calls"].get<Dim>(), reached,
                 operation["operation"].get<std::string>());
    }
    const double other = stage["other_ms"].get<double>();
    fmt::print("{:9.2f} {:5.1f}% {:>7}  {:<18} between operations\n\n", other, other / all * 100, "", "");
  }
}

}  // namespace

int run_bench(const Options& options) {
  if (!options.words.empty()) fail(ErrorCode::usage, "bench takes no words; name the model with -m");
  const auto stage = [&](std::string_view what) {
    if (!options.quiet) fmt::print(stderr, "bench: {}\n", what);
  };
  LoadOptions load;
  load.dtype = *parse_dtype(options.dtype);
  stage("load");
  const auto model = load_model(model_folder(options.model), load);
  if (!options.profile) {
    write_json(benchmark(*model, stage));
    return 0;
  }
  const Json stages = profile(*model, stage);
  if (options.json) write_json(stages);
  else print_stages(stages);
  return 0;
}

}  // namespace tap::cli
