#include "cli/items.h"

#include <algorithm>
#include <map>
#include <new>
#include <optional>

#include "base/log.h"
#include "cli/asking.h"
#include "cli/output.h"
#include "runtime/batch_generator.h"
#include "tasks/results_json.h"

namespace tap::cli {

namespace {

class TextOutput final : public ItemOutput {
 public:
  explicit TextOutput(bool many) : many_(many) {}
  void piece(const Item& item, std::string_view text) override {
    waiting_[item.index].text += text;
    flush();
  }
  void done(const Item& item, Outcome outcome) override {
    Waiting& one = waiting_[item.index];
    one.text += outcome.text;
    one.over = true;
    flush();
  }
  void failed(const Item& item, const Error& error) override {
    if (!many_) throw error;
    Waiting& one = waiting_[item.index];
    if (one.begun || !one.text.empty()) one.text += "\n";
    one.error = error;
    one.over = true;
    flush();
  }

 private:
  struct Waiting {
    std::string text;
    std::optional<Error> error;
    bool begun = false, over = false;
  };
  void flush() {
    for (auto at = waiting_.find(turn_); at != waiting_.end(); at = waiting_.find(turn_)) {
      Waiting& one = at->second;
      if (!one.text.empty()) write_out(one.text);
      one.begun = one.begun || !one.text.empty();
      one.text.clear();
      if (!one.over) return;
      if (one.error) print_error(*one.error);
      waiting_.erase(at);
      ++turn_;
    }
  }
  bool many_;
  std::size_t turn_ = 0;
  std::map<std::size_t, Waiting> waiting_;
};

class JsonOutput final : public ItemOutput {
 public:
  explicit JsonOutput(bool many) : many_(many) {}
  void done(const Item& item, Outcome outcome) override { all_[item.index] = std::move(outcome.json); }
  void failed(const Item& item, const Error& error) override {
    if (!many_) throw error;
    all_[item.index] = error_json(item, error);
  }
  void close() override {
    if (!many_) return write_json(all_.begin()->second);
    Json array = Json::array();
    for (auto& [index, json] : all_) array.push_back(std::move(json));
    write_json(array);
  }

 private:
  bool many_;
  std::map<std::size_t, Json> all_;
};

class JsonlOutput final : public ItemOutput {
 public:
  void done(const Item& item, Outcome outcome) override { say(item, outcome.json); }
  void failed(const Item& item, const Error& error) override { say(item, error_json(item, error)); }

 private:
  static void say(const Item& item, const Json& json) {
    Json line = {{"index", item.index}};
    line.update(json);
    write_json(line);
  }
};

struct Running {
  Item item;
  std::unique_ptr<AnswerFilter> filter = {};  // null: the answer is not guarded
  std::vector<Answer> answers = {};           // to the questions before
  std::vector<Safety> judged = {};            // what guards said of them
  bool begun = false;                         // some text that is no white space has come
};

}  // namespace

std::unique_ptr<ItemOutput> make_text_output(bool many) { return std::make_unique<TextOutput>(many); }
std::unique_ptr<ItemOutput> make_json_output(bool many) { return std::make_unique<JsonOutput>(many); }
std::unique_ptr<ItemOutput> make_jsonl_output() { return std::make_unique<JsonlOutput>(); }

std::unique_ptr<ItemOutput> make_output(const Options& options, bool many) {
  if (options.jsonl) return make_jsonl_output();
  return options.json ? make_json_output(many) : make_text_output(many);
}

Json error_json(const Item& item, const Error& error) {
  return error_json(Error(error.code(), error.message(), error.item().empty() ? item.name : error.item()));
}

namespace {

Error out_of_memory(const Item& item) {
  return {ErrorCode::out_of_memory, fmt::format("{}: out of memory", item.name), item.name};
}

}  // namespace

ItemCounts run_items(const Model& model, const ItemRun& run, ItemSource& source, ItemOutput& output,
                     Progress& progress) {
  BatchOptions how;
  how.sequences = run.sequences;
  how.context = run.options.context;
  how.features = run.features;
  BatchGenerator batch(model, how);
  std::map<BatchGenerator::Id, Running> running;
  ItemCounts counts;
  const auto failed = [&](const Item& item, const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw error;
    progress.hide();
    ++(error.code() == ErrorCode::refused ? counts.refused : counts.failed);
    output.failed(item, error);
    progress.advance();
  };
  // Without the white space that the template leaves between "Assistant:" and the answer.
  const auto say = [&](Running& one, std::string_view text) {
    if (!one.item.streams) return;
    if (!one.begun && !one.item.generate.constraint)
      text.remove_prefix(std::min(text.size(), text.find_first_not_of(" \n")));
    if (text.empty()) return;
    one.begun = true;
    progress.hide();
    output.piece(one.item, text);
  };
  // What guards let through of a piece; they see the text of all items, shown as it comes or not.
  const auto passed = [](Running& one, std::string_view piece, bool last) {
    if (!one.filter) return std::string(piece);
    std::string text = one.filter->feed(piece);
    return last ? text + one.filter->finish() : text;
  };
  // Asks the item's question; its pixels are let go. What is thrown leaves `one` as it is.
  const auto begin = [&](Running& one) -> Running& {
    const std::vector<Safety> words = run.guards.judge_words(one.item.conversation, one.item.name);
    one.item.verdicts.insert(one.item.verdicts.end(), words.begin(), words.end());
    one.filter = run.guards.filter(one.item.conversation, one.item.name);
    const BatchGenerator::Id id = batch.add(one.item.conversation, one.item.generate);
    one.item.conversation = {};
    return running[id] = std::move(one);
  };
  for (bool more = true; more || !batch.idle();) {
    while (more && batch.has_room()) {
      Running next_one;
      Item& item = next_one.item;
      try {
        const ItemSource::Next next = source.next(item, batch.idle());
        more = next != ItemSource::Next::end;
        if (next != ItemSource::Next::item) break;
        Running& one = begin(next_one);
        if (one.item.streams && !one.item.heading.empty()) {
          progress.hide();
          output.piece(one.item, one.item.heading);
        }
      } catch (const Error& error) {
        failed(item, error);
      } catch (const std::bad_alloc&) {
        failed(item, out_of_memory(item));
      }
    }
    if (batch.idle()) continue;
    BatchGenerator::Step step = batch.step();
    for (const auto& event : step.events) {
      Running& one = running.at(event.id);
      std::string text;
      try {
        text = one.item.streams ? passed(one, event.token.text, false) : "";
      } catch (const Error& error) {  // a guard refused it, or failed: nothing more of it comes out
        batch.cancel(event.id);
        failed(running.extract(event.id).mapped().item, error);
        continue;
      }
      say(one, text);
    }
    for (auto& finished : step.finished) {
      auto node = running.extract(finished.id);
      if (node.empty()) continue;  // refused
      Running one = std::move(node.mapped());
      if (finished.error) {
        failed(one.item, *finished.error);
        continue;
      }
      std::string rest;
      try {
        rest = passed(one, one.item.streams ? std::string_view(finished.rest) : finished.answer.text, true);
      } catch (const Error& error) {
        failed(one.item, error);
        continue;
      }
      say(one, rest);
      finished.answer.timings.preprocess.ms += std::exchange(one.item.decode_ms, 0);
      log_timings(finished.answer.timings, run.total.ms());
      one.answers.push_back(std::move(finished.answer));
      if (one.filter) one.judged.insert(one.judged.end(), one.filter->verdicts().begin(), one.filter->verdicts().end());
      if (!one.item.more.empty()) {
        one.item.conversation = std::move(one.item.more.front());
        one.item.more.erase(one.item.more.begin());
        try {
          begin(one);
        } catch (const Error& error) {
          failed(one.item, error);
        } catch (const std::bad_alloc&) {
          failed(one.item, out_of_memory(one.item));
        }
        continue;
      }
      Outcome outcome;
      try {
        outcome = one.item.report(one.answers);
      } catch (const Error& error) {
        if (error.code() == ErrorCode::io) throw;  // a full disk is no item's fault
        failed(one.item, error);
        continue;
      }
      if (!run.guards.empty())
        outcome.json["safety"] = {{"input", safety_json(one.item.verdicts)}, {"output", safety_json(one.judged)}};
      progress.hide();
      ++counts.done;
      output.done(one.item, std::move(outcome));
      progress.advance();
    }
  }
  progress.hide();
  output.close();
  return counts;
}

}  // namespace tap::cli
