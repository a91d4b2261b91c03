#include "runtime/workload.h"

#include <cmath>

#include "base/clock.h"
#include "base/rng.h"
#include "runtime/forward_input.h"
#include "runtime/session.h"

namespace tap {

namespace {

Image noise_picture(SizePx size) {
  Image image(size.width, size.height);
  Rng rng(7);
  for (auto& value : image.pixels) value = static_cast<std::uint8_t>(rng.next_u32());
  return image;
}

// Ids below are in the tokenizer and in the table.
Dim plain_tokens(const Model& model) { return std::min(model.tokenizer().size(), model.network().vocab()); }

void require_finite(const Tensor& logits) {
  if (!std::isfinite(logits.data<float>()[0])) fail(ErrorCode::internal, "logits are not finite");
}

}  // namespace

Workload::Workload(const Model& model, Dim picture_px) : model_(&model) {
  const Network& network = model.network();
  if (network.shape().patch_px == 0) return;
  processor_ = model.processor_with({{"do_image_splitting", false}});
  ImagePlan first = processor_->plan(64, 64);
  if (first.grid.steps > 0) first = processor_->plan(picture_px, picture_px);
  picture_ = std::make_shared<const Image>(noise_picture(first.tile));
  plan_ = processor_->plan(first.tile.width, first.tile.height);
  pixels_ = processor_->pixels(*picture_, plan_);
  tiled_ = model.processor().plan(first.tile.width, first.tile.height).tokens != plan_.tokens;
}

double Workload::first_token_s() {
  constexpr const char* question = "What is in this picture, and what is it doing?";
  Session session(*model_);
  const Stopwatch watch;
  PreparedPrompt prepared;
  if (picture_ && tiled_) {
    // The checkpoint's own tiling makes more of the picture than the one tile: only that, among some 20 tokens of text.
    const bool trusted = true;
    prepared.plans = {plan_};
    prepared.media = {{picture_}};
    prepared.prompt =
        processor_->place(std::vector<TextSpan>{{"<image>", trusted}, {question, !trusted}}, prepared.plans, false);
  } else {
    Conversation conversation;
    conversation.user(question, picture_ ? std::vector{picture_} : std::vector<std::shared_ptr<const Image>>());
    prepared = model_->prepare(conversation);
  }
  (void)session.ask(std::move(prepared), {}).next();
  return watch.s();
}

double Workload::encode_s(Dim pictures) {
  Tensor pixels = pixels_;
  if (pictures > 1) {
    std::vector<Tensor> all(static_cast<std::size_t>(pictures), pixels_);
    pixels = ops::concat_rows(all);
  }
  const Stopwatch watch;
  model_->network().see(pixels, plan_);
  return watch.s();
}

// `tokens` more rows; logits of the last.
Tensor Workload::forward(Held& held, Dim tokens) {
  const Network& network = model_->network();
  const Dim plain = plain_tokens(*model_);
  Rng rng(static_cast<std::uint64_t>(11 + held.rows));
  Tensor logits;
  while (tokens > 0) {  // in the chunks that a session takes
    const Dim count = std::min(tokens, prefill_rows);
    std::vector<TokenId> ids;
    for (Dim i = 0; i < count; ++i)
      ids.push_back(static_cast<TokenId>(rng.next_u32() % static_cast<std::uint32_t>(plain)));
    const Tensor hidden = network.forward(network.embed(ids), Batch::causal(count, held.rows), held.cache.get());
    held.rows += count;
    tokens -= count;
    if (tokens == 0) logits = network.logits(hidden.rows(count - 1, count));
  }
  return logits;
}

void Workload::fill(Held& held, Dim context) {
  if (!held.cache)
    held.cache = std::make_unique<KvCache>(model_->network().kv_shape(), model_->cache_type(), model_->context());
  held.rows = held.cache->truncate(std::min(context, held.rows));
  if (held.rows < context) forward(held, context - held.rows);
}

double Workload::prefill_s(Dim tokens) {
  fill(one_, 0);
  const Stopwatch watch;
  require_finite(forward(one_, tokens));
  return watch.s();
}

double Workload::decode_s(Dim context, Dim steps) {
  fill(one_, context);
  one_.cache->reserve(context + steps);
  const Stopwatch watch;
  for (Dim i = 0; i < steps; ++i) require_finite(forward(one_, 1));
  return watch.s() / static_cast<double>(steps);
}

double Workload::batch_s(Dim users, Dim context, bool shared, Dim steps) {
  const Network& network = model_->network();
  KvCache cache(network.kv_shape(), model_->cache_type(), context + steps, users);
  const auto step = [&](Dim some, Dim rows_each, Dim past) {
    ForwardInput input;
    for (Dim user = 0; user < some; ++user) {
      std::vector<TokenId> ids;
      for (Dim i = 0; i < rows_each; ++i)
        ids.push_back(static_cast<TokenId>((user * 31 + (past + i) * 7) % plain_tokens(*model_)));
      input.add_tokens(ids, static_cast<std::int32_t>(past), 1, past);
    }
    return network.forward(input.embed(network), input.batch(), &cache);
  };
  for (Dim past = 0; past < context; past += 32) step(shared ? 1 : users, std::min<Dim>(32, context - past), past);
  for (Dim user = 1; shared && user < users; ++user)
    if (!cache.copy(0, user, context)) fail(ErrorCode::unsupported, "a model with windows shares no context");
  const Stopwatch watch;
  for (Dim i = 0; i < steps; ++i) require_finite(network.logits(step(users, 1, context + i)));
  return watch.s() / static_cast<double>(steps);
}

Dim Workload::cache_bytes() const { return one_.cache ? one_.cache->bytes() : 0; }

}  // namespace tap
