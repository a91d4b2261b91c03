#include "runtime/session.h"

#include <algorithm>

namespace tap {

Session::Session(const Model& model, SessionOptions options)
    : model_(&model),
      context_(options.context > 0 ? std::min(options.context, model.context()) : model.context()),
      encoder_(model, std::move(options.features)),
      cache_(model.network().kv_shape(), model.cache_type(), context_) {}

Generation Session::ask(const Conversation& conversation, const GenerateOptions& options) {
  const Stopwatch watch;  // rendering and planning are part of the time to the first token
  Generation generation = ask(model_->prepare(conversation), options);
  generation.since_ask_ = watch;
  return generation;
}

Generation Session::ask(PreparedPrompt prepared, const GenerateOptions& options) {
  require_fits(prepared, options, context_);
  Generation generation(*this, std::move(prepared), options);  // options that cannot be end no other answer
  generation.turn_ = ++turn_;
  return generation;
}

void Session::clear() {
  cache_.truncate(0);
  cached_.clear();
  ++turn_;
}

Tensor Session::features_of(const Image& image, const ImagePlan& plan, Timings* timings) {
  const Medium medium{std::shared_ptr<const Image>(std::shared_ptr<void>(), &image)};  // for the length of this call
  return encoder_.rows(encoder_.key_of(medium), medium, plan, timings);
}

Tensor Session::prefill(const PreparedPrompt& prepared, Dim more_rows, Timings& timings) {
  const Prompt& prompt = prepared.prompt;
  const Network& network = model_->network();
  const std::vector<PictureKey> keys = encoder_.keys_of(prepared);
  const std::vector<RowKey> rows = row_keys(prompt, keys);

  const Dim reused = cache_.truncate(reusable_rows(prompt, rows, cached_));
  cached_.resize(static_cast<std::size_t>(reused));
  cache_.expect(prompt.rows(), std::min(context_, prompt.rows() + more_rows));
  timings.cached_tokens = reused;

  std::vector<Tensor> features(prepared.media.size());  // of pictures with slots yet to fill
  for (std::size_t i = 0; i < features.size(); ++i) {
    const PictureSlots& slots = prompt.pictures[i];
    if (slots.count > 0 && prompt.slots[static_cast<std::size_t>(slots.begin + slots.count - 1)] >= reused)
      features[i] = encoder_.rows(keys[i], prepared.media[i], prepared.plans[i], &timings);
  }

  const Stopwatch watch;
  Tensor hidden;
  for (Dim begin = reused; begin < prompt.rows();) {
    const Dim end = chunk_end(prompt, begin);
    ForwardInput input;
    input.add_prompt(prompt, begin, end, features);
    hidden = network.forward(input.embed(network), input.batch(), &cache_);
    cached_.insert(cached_.end(), rows.begin() + begin, rows.begin() + end);
    begin = end;
  }
  const Tensor logits = network.logits(hidden.rows(hidden.dim(0) - 1, hidden.dim(0)));
  timings.prefill.ms = watch.ms();
  timings.prefill.tokens = prompt.rows() - reused;
  return logits;
}

Tensor Session::decode(std::span<const TokenId> ids, std::int32_t position, std::size_t axes) {
  const Network& network = model_->network();
  ForwardInput input;
  input.add_tokens(ids, position, axes, static_cast<Dim>(cached_.size()));
  const Tensor hidden = network.forward(input.embed(network), input.batch(), &cache_);
  Tensor logits = network.logits(hidden);
  keep(ids.front());
  return logits;
}

double Session::log_probability(const PreparedPrompt& prepared, std::span<const TokenId> answer) {
  if (prepared.prompt.rows() + static_cast<Dim>(answer.size()) > context_)
    fail(ErrorCode::limit, "the prompt has {} tokens and the answer to score {}, the context is {}",
         prepared.prompt.rows(), answer.size(), context_);
  ++turn_;
  std::int32_t position = prepared.prompt.next_position();
  try {
    Timings timings;
    Tensor logits = prefill(prepared, static_cast<Dim>(answer.size()), timings);
    double sum = 0;
    for (const TokenId id : answer) {
      sum += log_softmax(logits.values<float>(), {&id, 1});
      logits = decode({&id, 1}, position++, prepared.prompt.positions.size());
    }
    return sum + log_softmax(logits.values<float>(), model_->end_tokens());
  } catch (...) {
    recover();
    throw;
  }
}

void Session::recover() { cache_.truncate(static_cast<Dim>(cached_.size())); }

Generation::Generation(Session& session, PreparedPrompt prepared, const GenerateOptions& options)
    : session_(&session),
      turn_(session.turn_),
      prepared_(std::move(prepared)),
      loop_(session.model(), prepared_, options, session.context()),
      drafter_(options.lookup, prepared_.prompt) {
  timings_.load.ms = session.model().load_ms();
  timings_.prompt_tokens = prepared_.prompt.rows();
  timings_.image_tokens = static_cast<Dim>(prepared_.prompt.slots.size());
}

std::optional<TokenEvent> Generation::next() {
  if (loop_.finished()) return std::nullopt;
  if (turn_ != session_->turn_) fail(ErrorCode::internal, "the session has begun another answer");
  try {
    return step();
  } catch (const Error& error) {
    session_->recover();
    loop_.end(error.code() == ErrorCode::cancelled ? FinishReason::cancelled : FinishReason::stop);
    throw;
  } catch (...) {
    session_->recover();
    loop_.end(FinishReason::stop);
    throw;
  }
}

std::optional<TokenEvent> Generation::step() {
  ExecContext::current().checkpoint();
  if (loop_.output().empty()) {
    logits_ = session_->prefill(prepared_, loop_.max_tokens(), timings_);
    timings_.first_token_ms = since_ask_.ms();
  } else {
    if (agreed_) {
      session_->keep(loop_.output().back());
      ++timings_.accepted_tokens;
    } else {
      forward();
    }
    logits_ = rows_.rows(row_, row_ + 1);
    ++row_;
    ++timings_.decode.tokens;
  }
  TokenEvent event = loop_.take(logits_.values<float>());
  ++timings_.output_tokens;
  agreed_ = drafter_.take(event.id) && !loop_.finished();
  if (!agreed_) session_->recover();
  return event;
}

void Generation::forward() {
  const std::vector<TokenId>& output = loop_.output();
  std::vector<TokenId> ids{output.back()};
  const std::span<const TokenId> draft = drafter_.draft(loop_.max_tokens() - static_cast<Dim>(output.size()) - 1);
  ids.insert(ids.end(), draft.begin(), draft.end());
  const Stopwatch watch;
  rows_ = session_->decode(ids, loop_.newest_position(), prepared_.prompt.positions.size());
  const double ms = watch.ms();
  row_ = 0;
  drafter_.took(ms);
  timings_.decode.ms += ms;
  timings_.drafted_tokens += static_cast<Dim>(draft.size());
}

Answer answer(Session& session, const Conversation& conversation, const GenerateOptions& options) {
  Generation generation = session.ask(conversation, options);
  std::string text;
  while (const auto event = generation.next()) text += event->text;
  text += generation.rest();
  return answer_of(generation.loop(), std::move(text), generation.timings(), generation.prepared().sent);
}

}  // namespace tap
