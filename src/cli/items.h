// Many questions to one model: where they come from, the batch they run in, where their answers go.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "cli/guarding.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "io/json.h"
#include "runtime/answer.h"
#include "runtime/conversation.h"
#include "runtime/feature_cache.h"

namespace tap::cli {

// What a finished item says: to programs, and to people (whole lines).
struct Outcome {
  Json json;
  std::string text;
};

struct Item {
  std::size_t index = 0;  // its place in the order given
  std::string name;       // its picture or id, for errors
  Conversation conversation;
  std::vector<Conversation> more;  // asked after it, one after the other
  GenerateOptions generate;
  double decode_ms = 0;  // of its pictures' files
  bool streams = false;  // its text is given out as it comes, after `heading`
  std::string heading;
  std::vector<Safety> verdicts;                            // of the guards on its pictures
  std::function<Outcome(std::span<const Answer>)> report;  // one a conversation
};

class ItemSource {
 public:
  enum class Next { item, later, end };
  virtual ~ItemSource() = default;
  // Fills `item`, index and name first: an Error thrown is that item's. `wait` false: may say `later` instead of
  // waiting for whoever writes the items.
  virtual Next next(Item& item, bool wait) = 0;
};

class ItemOutput {
 public:
  virtual ~ItemOutput() = default;
  virtual void piece(const Item& item, std::string_view text) { (void)item, (void)text; }
  virtual void done(const Item& item, Outcome outcome) = 0;
  virtual void failed(const Item& item, const Error& error) = 0;
  virtual void close() {}  // after the last item
};

// To stdout, in the order of the items: text as soon as its turn comes (errors on stderr), or JSON at the end (an
// array, or the one object). `many` false: there is one item, and its failure is the program's.
std::unique_ptr<ItemOutput> make_text_output(bool many);
std::unique_ptr<ItemOutput> make_json_output(bool many);
// One JSON line per item, with its index, as soon as it is done: in order of completion.
std::unique_ptr<ItemOutput> make_jsonl_output();
// What the options ask for.
std::unique_ptr<ItemOutput> make_output(const Options& options, bool many);

Json error_json(const Item& item, const Error& error);  // the item's name where the error names nothing

struct ItemCounts {
  std::size_t done = 0, failed = 0, refused = 0;  // refused: by a guard
  // 0 all are done, 1 one failed, 3 none did but a guard refused one.
  int exit_code() const { return failed > 0 ? 1 : refused > 0 ? 3 : 0; }
};

struct ItemRun {
  const Options& options;
  Dim sequences;           // at once
  const Stopwatch& total;  // since the program began its work
  Guards& guards;
  std::shared_ptr<FeatureCache> features = nullptr;  // shared with others who look at the same pictures
};

// Runs them all, several at once; a failing item stops no other. Throws Error(cancelled), and what
// output throws.
ItemCounts run_items(const Model& model, const ItemRun& run, ItemSource& source, ItemOutput& output,
                     Progress& progress);

}  // namespace tap::cli
