// What the commands that ask a model share: loading, options, reports, one question about many pictures.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/items.h"
#include "cli/options.h"
#include "cli/pictures.h"
#include "io/json.h"
#include "runtime/session.h"

namespace tap::cli {

struct Loaded {
  std::unique_ptr<Model> model;
  Dim sequences = 1;  // to compute at once
};
// What --model and --dtype name, unless a run about these pictures, or of `items` conversations, would not fit in
// memory: Error(out_of_memory). `need` is called with the bytes that model and answers take, before they are taken.
Loaded load_model_for(const Options& options, const PictureList& pictures, Dim items, std::function<void(Dim)> need = {});
// The model's sampling defaults with what the options say over them; a seed drawn anew when one is needed and none is
// given. Throws Error(usage).
GenerateOptions generate_options(const Options& options, const Model& model, const GrammarPtr& grammar = nullptr);
constexpr const char* describe_question = "Describe the image.";
// The words that models without turns were trained to caption by (PaliGemma), where the question is only ours.
std::string words_for(const Model& model, const std::string& question);
void log_timings(const Timings& timings, double total_ms);  // at -v: one line a stage with tokens and rate

Json tokens_json(const Timings& timings);
Json lookup_json(const Timings& timings);  // follows from speed: apart from what runs repeat
Json ms_json(const Timings& timings, double total_ms);

// One picture's turn: what its Item is made from.
struct Turn {
  const Model& model;
  const GenerateOptions& generate;
  const std::string& name;  // of the picture
  Medium medium;
  Dim width, height;                       // of it, upright
  std::shared_ptr<FeatureCache> features;  // of this run's pictures
  bool many;                               // others have turns too
  const Stopwatch& total;                  // since the program began its work; outlives the items
  // Throws Error(unsupported) naming the video where only a picture will do.
  const std::shared_ptr<const Image>& image() const;
};

// Loads the model, checks what `check` says, then runs the Item that `fill` makes of each picture, and prints what
// comes. Returns the exit code.
int ask_about(const PictureList& pictures, const Options& options, const std::function<void(const Model&)>& check,
              const std::function<void(const Turn&, Item&)>& fill);

}  // namespace tap::cli
