// tapetum quantize FOLDER: a model's folder with its matrices in q8 or q4, and what that costs.
#include "tasks/quantize.h"

#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cli/asking.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "io/embedded.h"
#include "runtime/memory_plan.h"
#include "tasks/agreement.h"

namespace tap::cli {

namespace {

constexpr std::size_t text_limit_bytes = std::size_t{64} << 20, worst_shown = 10;

constexpr const char* built_in_name = "built-in text";
constexpr std::string_view built_in_text =
    "On a hill above the village stands a white house with a red roof. A blue bird sits on the chimney and looks at "
    "the "
    "garden, where an old tree gives its shade to a table and three chairs. A woman brings a basket of apples; two "
    "children run after a yellow ball, and a black cat sleeps on the warm stones beside the door. In the afternoon the "
    "sky turns gray. The woman counts: one table, three chairs, seven apples. She carries everything inside before it "
    "begins to rain. From the window they see the first drops fall on the path, and far away, behind the river, a "
    "green "
    "car that comes slowly up the road. \"Who can that be?\" asks the younger child. Nobody answers. The cat opens one "
    "eye, and the bird has gone. When the rain ends, the light comes back, the leaves shine, and a small flower that "
    "nobody had planted stands open between the stones.";

struct Asked {
  std::string name, question;
  std::shared_ptr<const Image> image;
};

// What both forms of the model are given, and what they made of it.
struct Comparison {
  std::vector<GivenText> given;
  std::vector<TokenScores> exact, rounded;
};

std::vector<TokenScores> score_all(const Model& model, const std::vector<GivenText>& given, Progress& progress) {
  std::vector<TokenScores> scores;
  for (const GivenText& text : given) {
    ExecContext::current().checkpoint();
    scores.push_back(score(model, text));
    progress.advance();
  }
  return scores;
}

Comparison compare_forms(const std::string& source, const std::string& folder,
                         const std::vector<std::pair<std::string, std::string>>& texts, const std::vector<Asked>& asked,
                         const Options& options) {
  Comparison comparison;
  {
    LoadOptions load;
    load.dtype = Dtype::f32;
    const auto model = load_model(source, load);
    for (const auto& [name, text] : texts)
      for (GivenText& window : text_windows(*model, name, text)) comparison.given.push_back(std::move(window));
    for (const Asked& one : asked) {
      Conversation conversation;
      conversation.user(one.question, {one.image});
      comparison.given.push_back(answered(*model, one.name, conversation, options.max_tokens));
    }
    Progress progress("scoring in f32", comparison.given.size(), Progress::Unit::items, options.quiet);
    comparison.exact = score_all(*model, comparison.given, progress);
  }  // one form is in memory at a time
  const auto model = load_model(folder);
  Progress progress(fmt::format("scoring in {}", name(model->weight_type())), comparison.given.size(),
                    Progress::Unit::items, options.quiet);
  comparison.rounded = score_all(*model, comparison.given, progress);
  return comparison;
}

struct Outcome {
  std::string name;
  std::size_t tokens = 0;
  double exact = 0, rounded = 0, agreement = 0;  // perplexities, and the share of equal choices
};

// Of the given texts [begin, end), together.
Outcome outcome(const Comparison& comparison, std::string name, std::size_t begin, std::size_t end) {
  const auto part = [&](const std::vector<TokenScores>& all) { return std::span(all).subspan(begin, end - begin); };
  const auto exact = part(comparison.exact), rounded = part(comparison.rounded);
  Outcome found{std::move(name), 0, perplexity(exact), perplexity(rounded), top1_agreement(exact, rounded)};
  for (const TokenScores& scores : exact) found.tokens += scores.logprob.size();
  return found;
}

// The windows of one text are one row.
std::vector<Outcome> outcomes(const Comparison& comparison) {
  std::vector<Outcome> rows;
  for (std::size_t begin = 0, end = 0; begin < comparison.given.size(); begin = end) {
    while (end < comparison.given.size() && comparison.given[end].name == comparison.given[begin].name) ++end;
    rows.push_back(outcome(comparison, comparison.given[begin].name, begin, end));
  }
  return rows;
}

Json to_json(const Outcome& row, std::string_view dtype) {
  return {{"tokens", row.tokens},
          {"perplexity", {{"f32", row.exact}, {dtype, row.rounded}}},
          {"top1_agreement", row.agreement}};
}

std::string to_text(const Outcome& row, std::string_view dtype) {
  return fmt::format("  {:<32} {:>6} tokens  perplexity {:.4g} in f32, {:.4g} in {}  same choice {:.1f} %\n", row.name,
                     row.tokens, row.exact, row.rounded, dtype, 100 * row.agreement);
}

std::vector<QuantizedMatrix> worst_first(std::vector<QuantizedMatrix> matrices) {
  const auto rank = [](const QuantizedMatrix& m) { return std::isnan(m.relative_rms) ? HUGE_VAL : m.relative_rms; };
  std::ranges::stable_sort(matrices, std::greater<>(), rank);
  return matrices;
}

Json report_json(const Model& source, const QuantizedFolder& made, std::string_view dtype,
                 const std::optional<Comparison>& comparison) {
  Json json = {{"model", source.name()},    {"folder", made.folder}, {"dtype", dtype},
               {"files", made.files},       {"bytes", made.bytes},   {"source_bytes", made.source_bytes},
               {"matrices", Json::array()}, {"exact", made.exact},   {"answer", Json(nullptr)}};
  for (const QuantizedMatrix& m : made.matrices)
    json["matrices"].push_back(
        {{"name", m.name}, {"type", name(m.type)}, {"shape", {m.out, m.in}}, {"relative_rms", m.relative_rms}});
  if (!comparison) return json;
  json["answer"] = to_json(outcome(*comparison, "", 0, comparison->given.size()), dtype);
  for (const Outcome& row : outcomes(*comparison)) {
    Json text = {{"name", row.name}};
    text.update(to_json(row, dtype));
    json["answer"]["texts"].push_back(std::move(text));
  }
  return json;
}

std::string report_text(const Model& source, const QuantizedFolder& made, std::string_view dtype,
                        const std::optional<Comparison>& comparison) {
  std::string text =
      fmt::format("{}: {} in {}, {} of weights ({} in the source)\n", made.folder, source.name(), dtype,
                  human_bytes(static_cast<double>(made.bytes)), human_bytes(static_cast<double>(made.source_bytes)));
  const auto worst = worst_first(made.matrices);
  text += fmt::format("\nerror of the weights, root mean square: {} matrices{}\n", worst.size(),
                      worst.size() > worst_shown ? fmt::format(", the {} worst", worst_shown) : "");
  for (std::size_t i = 0; i < std::min(worst.size(), worst_shown); ++i)
    text += fmt::format("  {:<64} {} {:>14} {:>7.2f} %\n", worst[i].name, name(worst[i].type),
                        fmt::format("[{}, {}]", worst[i].out, worst[i].in), 100 * worst[i].relative_rms);
  if (!made.exact.empty()) text += fmt::format("not quantized, as in the source: {}\n", fmt::join(made.exact, ", "));
  if (!comparison) return text;
  text += "\nthe answer, token by token as given\n";
  const auto rows = outcomes(*comparison);
  for (const Outcome& row : rows) text += to_text(row, dtype);
  if (rows.size() > 1) text += to_text(outcome(*comparison, "together", 0, comparison->given.size()), dtype);
  return text;
}

WeightType wanted_type(const Options& options) {
  if (options.dtype == "q8") return WeightType::q8;
  if (options.dtype == "q4") return WeightType::q4;
  throw Error(ErrorCode::usage,
              options.dtype == "auto"
                  ? std::string("quantize needs --dtype q8 or --dtype q4")
                  : fmt::format("--dtype {} quantizes nothing: quantize takes q8 or q4", options.dtype),
              "dtype");
}

// Whether the model in f32 fits into memory: without it there is nothing to compare with.
bool fits(const NetworkPlan& plan) {
  const MemoryLimits limits = memory_limits();
  if (static_cast<std::uint64_t>(plan.block_bytes) + (std::uint64_t{256} << 20) <= limits.available()) return true;
  log::warn("the model in f32 takes {}, {} leaves {}: the answers are not compared",
            human_bytes(static_cast<double>(plan.block_bytes)), limits.binding(),
            human_bytes(static_cast<double>(limits.available())));
  return false;
}

}  // namespace

int run_quantize(const Options& options) {
  if (options.words.empty()) fail(ErrorCode::usage, "quantize takes the folder to write; see tapetum quantize --help");
  const WeightType type = wanted_type(options);
  const std::string& folder = options.words[0];
  const PictureList pictures = list_pictures({options.words.begin() + 1, options.words.end()}, options);
  if (!options.question.empty() && pictures.sources.empty())
    throw Error(ErrorCode::usage, "--question is about pictures, and none is given", "question");

  LoadOptions load;
  load.dtype = *parse_dtype(options.dtype);
  load.weights = false;
  const auto source = load_model(model_folder(options.model), load);
  const NetworkPlan exact = plan_network(source->family(), source->files(), WeightType::f32);
  if (!pictures.sources.empty() && exact.shape.patch_px < 1)
    throw Error(ErrorCode::unsupported, fmt::format("{}: reads text only, it takes no pictures", source->name()),
                source->name());

  // All that is given is read before anything is written.
  std::vector<std::pair<std::string, std::string>> texts;
  for (const std::string& file : options.texts)
    texts.emplace_back(file == "-" ? "stdin" : file, read_file(file, text_limit_bytes).value());
  if (texts.empty()) texts.emplace_back(built_in_name, built_in_text);
  Guards guards;
  std::vector<Safety> verdicts;
  std::vector<Asked> asked;
  for (const PictureSource& picture : pictures.sources)
    asked.push_back({shown_name(picture),
                     words_for(*source, options.question.empty() ? describe_question : options.question),
                     load_picture(picture, options, guards, verdicts)});

  QuantizedFolder made;
  {
    Progress progress("weights", 0, Progress::Unit::bytes, options.quiet);
    made = quantize(*source, folder,
                    {.type = type, .replace = options.force, .progress = [&](std::uint64_t done, std::uint64_t total) {
                       progress.total(total);
                       progress.update(done);
                     }});
  }
  std::optional<Comparison> comparison;
  if (fits(exact)) comparison = compare_forms(source->folder(), folder, texts, asked, options);
  if (options.json)
    write_json(report_json(*source, made, options.dtype, comparison));
  else
    write_out(report_text(*source, made, options.dtype, comparison));
  return 0;
}

}  // namespace tap::cli
