#include "runtime/session.h"

#include <algorithm>

namespace tap {

namespace {

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \n\t\r");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \n\t\r") - begin + 1));
}

// The end of the chunk that starts at `begin`: at most session_prefill_rows on, but no atomic span is cut.
Dim chunk_end(const Prompt& prompt, Dim begin) {
  Dim end = std::min(begin + session_prefill_rows, prompt.rows());
  for (const Span& span : prompt.atomic)
    if (span.begin < end && end < span.end) end = span.begin > begin ? span.begin : span.end;
  return end;
}

}  // namespace

std::string_view name(FinishReason reason) {
  switch (reason) {
    case FinishReason::none: return "none";
    case FinishReason::stop: return "stop";
    case FinishReason::length: return "length";
    case FinishReason::cancelled: return "cancelled";
  }
  return "?";
}

Session::Session(const Model& model, SessionOptions options)
    : model_(&model),
      context_(options.context > 0 ? std::min(options.context, model.context()) : model.context()),
      features_(options.features ? std::move(options.features) : std::make_shared<FeatureCache>()),
      cache_(model.network().kv_shape(), model.cache_type(), context_) {}

Generation Session::ask(const Conversation& conversation, const GenerateOptions& options) {
  const Stopwatch watch;  // rendering and planning are part of the time to the first token
  Generation generation = ask(model_->prepare(conversation), options);
  generation.since_ask_ = watch;
  return generation;
}

Generation Session::ask(PreparedPrompt prepared, const GenerateOptions& options) {
  if (options.max_tokens < 1)
    throw Error(ErrorCode::usage, fmt::format("max_tokens is {}, must be at least 1", options.max_tokens),
                "max_tokens");
  for (const ImagePlan& plan : prepared.plans)
    if (plan.tokens >= context_)
      fail(ErrorCode::limit, "the picture of {}x{} becomes {} tokens, the context is {}", plan.source.width,
           plan.source.height, plan.tokens, context_);
  const Prompt& prompt = prepared.prompt;
  if (prompt.rows() < 1) fail(ErrorCode::bad_input, "the prompt is empty");
  if (prompt.rows() >= context_)
    fail(ErrorCode::limit, "the prompt has {} tokens, the context is {}, one of them for the answer", prompt.rows(),
         context_);
  if (prompt.pictures.size() != prepared.images.size() || prepared.plans.size() != prepared.images.size())
    fail(ErrorCode::bad_input, "the prompt has slots for {} pictures, {} are given", prompt.pictures.size(),
         prepared.images.size());
  Generation generation(*this, std::move(prepared), options);  // options that cannot be end no other answer
  generation.turn_ = ++turn_;
  return generation;
}

void Session::clear() {
  cache_.truncate(0);
  cached_.clear();
  pictures_.clear();
  ++turn_;
}

Tensor Session::features_of(const Image& image, const ImagePlan& plan, Timings* timings) {
  return features_of(picture_key(model_->fingerprint(), model_->processor().settings(), image), image, plan, timings);
}

Tensor Session::features_of(const PictureKey& key, const Image& image, const ImagePlan& plan, Timings* timings) {
  if (const Tensor* rows = features_->find(key)) return *rows;
  Stopwatch watch;
  const Processor& processor = model_->processor();
  const Image prepared = processor.prepare(image, plan);
  const Dim at_once = std::max<Dim>(1, session_pixel_elements / (3 * plan.tile.width * plan.tile.height));
  double preprocess_ms = watch.lap_ms(), encode_ms = 0;
  std::vector<Tensor> parts;
  Dim count = 0;
  for (Dim tile = 0; tile < plan.tiles(); tile += at_once) {
    const Tensor pixels = processor.tiles(prepared, plan, tile, std::min(tile + at_once, plan.tiles()));
    preprocess_ms += watch.lap_ms();
    parts.push_back(model_->network().see(pixels));
    count += parts.back().dim(0);
    encode_ms += watch.lap_ms();
  }
  if (count != plan.tokens) fail(ErrorCode::internal, "a picture gave {} rows for {} slots", count, plan.tokens);
  Tensor rows = parts.size() == 1 ? parts.front() : ops::concat_rows(parts);
  ++pictures_encoded_;
  if (timings) {
    timings->preprocess.ms += preprocess_ms;
    timings->preprocess.tokens += plan.tokens;
    timings->encode.ms += encode_ms;
    timings->encode.tokens += plan.tokens;
  }
  features_->put(key, rows);
  return rows;
}

std::vector<Session::RowKey> Session::keys_of(const PreparedPrompt& prepared, std::vector<PictureKey>& keys) {
  const Prompt& prompt = prepared.prompt;
  std::vector<RowKey> rows;
  for (const TokenId id : prompt.ids) rows.push_back({id, -1, 0});
  for (std::size_t i = 0; i < prepared.images.size(); ++i) {
    keys.push_back(picture_key(model_->fingerprint(), model_->processor().settings(), *prepared.images[i]));
    const auto known = std::find(pictures_.begin(), pictures_.end(), keys.back());
    const auto index = static_cast<std::int32_t>(known - pictures_.begin());
    if (known == pictures_.end()) pictures_.push_back(keys.back());
    const PictureSlots& slots = prompt.pictures[i];
    for (Dim row = 0; row < slots.count; ++row) {
      RowKey& key = rows[static_cast<std::size_t>(prompt.slots[static_cast<std::size_t>(slots.begin + row)])];
      key.picture = index;
      key.row = static_cast<std::int32_t>(row);
    }
  }
  return rows;
}

Tensor Session::prefill(const PreparedPrompt& prepared, Dim more_rows, Timings& timings) {
  const Prompt& prompt = prepared.prompt;
  const Network& network = model_->network();
  std::vector<PictureKey> keys;
  const std::vector<RowKey> rows = keys_of(prepared, keys);

  Dim reused = 0;  // the last row is always computed: its logits are wanted
  const Dim most = std::min(static_cast<Dim>(cached_.size()), prompt.rows() - 1);
  while (reused < most && cached_[static_cast<std::size_t>(reused)] == rows[static_cast<std::size_t>(reused)]) ++reused;
  for (const Span& span : prompt.atomic)
    if (span.begin < reused && reused < span.end) reused = span.begin;
  cache_.truncate(reused);
  cached_.resize(static_cast<std::size_t>(reused));
  cache_.reserve(std::min(context_, prompt.rows() + more_rows));
  timings.cached_tokens = reused;

  std::vector<Tensor> features(prepared.images.size());  // of pictures with slots yet to fill
  for (std::size_t i = 0; i < features.size(); ++i) {
    const PictureSlots& slots = prompt.pictures[i];
    if (slots.count > 0 && prompt.slots[static_cast<std::size_t>(slots.begin + slots.count - 1)] >= reused)
      features[i] = features_of(keys[i], *prepared.images[i], prepared.plans[i], &timings);
  }

  const Stopwatch watch;
  Tensor hidden;
  for (Dim begin = reused; begin < prompt.rows();) {
    const Dim end = chunk_end(prompt, begin);
    Tensor x = network.embed(
        std::span(prompt.ids).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
    for (std::size_t i = 0; i < features.size(); ++i) {
      if (!features[i].defined()) continue;
      const auto first = prompt.slots.begin() + prompt.pictures[i].begin, last = first + prompt.pictures[i].count;
      const auto from = std::lower_bound(first, last, begin), to = std::lower_bound(from, last, end);
      if (from == to) continue;
      std::vector<Dim> slots(from, to);
      for (Dim& slot : slots) slot -= begin;
      x = ops::put_rows(x, slots, features[i].rows(from - first, to - first));
    }
    hidden = network.forward(std::move(x), prompt.batch(begin, end), &cache_);
    cached_.insert(cached_.end(), rows.begin() + begin, rows.begin() + end);
    begin = end;
  }
  const Tensor logits = network.logits(hidden.rows(hidden.dim(0) - 1, hidden.dim(0)));
  timings.prefill.ms = watch.ms();
  timings.prefill.tokens = prompt.rows() - reused;
  return logits;
}

Tensor Session::decode(TokenId id, std::int32_t position, std::size_t axes) {
  const Network& network = model_->network();
  Batch batch = Batch::causal(1, static_cast<Dim>(cached_.size()));
  batch.positions.assign(axes, {position});
  const Tensor hidden = network.forward(network.embed({&id, 1}), batch, &cache_);
  cached_.push_back({id, -1, 0});
  return network.logits(hidden);
}

void Session::recover() { cache_.truncate(static_cast<Dim>(cached_.size())); }

Generation::Generation(Session& session, PreparedPrompt prepared, GenerateOptions options)
    : session_(&session),
      turn_(session.turn_),
      prepared_(std::move(prepared)),
      options_(std::move(options)),
      sampler_(options_.sampling, prepared_.prompt.ids),
      rng_(options_.sampling.seed),
      decoder_(session.model().tokenizer()),
      stop_(options_.stop) {
  const Prompt& prompt = prepared_.prompt;
  options_.max_tokens = std::min(options_.max_tokens, session.context() - prompt.rows());
  for (const auto& axis : prompt.positions)
    for (const std::int32_t at : axis) next_position_ = std::max(next_position_, at + 1);
  timings_.load.ms = session.model().load_ms();
  timings_.prompt_tokens = prompt.rows();
  timings_.image_tokens = static_cast<Dim>(prompt.slots.size());
}

void Generation::finish(FinishReason reason) {
  finish_ = reason;
  if (!stop_.stopped()) {
    rest_ = stop_.push(decoder_.finish());
    if (!stop_.stopped()) rest_ += stop_.finish();
  }
}

std::optional<TokenEvent> Generation::next() {
  if (finish_ != FinishReason::none) return std::nullopt;
  if (turn_ != session_->turn_) fail(ErrorCode::internal, "the session has begun another answer");
  try {
    return step();
  } catch (const Error& error) {
    session_->recover();
    finish(error.code() == ErrorCode::cancelled ? FinishReason::cancelled : FinishReason::stop);
    throw;
  } catch (...) {
    session_->recover();
    finish(FinishReason::stop);
    throw;
  }
}

std::optional<TokenEvent> Generation::step() {
  ExecContext::current().checkpoint();
  if (output_.empty()) {
    logits_ = session_->prefill(prepared_, options_.max_tokens, timings_);
    timings_.first_token_ms = since_ask_.ms();
  } else {
    const Stopwatch watch;
    logits_ = session_->decode(output_.back(), next_position_++, prepared_.prompt.positions.size());
    timings_.decode.ms += watch.ms();
    ++timings_.decode.tokens;
  }
  const Sampler::Choice choice = sampler_(logits_.values<float>(), rng_);
  output_.push_back(choice.id);
  ++timings_.output_tokens;
  TokenEvent event{choice.id, {}, choice.logprob, false};
  const auto& ends = session_->model().end_tokens();
  if (!options_.ignore_end && std::binary_search(ends.begin(), ends.end(), choice.id)) {
    event.is_end = true;
    finish(FinishReason::stop);
    return event;
  }
  event.text = stop_.push(decoder_.push(choice.id));
  if (stop_.stopped())
    finish(FinishReason::stop);
  else if (static_cast<Dim>(output_.size()) >= options_.max_tokens)
    finish(FinishReason::length);
  return event;
}

Answer answer(Session& session, const Conversation& conversation, const GenerateOptions& options) {
  Generation generation = session.ask(conversation, options);
  Answer answer;
  while (const auto event = generation.next()) answer.text += event->text;
  answer.text = trimmed(answer.text + generation.rest());
  answer.finish_reason = generation.finish_reason();
  answer.tokens = generation.output();
  answer.timings = generation.timings();
  answer.prompt_sent = generation.prepared().sent;
  return answer;
}

}  // namespace tap
