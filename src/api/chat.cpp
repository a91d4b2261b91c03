#include "api/internal.h"

namespace tap::api {

namespace {

// Different for different forms.
std::string key_of(const v1::AskOptions& options) {
  if (!options.regex.empty()) return fmt::format("regex {}", options.regex);
  if (!options.json_schema.empty()) return fmt::format("schema {}", options.json_schema);
  std::string key("choices");
  for (const std::string& choice : options.choices) key += fmt::format(" {}:{}", choice.size(), choice);
  return key;
}

// The form that an answer must have, or null.
std::shared_ptr<const Constraint> constraint_of(const v1::AskOptions& options, Engine& engine) {
  const int forms = !options.choices.empty() + !options.regex.empty() + !options.json_schema.empty();
  if (forms == 0) return nullptr;
  if (forms > 1)
    throw tap::Error(tap::ErrorCode::usage, "choices, regex and json_schema exclude each other; give one", "choices");
  const std::string key = key_of(options);
  if (key == engine.constraint_key) return engine.constraint;
  const auto grammar = !options.choices.empty() ? Grammar::from_choices(options.choices)
                       : !options.regex.empty() ? Grammar::from_regex(options.regex)
                                                : Grammar::from_schema(options.json_schema, "json_schema");
  if (!grammar.ok()) throw tap::Error(tap::ErrorCode::usage, grammar.error().message(), grammar.error().item());
  engine.constraint =
      std::make_shared<const Constraint>(*grammar, engine.model->tokenizer(), engine.model->end_tokens());
  engine.constraint_key = key;
  return engine.constraint;
}

}  // namespace

GenerateOptions generate_options(const v1::AskOptions& options, Engine& engine) {
  GenerateOptions generate;
  generate.max_tokens = options.max_tokens;
  generate.stop = options.stop;
  SamplingOptions& sampling = generate.sampling = engine.model->sampling_defaults();
  if (options.temperature) sampling.temperature = *options.temperature;
  if (options.top_p) sampling.top_p = *options.top_p;
  if (options.top_k) sampling.top_k = *options.top_k;
  if (options.min_p) sampling.min_p = *options.min_p;
  sampling.seed = options.seed;
  sampling.validate();
  generate.constraint = constraint_of(options, engine);
  return generate;
}

// One token: the text that may be shown now.
std::string Turn::step() {
  if (talk->newest != number) fail(tap::ErrorCode::usage, "the chat has begun another turn: this answer has ended");
  std::string piece;
  if (const auto event = generation->next())
    piece = event->text;
  else
    piece = generation->rest(), state = State::done;
  if (text.empty() && !exact) piece.erase(0, std::min(piece.find_first_not_of(blanks), piece.size()));
  text += piece;
  if (answer.first_token_ms == 0) answer.first_token_ms = answer.total_ms + since_last.ms();
  return piece;
}

std::string Turn::filtered(std::string piece) {
  for (auto& [judge, filter] : filters)
    piece = with_engine(*judge->engine, keep_on, [&, &f = filter] {
      std::string passed = f.feed(piece);
      return state == State::done ? passed + f.finish() : passed;
    });
  return piece;
}

void Turn::finish() {
  const Timings& timings = generation->timings();
  answer.text = exact ? text : std::string(trimmed(text));
  answer.finish = generation->finish_reason() == FinishReason::length ? v1::Finish::length : v1::Finish::stop;
  answer.prompt_tokens = timings.prompt_tokens;
  answer.image_tokens = timings.image_tokens;
  answer.cached_tokens = timings.cached_tokens;
  answer.output_tokens = timings.output_tokens;
  conversation.assistant(answer.text);
  talk->conversation = std::move(conversation);
  ++talk->turns;
  generation.reset();
}

std::optional<std::string> Turn::next() {
  while (state == State::running) {
    since_last = Stopwatch();
    try {
      std::string piece = filtered(with_engine(*talk->engine, keep_on, [&] { return step(); }));
      if (state == State::done) with_engine(*talk->engine, {}, [&] { finish(); });
      answer.total_ms += since_last.ms();
      if (!piece.empty()) return piece;
    } catch (...) {
      state = State::failed;
      throw;
    }
  }
  return std::nullopt;
}

namespace {

// Lays a question out. `talk.asking` is held.
std::unique_ptr<Turn> begin_turn(const std::shared_ptr<Talk>& talk, std::string_view question,
                                 std::span<const v1::Image> images, const v1::AskOptions& options) {
  auto turn = std::make_unique<Turn>();
  turn->talk = talk;
  turn->keep_on = options.keep_on;
  Conversation asked;  // the words of all turns and this one, for those who judge them
  if (!talk->before.empty() || !talk->behind.empty()) {
    with_engine(*talk->engine, options.keep_on, [&] { asked = talk->conversation; });
    std::vector<std::shared_ptr<const tap::Image>> pictures;
    for (const v1::Image& image : images) pictures.push_back(Access::picture(image));
    asked.user(std::string(question), std::move(pictures));
    judge_input(talk->before, asked, images, options.keep_on);
    for (const v1::Guard& guard : talk->behind)
      turn->filters.emplace_back(Access::shared_judge(guard),
                                 AnswerFilter({Access::judge(guard).guard.get()}, words_of(asked), "the answer"));
  }
  with_engine(*talk->engine, options.keep_on, [&] {
    if (trimmed(question).empty()) fail(tap::ErrorCode::usage, "the question is empty");
    const GenerateOptions generate = generate_options(options, *talk->engine);
    std::vector<std::shared_ptr<const tap::Image>> pictures;
    for (const v1::Image& image : images) pictures.push_back(Access::picture(image));
    turn->exact = generate.constraint != nullptr;
    turn->conversation = talk->conversation;
    turn->conversation.user(std::string(question), std::move(pictures));
    turn->generation.emplace(talk->session->ask(turn->conversation, generate));
    turn->number = ++talk->newest;
  });
  turn->answer.total_ms = turn->since_last.ms();
  return turn;
}

}  // namespace

}  // namespace tap::api

namespace tap::v1 {

std::string_view name(Finish finish) noexcept { return finish == Finish::length ? "length" : "stop"; }

Stream::Stream(std::unique_ptr<api::Turn> turn) noexcept : turn_(std::move(turn)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;

std::optional<std::string> Stream::next() { return turn_->next(); }

const Answer& Stream::answer() const {
  if (turn_->state != api::Turn::State::done)
    throw Error(ErrorCode::usage, "the answer is not complete: call next() until it gives nothing");
  return turn_->answer;
}

Answer Chat::ask(std::string_view question, std::span<const Image> images, const AskOptions& options) {
  talk_->engine->refuse_reentry();
  const std::lock_guard lock(talk_->asking);
  const auto turn = api::begin_turn(talk_, question, images, options);
  while (turn->next()) {
  }
  return turn->answer;
}

Stream Chat::stream(std::string_view question, std::span<const Image> images, const AskOptions& options) {
  talk_->engine->refuse_reentry();
  const std::lock_guard lock(talk_->asking);
  return api::Access::stream(api::begin_turn(talk_, question, images, options));
}

std::int64_t Chat::turns() const { return talk_->turns; }

void Chat::clear() {
  talk_->engine->refuse_reentry();
  const std::lock_guard lock(talk_->asking);
  api::with_engine(*talk_->engine, {}, [&] {
    talk_->conversation.messages.resize(talk_->first_turn);
    talk_->session->clear();
    ++talk_->newest;
    talk_->turns = 0;
  });
}

}  // namespace tap::v1
