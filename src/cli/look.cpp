// tapetum IMAGE… "question", and tapetum describe IMAGE…
#include "base/file.h"
#include "cli/asking.h"
#include "cli/commands.h"
#include "cli/dry_run.h"
#include "cli/output.h"

namespace tap::cli {

namespace {

constexpr const char* describe_question = "Describe the image.";

int ask_all(const std::vector<std::string>& pictures, const std::string& question, const Options& options) {
  if (options.dry_run)
    return dry_run(
        pictures, [&](const Model&) { return question; }, options);
  return for_each_picture(pictures, options, [&](const Turn& turn) {
    Conversation conversation;
    if (!options.system.empty()) conversation.system(options.system);
    conversation.user(question, {turn.image});
    Generation generation = turn.session.ask(conversation, turn.generate);
    const bool stream = !options.json;
    if (stream && pictures.size() > 1) write_out(turn.path + ": ");
    std::string text;
    const auto say = [&](std::string piece) {
      if (text.empty())
        piece.erase(0, piece.find_first_not_of(" \n"));  // the template leaves no space after "Assistant:"
      if (stream) write_out(piece);
      text += piece;
    };
    while (const auto event = generation.next()) say(event->text);
    say(generation.rest());
    if (stream) write_out("\n");
    const Timings timings = turn.report(generation.timings());
    return Json{{"image", turn.path},
                {"width", turn.image->width},
                {"height", turn.image->height},
                {"model", turn.session.model().name()},
                {"prompt_sent", generation.prepared().sent},
                {"text", text},
                {"finish_reason", name(generation.finish_reason())},
                {"tokens", tokens_json(timings)},
                {"ms", ms_json(timings, turn.total.ms())}};
  });
}

}  // namespace

int run_describe(const Options& options) {
  if (options.words.empty()) fail(ErrorCode::usage, "describe takes at least one picture; see tapetum describe --help");
  return ask_all(options.words, describe_question, options);
}

int run_look(const Options& options) {
  const auto is_picture = [](const std::string& word) { return word == "-" || file_exists(word); };
  std::vector<std::string> pictures = options.words;
  if (pictures.empty()) fail(ErrorCode::usage, "name a picture and a question: tapetum IMAGE \"question\"");
  std::string question = describe_question;
  if (pictures.size() > 1 && !is_picture(pictures.back())) {
    question = pictures.back();
    pictures.pop_back();
  }
  if (question.find_first_not_of(" \t\r\n") == std::string::npos) fail(ErrorCode::usage, "the question is empty");
  for (const std::string& path : pictures)
    if (!is_picture(path))
      throw Error(ErrorCode::not_found, fmt::format("{}: no such picture (the question comes last)", path), path);
  return ask_all(pictures, question, options);
}

}  // namespace tap::cli
