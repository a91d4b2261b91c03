// tapetum compare MODEL MODEL… IMAGE "question": the same question to several models, one after the other.
#include <algorithm>

#include "base/file.h"
#include "base/strings.h"
#include "cli/asking.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/videos.h"

namespace tap::cli {

namespace {

struct Said {
  std::string model, dtype;
  Answer answer;
  double load_ms = 0, total_ms = 0;
};

Said ask(const std::string& name, const PictureSource& picture, const std::string& question, const Options& options,
         Guards& guards) {
  Options own = options;
  own.model = name;
  const PictureList pictures{{picture}, false};
  const Loaded loaded = load_model_for(own, pictures, 1);
  const Model& model = *loaded.model;
  std::vector<Safety> verdicts;
  Medium medium = load_medium(picture, own, model, guards, verdicts);
  Conversation asked;
  if (!options.system.empty()) asked.system(options.system);
  asked.user_about(std::move(medium), question);
  (void)guards.judge_words(asked, "the question");
  Session session(model, {.context = options.context, .features = nullptr});
  const Stopwatch watch;
  Said said{name, std::string(tap::name(model.weight_type())), answer(session, asked, generate_options(own, model)),
            model.load_ms(), 0};
  said.total_ms = watch.ms();
  if (const auto filter = guards.filter(asked, name + "'s answer")) said.answer.text = filter->whole(said.answer.text);
  log_timings(said.answer.timings, said.total_ms);
  return said;
}

// Lines of at most `columns` characters, cut between words where there are some.
std::vector<std::string> wrapped(std::string_view text, std::size_t columns) {
  std::vector<std::string> lines(1);
  std::size_t used = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
    const std::string_view word = text.substr(0, end);
    const std::size_t width = characters(word);
    if (used > 0 && used + 1 + width > columns) lines.emplace_back(), used = 0;
    if (used > 0) lines.back() += ' ', ++used;
    lines.back() += word;
    used += width;
    if (end < text.size() && text[end] == '\n') lines.emplace_back(), used = 0;
    text.remove_prefix(std::min(text.size(), end + 1));
  }
  return lines;
}

std::string side_by_side(const std::vector<Said>& all, std::size_t columns) {
  const std::size_t each = std::max<std::size_t>(24, (columns - 3 * (all.size() - 1)) / all.size());
  std::vector<std::vector<std::string>> blocks;
  std::size_t rows = 0;
  for (const Said& said : all) {
    std::vector<std::string> block = wrapped(said.model, each);
    block.push_back(
        fmt::format("{}, {:.2f} s, {} tokens", said.dtype, said.total_ms / 1000, said.answer.timings.output_tokens));
    block.emplace_back();
    for (std::string& line : wrapped(said.answer.text, each)) block.push_back(std::move(line));
    rows = std::max(rows, block.size());
    blocks.push_back(std::move(block));
  }
  std::string text;
  for (std::size_t row = 0; row < rows; ++row) {
    std::string line;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const std::string cell = row < blocks[i].size() ? printable(blocks[i][row]) : "";
      const std::size_t width = characters(cell);
      line += (i > 0 ? " | " : "") + cell;
      if (i + 1 < blocks.size()) line += std::string(each > width ? each - width : 0, ' ');
    }
    while (line.ends_with(' ')) line.pop_back();
    text += line + "\n";
  }
  return text;
}

}  // namespace

int run_compare(const Options& options) {
  constexpr const char* usage =
      "compare takes models, then a picture, then a question: tapetum compare nano org/name photo.jpg \"What is "
      "this?\"";
  if (options.words.size() < 4) fail(ErrorCode::usage, "{}", usage);
  const std::string question = options.words.back(), picture = options.words[options.words.size() - 2];
  if (trimmed(question).empty()) fail(ErrorCode::usage, "the question is empty");
  if (!names_pictures(picture))
    throw Error(ErrorCode::not_found, fmt::format("{}: no such picture ({})", picture, usage), picture);
  const PictureList pictures = list_pictures({picture}, options);
  if (pictures.many) fail(ErrorCode::usage, "{}: compare takes one picture", picture);
  Guards guards(options);
  std::vector<Said> all;
  for (std::size_t i = 0; i + 2 < options.words.size(); ++i)  // one in memory at a time
    all.push_back(ask(options.words[i], pictures.sources.front(), question, options, guards));
  if (!options.json) {
    constexpr std::size_t usual_columns = 100;
    write_out(side_by_side(all, usual_columns));
    return 0;
  }
  Json list = Json::array();
  for (const Said& said : all)
    list.push_back({{"model", said.model},
                    {"dtype", said.dtype},
                    {"text", said.answer.text},
                    {"finish_reason", name(said.answer.finish_reason)},
                    {"tokens", tokens_json(said.answer.timings)},
                    {"lookup", lookup_json(said.answer.timings)},
                    {"ms", ms_json(said.answer.timings, said.total_ms)}});
  const bool same =
      std::ranges::all_of(all, [&](const Said& said) { return said.answer.text == all.front().answer.text; });
  write_json(
      {{"image", shown_name(pictures.sources.front())}, {"question", question}, {"same", same}, {"answers", list}});
  return 0;
}

}  // namespace tap::cli
