#include "runtime/batch_generator.h"

#include <algorithm>
#include <new>

namespace tap {

struct BatchGenerator::Request {
  Request(Id number, PreparedPrompt what, const Model& model, const GenerateOptions& options, Dim context)
      : id(number), prepared(std::move(what)), loop(model, prepared, options, context) {}
  Id id;
  PreparedPrompt prepared;       // its images let go
  std::vector<Tensor> features;  // of its pictures, until the prompt is read
  TokenLoop loop;
  Dim cached = 0;  // rows of it in the cache
  Stopwatch since_add;
  std::string text;
  Timings timings;
  bool reading() const { return cached < prepared.prompt.rows(); }
};

// What one sequence puts into a forward, and gets out.
struct BatchGenerator::Share {
  Dim sequence;
  Dim rows;       // new ones
  Tensor logits;  // [1, vocab] of the last row, when a token follows from it
  std::optional<Error> error;
};

BatchGenerator::BatchGenerator(const Model& model, BatchOptions options)
    : model_(&model),
      context_(options.context > 0 ? std::min(options.context, model.context()) : model.context()),
      rows_per_step_(options.rows_per_step),
      encoder_(model, std::move(options.features)),
      cache_(model.network().kv_shape(), model.cache_type(), context_, options.sequences),
      running_(static_cast<std::size_t>(cache_.sequences())) {}

BatchGenerator::~BatchGenerator() = default;

bool BatchGenerator::has_room() const {
  return std::any_of(running_.begin(), running_.end(), [](const auto& r) { return !r; });
}

bool BatchGenerator::idle() const {
  return std::none_of(running_.begin(), running_.end(), [](const auto& r) { return r != nullptr; });
}

BatchGenerator::Id BatchGenerator::add(const Conversation& conversation, const GenerateOptions& options) {
  const Stopwatch since;
  return add(model_->prepare(conversation), options, since);
}

BatchGenerator::Id BatchGenerator::add(PreparedPrompt prepared, const GenerateOptions& options) {
  return add(std::move(prepared), options, Stopwatch());
}

BatchGenerator::Id BatchGenerator::add(PreparedPrompt prepared, const GenerateOptions& options,
                                       const Stopwatch& since) {
  const auto free = std::find(running_.begin(), running_.end(), nullptr);
  if (free == running_.end()) fail(ErrorCode::internal, "a batch of {} is full", running_.size());
  require_fits(prepared, options, context_);
  auto request = std::make_unique<Request>(next_id_, std::move(prepared), *model_, options, context_);
  const Prompt& prompt = request->prepared.prompt;
  request->since_add = since;
  request->timings.load.ms = model_->load_ms();
  request->timings.prompt_tokens = prompt.rows();
  request->timings.image_tokens = static_cast<Dim>(prompt.slots.size());
  const auto sequence = static_cast<Dim>(free - running_.begin());
  cache_.truncate(0, sequence);
  cache_.reserve(std::min(context_, prompt.rows() + request->loop.max_tokens()), sequence);
  for (std::size_t i = 0; i < request->prepared.media.size(); ++i) {
    Medium& medium = request->prepared.media[i];
    request->features.push_back(
        encoder_.rows(encoder_.key_of(medium), medium, request->prepared.plans[i], &request->timings));
    medium = {};
  }
  *free = std::move(request);
  return next_id_++;
}

bool BatchGenerator::cancel(Id id) {
  for (auto& request : running_)
    if (request && request->id == id) return request.reset(), true;
  return false;
}

// Every answer's newest token, then chunks of prompts while there is room for their rows.
std::vector<BatchGenerator::Share> BatchGenerator::shares() const {
  std::vector<Share> shares;
  Dim rows = 0;
  for (std::size_t s = 0; s < running_.size(); ++s) {
    const Request* request = running_[s].get();
    if (!request) continue;
    Dim count = 1;
    if (request->reading()) {
      count = chunk_end(request->prepared.prompt, request->cached) - request->cached;
      if (rows > 0 && rows + count > rows_per_step_) continue;
      rows += count;
    }
    shares.push_back({static_cast<Dim>(s), count, {}, {}});
  }
  return shares;
}

// `shares` in order of their sequences.
void BatchGenerator::forward(std::span<Share> shares) {
  const Network& network = model_->network();
  ForwardInput input;
  std::vector<Dim> last;  // rows whose logits are wanted
  for (const Share& share : shares) {
    while (input.sequences() < share.sequence) {
      const Request* idle = running_[static_cast<std::size_t>(input.sequences())].get();
      input.add_nothing(idle ? idle->cached : 0);
    }
    const Request& request = *running_[static_cast<std::size_t>(share.sequence)];
    const Prompt& prompt = request.prepared.prompt;
    if (request.reading())
      input.add_prompt(prompt, request.cached, request.cached + share.rows, request.features);
    else
      input.add_token(request.loop.output().back(), request.loop.newest_position(), prompt.positions.size(),
                      request.cached);
    if (request.cached + share.rows >= prompt.rows()) last.push_back(input.rows() - 1);
  }
  const Tensor hidden = network.forward(input.embed(network), input.batch(), &cache_);
  const Tensor logits = last.empty() ? Tensor() : network.logits(ops::take_rows(hidden, last));
  for (Dim row = 0; Share & share : shares) {
    Request& request = *running_[static_cast<std::size_t>(share.sequence)];
    request.cached += share.rows;
    if (request.reading()) continue;
    share.logits = logits.rows(row, row + 1);
    ++row;
  }
}

void BatchGenerator::roll_back() {
  for (std::size_t s = 0; s < running_.size(); ++s)
    cache_.truncate(running_[s] ? running_[s]->cached : 0, static_cast<Dim>(s));
}

BatchGenerator::Step BatchGenerator::step() {
  ExecContext::current().checkpoint();
  Step step;
  std::vector<Share> now = shares();
  if (now.empty()) return step;
  const Stopwatch watch;
  // Runs a forward over some shares; gives what it failed with, Error(cancelled) excepted.
  const auto attempt = [&](std::span<Share> some) -> std::optional<Error> {
    try {
      forward(some);
      return std::nullopt;
    } catch (const Error& error) {
      roll_back();
      if (error.code() == ErrorCode::cancelled) throw;
      return error;
    } catch (const std::bad_alloc&) {
      roll_back();
      return Error(ErrorCode::out_of_memory, "out of memory");
    }
  };
  if (auto error = attempt(now); error && now.size() == 1) {
    now.front().error = std::move(error);
  } else if (error) {
    for (Share& share : now) share.error = attempt({&share, 1});
  }
  const double ms = watch.ms();
  for (const Share& share : now) {
    Request& request = *running_[static_cast<std::size_t>(share.sequence)];
    const bool first = request.loop.output().empty();
    Stage& stage = first ? request.timings.prefill : request.timings.decode;
    stage.ms += ms;
    stage.tokens += share.rows;
    if (share.error)
      fail_request(share.sequence, *share.error, step);
    else if (share.logits.defined())
      take(share, step);
  }
  return step;
}

void BatchGenerator::take(const Share& share, Step& step) {
  Request& request = *running_[static_cast<std::size_t>(share.sequence)];
  if (request.loop.output().empty()) {
    request.features.clear();
    request.timings.first_token_ms = request.since_add.ms();
  }
  try {
    step.events.push_back({request.id, request.loop.take(share.logits.values<float>()), share.logits});
  } catch (const Error& error) {
    return fail_request(share.sequence, error, step);
  }
  ++request.timings.output_tokens;
  request.text += step.events.back().token.text;
  if (!request.loop.finished()) return;
  std::string rest = request.loop.rest();
  Answer answer = answer_of(request.loop, request.text + rest, request.timings, request.prepared.sent);
  step.finished.push_back({request.id, std::move(answer), std::move(rest), std::nullopt});
  running_[static_cast<std::size_t>(share.sequence)].reset();
}

void BatchGenerator::fail_request(Dim sequence, const Error& error, Step& step) {
  auto& request = running_[static_cast<std::size_t>(sequence)];
  step.finished.push_back({request->id, {}, {}, error});
  request.reset();
}

}  // namespace tap
