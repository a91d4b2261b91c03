// What `tapetum IMAGE "question"`, `describe` and `detect` share: loading, options, reports.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/options.h"
#include "io/json.h"
#include "runtime/session.h"

namespace tap::cli {

// One picture's turn.
struct Turn {
  Session& session;
  const GenerateOptions& generate;
  const std::string& path;
  std::shared_ptr<const Image> image;
  double decode_ms;        // of the picture's file
  const Stopwatch& total;  // since the program began its work

  // The answer's timings with those of the model and the file; at -v one line a stage with tokens and rate.
  Timings report(Timings answer) const;
};

// What --model and --dtype name.
std::unique_ptr<Model> load_model_for(const Options& options);
// The model's sampling defaults with what the options say over them; a seed drawn anew when one is needed and none is
// given. Throws Error(usage).
GenerateOptions generate_options(const Options& options, const Model& model, const GrammarPtr& grammar = nullptr);
void log_timings(const Timings& timings, double total_ms);  // at -v

Json tokens_json(const Timings& timings);
Json ms_json(const Timings& timings, double total_ms);

// Loads the model, then each picture in turn for `one`; an Error of one is reported (on stderr, or as its item of the
// JSON) and the rest goes on. Prints the JSON collected: one object for one picture, an array for several. Returns the
// exit code.
int for_each_picture(const std::vector<std::string>& pictures, const Options& options,
                     const std::function<Json(const Turn&)>& one);

}  // namespace tap::cli
