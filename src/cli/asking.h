// What `tapetum IMAGE "question"`, `describe` and `detect` share: loading, options, reports.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/options.h"
#include "io/json.h"
#include "runtime/session.h"

namespace tap::cli {

std::unique_ptr<Model> load_model_for(const Options& options);
std::shared_ptr<const Image> load_picture(const std::string& path, const Options& options, Stage& preprocess);
GenerateOptions generate_options(const Options& options, const Model& model);

Json tokens_json(const Timings& timings);
Json ms_json(const Timings& timings, double total_ms);
void log_timings(const Timings& timings, double total_ms);  // at -v, one line a stage with tokens and rate

// Runs `one` for every picture; an Error is reported (on stderr, or as its item of the JSON) and the rest goes on.
// Prints the JSON collected: one object for one picture, an array for several. Returns the exit code.
int for_each_picture(const std::vector<std::string>& pictures, const Options& options,
                     const std::function<Json(const std::string&)>& one);

}  // namespace tap::cli
