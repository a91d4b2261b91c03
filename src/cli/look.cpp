// tapetum IMAGE… "question", and tapetum describe IMAGE…
#include "base/file.h"
#include "cli/answer_form.h"
#include "cli/asking.h"
#include "cli/commands.h"
#include "cli/dry_run.h"
#include "cli/output.h"
#include "cli/videos.h"
#include "codec/encode.h"
#include "tasks/explain.h"

namespace tap::cli {

namespace {

// --explain: the answer, and where the model looked.
int explain_one(const PictureList& pictures, const std::string& question, const Options& options) {
  if (pictures.many) fail(ErrorCode::usage, "--explain takes one picture, {} are given", pictures.sources.size());
  const GrammarPtr grammar = grammar_of(options);
  const Loaded loaded = load_model_for(options, pictures, 1);
  const Model& model = *loaded.model;
  Guards guards(options);
  std::vector<Safety> verdicts;
  const PictureSource& source = pictures.sources.front();
  const auto image = load_medium(source, options, model, guards, verdicts).image;
  if (!image)
    throw Error(ErrorCode::unsupported, fmt::format("{}: --explain takes a picture, not a video", source.name),
                source.name);
  Conversation asked;
  if (!options.system.empty()) asked.system(options.system);
  asked.user(words_for(model, question), {image});
  (void)guards.judge_words(asked, shown_name(source));
  Session session(model, {.context = options.context, .features = nullptr});
  Explanation found = explain(session, asked, generate_options(options, model, grammar));
  if (const auto filter = guards.filter(asked, shown_name(source)))
    found.answer.text = filter->whole(found.answer.text);
  Image drawn = *image;
  draw_heat(drawn, found.maps.front());
  write_file_atomic(options.explain, std::span<const std::byte>(encode_png(drawn)));
  if (!options.json) return write_out(found.answer.text + "\n"), 0;
  const HeatMap& map = found.maps.front();
  write_json({{"image", shown_name(source)},
              {"width", image->width},
              {"height", image->height},
              {"model", model.name()},
              {"text", found.answer.text},
              {"attention", {{"rows", map.rows}, {"columns", map.columns}, {"heat", map.heat}}}});
  return 0;
}

int ask_all(const PictureList& pictures, const std::string& question, const Options& options) {
  if (options.logprobs && !options.json && !options.jsonl)
    throw Error(ErrorCode::usage, "--logprobs is part of the JSON output; add --json or --jsonl", "logprobs");
  if (options.dry_run)
    return dry_run(
        pictures, [&](const Model& model) { return words_for(model, question); }, options);
  if (!options.explain.empty()) return explain_one(pictures, question, options);
  const bool scores = options.logprobs && !options.choices.empty();
  std::shared_ptr<Session> scorer;  // shares the pictures' features with the batch
  return ask_about(pictures, options, {}, [&](const Turn& turn, Item& item) {
    if (!options.system.empty()) item.conversation.system(options.system);
    item.conversation.user_about(turn.medium, words_for(turn.model, question));
    item.streams = !options.json && !options.jsonl;
    if (turn.many) item.heading = turn.name + ": ";
    Json json = {{"image", turn.name}, {"width", turn.width}, {"height", turn.height}, {"model", turn.model.name()}};
    if (turn.medium.clip) json["seconds"] = turn.medium.clip->plan.seconds;  // of the frames that were looked at
    if (scores && !scorer)
      scorer =
          std::make_shared<Session>(turn.model, SessionOptions{.context = options.context, .features = turn.features});
    // The question once more, picture and all, only where its choices will be scored.
    item.report = [json = std::move(json), &options, &total = turn.total, &model = turn.model, scorer,
                   asked = scores ? item.conversation : Conversation()](std::span<const Answer> answers) {
      const Answer& answer = answers.front();
      Json all = json;
      all.update({{"prompt_sent", answer.prompt_sent},
                  {"text", answer.text},
                  {"finish_reason", name(answer.finish_reason)},
                  {"tokens", tokens_json(answer.timings)},
                  {"lookup", lookup_json(answer.timings)},
                  {"ms", ms_json(answer.timings, total.ms())}});
      if (options.logprobs) add_logprobs(all, answer, model.tokenizer());
      if (scorer) all["choices"] = score_choices(*scorer, model.prepare(asked), split_choices(options.choices));
      return Outcome{std::move(all), "\n"};
    };
  });
}

}  // namespace

int run_describe(const Options& options) {
  if (options.words.empty() && !options.clipboard)
    fail(ErrorCode::usage, "describe takes at least one picture; see tapetum describe --help");
  return ask_all(list_pictures(options.words, options), describe_question, options);
}

int run_look(const Options& options) {
  std::vector<std::string> words = options.words;
  if (words.empty() && !options.clipboard)
    fail(ErrorCode::usage, "name a picture and a question: tapetum IMAGE \"question\"");
  std::string question = describe_question;
  if (words.size() + options.clipboard > 1 && !names_pictures(words.back())) {
    question = words.back();
    words.pop_back();
  }
  if (question.find_first_not_of(" \t\r\n") == std::string::npos) fail(ErrorCode::usage, "the question is empty");
  for (const std::string& word : words)
    if (!names_pictures(word))
      throw Error(ErrorCode::not_found, fmt::format("{}: no such picture (the question comes last)", word), word);
  return ask_all(list_pictures(words, options), question, options);
}

}  // namespace tap::cli
