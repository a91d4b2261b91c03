#include "cli/chat.h"

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>

#include "base/file.h"
#include "base/log.h"
#include "cli/chat_words.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/line_view.h"
#include "cli/output.h"
#include "cli/pictures.h"
#include "cli/terminal.h"
#include "tasks/results_json.h"

namespace tap::cli {

namespace {

constexpr std::size_t most_picture_bytes = std::size_t{1} << 30;  // decoded, of all pictures of a conversation

std::string absolute(const std::string& path) {
  if (is_web_address(path)) return path;
  char resolved[PATH_MAX];
  return ::realpath(path.c_str(), resolved) ? std::string(resolved) : path;
}

std::string base_name(const std::string& source) { return source.substr(source.rfind('/') + 1); }

bool is_regular(const std::string& path) { return file_exists(path) && !is_directory(path); }

}  // namespace

void check_picture_bytes(std::size_t bytes, const std::string& source) {
  if (bytes > most_picture_bytes)
    throw Error(
        ErrorCode::limit,
        fmt::format("{}: with it the conversation's pictures take {} bytes, the limit is {}; /reset begins anew",
                    source, bytes, most_picture_bytes),
        source);
}

Chat::Chat(const Options& options, ChatInput& input)
    : options_(options),
      input_(input),
      model_(load_model_for(options, {}, 1).model),
      session_(*model_, {.context = options.context, .features = nullptr}),
      guards_(options) {
  (void)generate_options(options_, *model_);  // wrong values are told before the first question
  transcript_.system = options.system;
}

void Chat::note(std::string_view line) const {
  if (log::level() == log::Level::quiet) return;
  std::fprintf(stderr, "%s\n", log::one_line(line).c_str());
}

void Chat::tell(std::string_view text) const {
  if (options_.json)
    std::fprintf(stderr, "%.*s", static_cast<int>(text.size()), text.data());
  else
    write_out(input_.is_terminal() ? printable(text) : std::string(text));
}

void Chat::fail_turn(const Error& error) {
  failed_ = true;
  if (options_.json)
    write_json(error_json(error));
  else
    print_error(error);
}

ChatPicture Chat::load(const std::string& source) {
  if (source == "-") fail(ErrorCode::usage, "-: stdin is the conversation, no picture; name a file");
  ChatPicture picture{source, load_picture({source, false}, options_, guards_, judged_), {}};
  picture.source = absolute(source);
  picture.sha256 = picture_sha256(*picture.image);
  const auto reuse = [&](const ChatPicture& other) {
    if (other.sha256 == picture.sha256) picture.image = other.image;  // the same pixels are kept once
  };
  for (const ChatTurn& turn : transcript_.turns) std::for_each(turn.pictures.begin(), turn.pictures.end(), reuse);
  std::for_each(pending_.begin(), pending_.end(), reuse);
  return picture;
}

void Chat::attach(const std::string& source) {
  ChatPicture picture = load(source);
  std::vector<const Image*> images = {picture.image.get()};
  for (const ChatTurn& turn : transcript_.turns)
    for (const ChatPicture& other : turn.pictures) images.push_back(other.image.get());
  for (const ChatPicture& other : pending_) images.push_back(other.image.get());
  std::sort(images.begin(), images.end());
  images.erase(std::unique(images.begin(), images.end()), images.end());
  std::size_t bytes = 0;
  for (const Image* image : images) bytes += image->pixels.size();
  check_picture_bytes(bytes, picture.source);
  pending_.push_back(std::move(picture));
}

void Chat::say_attached(const ChatPicture& picture) const {
  const Image& image = *picture.image;
  note(fmt::format("attached {} ({}x{}, {} tokens)", base_name(picture.source), image.width, image.height,
                   model_->processor().plan(image.width, image.height).tokens));
}

int Chat::run() {
  if (input_.is_terminal())
    note(
        fmt::format("{}: the path of a picture attaches it, /help lists the commands, Ctrl-D leaves.", model_->name()));
  for (const ChatPicture& picture : pending_) say_attached(picture);
  while (!quit_) {
    try {
      std::string line;
      const ChatInput::Got got = input_.read(line);
      if (got == ChatInput::Got::interrupted) return 130;
      if (got == ChatInput::Got::end) break;
      obey(line);
    } catch (const Error& error) {
      const bool stdin_failed = error.code() == ErrorCode::io && error.item() == "stdin";
      const bool stdout_failed = error.code() == ErrorCode::io && error.item() == "stdout";
      if (error.code() == ErrorCode::cancelled || stdin_failed || stdout_failed) throw;
      fail_turn(error);
    } catch (const std::bad_alloc&) {
      fail_turn(Error(ErrorCode::out_of_memory, "out of memory; /reset lets the conversation and its pictures go"));
    }
  }
  return failed_ && !input_.is_terminal() ? 1 : 0;
}

void Chat::obey(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return;
  if (command(text)) return;
  Line line = find_pictures(text, is_regular);
  const std::size_t before = pending_.size();
  try {
    for (const std::string& source : line.pictures) attach(source);
  } catch (...) {
    pending_.resize(before);  // the line as a whole or not at all
    throw;
  }
  for (std::size_t i = before; i < pending_.size(); ++i)
    if (line.text.empty() || input_.is_terminal()) say_attached(pending_[i]);
  if (!line.text.empty()) ask(std::move(line.text));
}

void Chat::ask(std::string question) {
  ChatTurn turn{std::move(question), std::exchange(pending_, {}), {}, FinishReason::none};
  transcript_.turns.push_back(turn);
  const Conversation conversation = transcript_.conversation();
  transcript_.turns.pop_back();
  try {
    words_judged_ = guards_.judge_words(conversation, "the question");
    if (!answer(conversation, turn)) pending_ = std::move(turn.pictures);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::limit) {
      pending_ = std::move(turn.pictures);
      throw;
    }
    const bool first = transcript_.turns.empty();
    throw Error(error.code(),
                fmt::format("{}; {}", error.message(),
                            first ? "ask in fewer words or about a smaller picture"
                                  : "/undo drops the last turn, /reset all of them"),
                error.item());
  }
  if (turn.finish == FinishReason::none) return;
  transcript_.turns.push_back(std::move(turn));
  judged_.clear();  // its pictures are no longer waiting
}

bool Chat::answer(const Conversation& conversation, ChatTurn& turn) {
  const Stopwatch total;
  std::vector<bool> known;  // pictures whose rows are there already
  if (log::level() >= log::Level::verbose)
    for (const auto& image : conversation.images())
      known.push_back(session_.features()->find(
                          picture_key(model_->fingerprint(), model_->processor().settings(), *image)) != nullptr);
  Generation generation = session_.ask(conversation, generate_options(options_, *model_));
  const bool stream = !options_.json;
  const auto filter = guards_.filter(conversation, "the answer");
  const auto say = [&](std::string piece, bool last = false) {
    if (filter) piece = filter->feed(piece) + (last ? filter->finish() : "");
    if (turn.answer.empty()) piece.erase(0, piece.find_first_not_of(" \n"));  // as for a single question
    if (stream) write_out(input_.is_terminal() ? printable(piece) : piece);
    turn.answer += piece;
  };
  turn.finish = FinishReason::cancelled;
  try {
    while (const auto event = generation.next()) say(event->text);
    say(generation.rest(), true);
    turn.finish = generation.finish_reason();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::cancelled || !input_.is_terminal()) throw;
    if (interruption() != Interruption::stop) {
      note("");  // what comes next does not belong to the answer's line
      throw;
    }
    resume();
  }
  answer_judged_ = filter ? filter->verdicts() : std::vector<Safety>();
  while (turn.answer.ends_with(' ') || turn.answer.ends_with('\n')) turn.answer.pop_back();
  const bool stopped = turn.finish == FinishReason::cancelled;
  if (stopped && turn.answer.empty()) {
    turn.finish = FinishReason::none;
    note("(stopped before the answer began; the question is not kept)");
    return false;
  }
  if (stream) write_out("\n");
  if (stopped) note("(stopped; what was said stays in the conversation)");
  if (turn.finish == FinishReason::length) {
    const Timings& t = generation.timings();
    if (t.prompt_tokens + t.output_tokens >= session_.context())
      note(
          fmt::format("(the context of {} tokens is full: /undo drops the last turn, /reset all)", session_.context()));
    else
      note(fmt::format("(cut after {} tokens: /params max-tokens N changes that)", t.output_tokens));
  }
  report(turn, generation, known, total.ms());
  return true;
}

void Chat::report(const ChatTurn& turn, const Generation& generation, const std::vector<bool>& known,
                  double total_ms) const {
  const Timings& timings = generation.timings();
  const Prompt& prompt = generation.prepared().prompt;
  std::vector<const ChatPicture*> pictures;
  for (const ChatTurn& earlier : transcript_.turns)
    for (const ChatPicture& picture : earlier.pictures) pictures.push_back(&picture);
  for (const ChatPicture& picture : turn.pictures) pictures.push_back(&picture);
  for (std::size_t i = 0; i < known.size() && i < pictures.size(); ++i) {
    const PictureSlots& slots = prompt.pictures[i];
    const bool in_cache = slots.count > 0 &&
                          prompt.slots[static_cast<std::size_t>(slots.begin + slots.count - 1)] < timings.cached_tokens;
    log::info("picture {}: {}", base_name(pictures[i]->source), in_cache || known[i] ? "cached" : "encoded");
  }
  log_timings(timings, total_ms);
  if (!options_.json) return;
  Json images = Json::array();
  for (const ChatPicture& picture : turn.pictures) images.push_back(picture.source);
  Json tokens = tokens_json(timings);
  tokens["cached"] = timings.cached_tokens;
  Json json = {{"question", turn.question},
               {"images", std::move(images)},
               {"model", model_->name()},
               {"text", turn.answer},
               {"finish_reason", name(turn.finish)},
               {"tokens", std::move(tokens)},
               {"lookup", lookup_json(timings)},
               {"ms", ms_json(timings, total_ms)}};
  if (!guards_.empty()) {
    std::vector<Safety> input = judged_;
    input.insert(input.end(), words_judged_.begin(), words_judged_.end());
    json["safety"] = {{"input", safety_json(input)}, {"output", safety_json(answer_judged_)}};
  }
  write_json(json);
}

int run_chat(const Options& options) {
  (void)wake_fd();  // before the first signal that somebody may wait for
  const bool edits = Terminal::usable() && !options.json;
  const auto input = edits ? terminal_input(complete_chat) : stream_input();
  Chat chat(options, *input);
  for (const std::string& source : options.words) chat.attach(source);
  return chat.run();
}

}  // namespace tap::cli
