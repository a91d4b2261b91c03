#include "runtime/batch_generator.h"

#include <algorithm>
#include <new>

namespace tap {

struct BatchGenerator::Request {
  Request(Id number, PreparedPrompt what, const Model& model, const GenerateOptions& options, Dim context)
      : id(number),
        prepared(std::move(what)),
        loop(model, prepared, options, context),
        drafter(options.lookup, prepared.prompt) {}
  Id id;
  PreparedPrompt prepared;       // its images let go
  std::vector<Tensor> features;  // of its pictures, until the prompt is read
  TokenLoop loop;
  Drafter drafter;
  Tensor drafted;       // logits of the newest token and of those drafted behind it
  Dim next_row = 0;     // of `drafted`
  bool agreed = false;  // that row stands behind the newest token
  Dim cached = 0;       // rows of it in the cache that count
  Stopwatch since_add;
  std::string text;
  Timings timings;
  bool reading() const { return cached < prepared.prompt.rows(); }
  Dim held() const { return cached + (agreed ? drafted.dim(0) - next_row : 0); }  // rows in the cache
};

// What one sequence puts into a forward, and gets out.
struct BatchGenerator::Share {
  Dim sequence;
  Dim rows = 0;                   // new ones; 0: the next row of a draft is there
  std::vector<TokenId> ids = {};  // of an answer: the newest token and those drafted behind it
  std::optional<Error> error = {};
};

BatchGenerator::BatchGenerator(const Model& model, BatchOptions options)
    : model_(&model),
      context_(options.context > 0 ? std::min(options.context, model.context()) : model.context()),
      rows_per_step_(options.rows_per_step),
      rows_beside_(options.rows_beside),
      share_prefixes_(options.share_prefixes),
      encoder_(model, std::move(options.features)),
      cache_(model.network().kv_shape(), model.cache_type(), context_, options.sequences),
      running_(static_cast<std::size_t>(cache_.sequences())),
      held_(running_.size()) {}

BatchGenerator::~BatchGenerator() = default;

bool BatchGenerator::has_room() const {
  return std::any_of(running_.begin(), running_.end(), [](const auto& r) { return !r; });
}

bool BatchGenerator::idle() const {
  return std::none_of(running_.begin(), running_.end(), [](const auto& r) { return r != nullptr; });
}

BatchGenerator::Id BatchGenerator::add(const Conversation& conversation, const GenerateOptions& options) {
  const Stopwatch since;
  return add(BatchRequest{model_->prepare(conversation), options}, since);
}

BatchGenerator::Id BatchGenerator::add(PreparedPrompt prepared, const GenerateOptions& options) {
  return add(BatchRequest{std::move(prepared), options}, Stopwatch());
}

BatchGenerator::Id BatchGenerator::add(BatchRequest request) { return add(std::move(request), Stopwatch()); }

Dim BatchGenerator::rows_that_count(Dim sequence) const {
  const auto i = static_cast<std::size_t>(sequence);
  return running_[i] ? running_[i]->held() : static_cast<Dim>(held_[i].keys.size());
}

// The free sequence that has most of the prompt's beginning, else the one that was used longest ago; `reused`: how many
// rows it has, or was given by a sequence that has more.
Dim BatchGenerator::place_of(const Prompt& prompt, const Held& wanted, Dim& reused) {
  constexpr Dim worth_copying = 8;  // rows; computing so few costs little more
  Dim best = -1, best_rows = 0, source = -1, source_rows = 0;
  for (Dim s = 0; s < sequences(); ++s) {
    const Held& held = held_[static_cast<std::size_t>(s)];
    const auto counting = static_cast<std::size_t>(rows_that_count(s));
    const Dim rows =
        !share_prefixes_ || held.owner != wanted.owner
            ? 0
            : reusable_rows(prompt, wanted.keys, std::span(held.keys).first(std::min(counting, held.keys.size())));
    if (rows > source_rows) source = s, source_rows = rows;
    if (running_[static_cast<std::size_t>(s)]) continue;
    if (best < 0 || rows > best_rows || (rows == best_rows && held.last < held_[static_cast<std::size_t>(best)].last))
      best = s, best_rows = rows;
  }
  // Until the caller says what it holds: memory may give out before.
  held_[static_cast<std::size_t>(best)].keys.clear();
  reused = cache_.truncate(best_rows, best);
  if (source_rows > reused + worth_copying && cache_.copy(source, best, source_rows)) reused = source_rows;
  return best;
}

void BatchGenerator::free(Dim sequence) noexcept {
  const auto i = static_cast<std::size_t>(sequence);
  const Request& request = *running_[i];
  Held& held = held_[i];
  const auto prompt = static_cast<std::size_t>(request.prepared.prompt.rows()),
             rows = static_cast<std::size_t>(request.cached);
  try {
    for (std::size_t at = prompt; at < rows; ++at) held.keys.push_back({.id = request.loop.output()[at - prompt]});
    held.keys.resize(rows);
  } catch (const std::bad_alloc&) {
    held.keys.clear();
  }
  running_[i].reset();
  cache_.truncate(static_cast<Dim>(held.keys.size()), sequence);
}

BatchGenerator::Id BatchGenerator::add(BatchRequest what, const Stopwatch& since) {
  if (!has_room()) fail(ErrorCode::internal, "a batch of {} is full", running_.size());
  require_fits(what.prepared, what.generate, context_);
  std::vector<PictureKey> pictures = what.pictures.empty() ? encoder_.keys_of(what.prepared) : std::move(what.pictures);
  for (PictureKey& key : pictures) key = owned_key(what.owner, key);
  auto request = std::make_unique<Request>(next_id_, std::move(what.prepared), *model_, what.generate, context_);
  const Prompt& prompt = request->prepared.prompt;
  request->since_add = since;
  request->timings.load.ms = model_->load_ms();
  request->timings.prompt_tokens = prompt.rows();
  request->timings.image_tokens = static_cast<Dim>(prompt.slots.size());
  Held held{row_keys(prompt, pictures), std::move(what.owner), next_id_}, begun = held;
  const Dim sequence = place_of(prompt, held, request->cached);
  const auto place = static_cast<std::size_t>(sequence);
  request->timings.cached_tokens = request->cached;
  // Until its pictures are encoded, which other answers need not wait for, the sequence is free and holds what it
  // reuses.
  begun.keys.resize(static_cast<std::size_t>(request->cached));
  held_[place] = std::move(begun);
  cache_.expect(prompt.rows(), std::min(context_, prompt.rows() + request->loop.max_tokens()), sequence);
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    Medium& medium = request->prepared.media[i];
    const PictureSlots& slots = prompt.pictures[i];
    const bool needed =
        slots.count > 0 && prompt.slots[static_cast<std::size_t>(slots.begin + slots.count - 1)] >= request->cached;
    request->features.push_back(
        needed ? encoder_.rows(pictures[i], medium, request->prepared.plans[i], &request->timings) : Tensor());
    medium = {};
  }
  held_[place] = std::move(held);
  running_[place] = std::move(request);
  return next_id_++;
}

bool BatchGenerator::cancel(Id id) {
  for (std::size_t s = 0; s < running_.size(); ++s)
    if (running_[s] && running_[s]->id == id) return free(static_cast<Dim>(s)), true;
  return false;
}

// Every answer's newest token, then chunks of prompts while there is room for their rows. Alone, an answer takes a
// draft along; with others the rows that decode kernels take are theirs.
std::vector<BatchGenerator::Share> BatchGenerator::shares() {
  std::vector<Share> shares;
  shares.reserve(running_.size());
  Dim rows = 0;
  const bool alone = std::ranges::count_if(running_, [](const auto& r) { return r != nullptr; }) == 1;
  const bool waited_for = std::ranges::any_of(running_, [](const auto& r) { return r && !r->reading(); });
  const Dim most = waited_for ? rows_beside_ : rows_per_step_, chunk = std::min(most, prefill_rows);
  for (std::size_t s = 0; s < running_.size(); ++s) {
    Request* request = running_[s].get();
    if (!request) continue;
    Share share{.sequence = static_cast<Dim>(s)};
    try {
      if (request->reading()) {
        share.rows = chunk_end(request->prepared.prompt, request->cached, chunk) - request->cached;
        if (rows > 0 && rows + share.rows > most) continue;
        rows += share.rows;
      } else if (!request->agreed) {
        const std::vector<TokenId>& output = request->loop.output();
        share.ids = {output.back()};
        const Dim room = request->loop.max_tokens() - static_cast<Dim>(output.size()) - 1;
        const auto draft = request->drafter.draft(alone ? room : 0);
        share.ids.insert(share.ids.end(), draft.begin(), draft.end());
        share.rows = static_cast<Dim>(share.ids.size());
      }
    } catch (const std::bad_alloc&) {
      share.error = out_of_memory();
    }
    shares.push_back(std::move(share));
  }
  return shares;
}

// `shares` in order of their sequences.
void BatchGenerator::forward(std::span<Share> shares) {
  const Network& network = model_->network();
  ForwardInput input;
  std::vector<Dim> last;  // rows whose logits are wanted
  for (const Share& share : shares) {
    if (share.rows == 0) continue;
    while (input.sequences() < share.sequence) input.add_nothing(rows_that_count(input.sequences()));
    const Request& request = *running_[static_cast<std::size_t>(share.sequence)];
    const Prompt& prompt = request.prepared.prompt;
    if (request.reading())
      input.add_prompt(prompt, request.cached, request.cached + share.rows, request.features);
    else
      input.add_tokens(share.ids, request.loop.newest_position(), prompt.positions.size(), request.cached);
    const Dim wanted = share.ids.empty() ? request.cached + share.rows >= prompt.rows() : share.rows;
    for (Dim row = input.rows() - wanted; row < input.rows(); ++row) last.push_back(row);
  }
  if (input.rows() == 0) return;
  const Tensor hidden = network.forward(input.embed(network), input.batch(), &cache_);
  const Tensor logits = last.empty() ? Tensor() : network.logits(ops::take_rows(hidden, last));
  for (Dim row = 0; Share & share : shares) {
    if (share.rows == 0) continue;
    Request& request = *running_[static_cast<std::size_t>(share.sequence)];
    request.cached += share.ids.empty() ? share.rows : 1;
    if (request.reading()) continue;
    const Dim wanted = std::max<Dim>(1, static_cast<Dim>(share.ids.size()));
    request.drafted = logits.rows(row, row + wanted);
    request.next_row = 0;
    row += wanted;
  }
}

void BatchGenerator::roll_back() {
  for (std::size_t s = 0; s < running_.size(); ++s)
    cache_.truncate(rows_that_count(static_cast<Dim>(s)), static_cast<Dim>(s));
}

BatchGenerator::Step BatchGenerator::step() {
  ExecContext::current().checkpoint();
  Step step;
  step.events.reserve(running_.size());
  step.finished.reserve(running_.size());
  std::vector<Share> now = shares();
  if (now.empty()) return step;
  const Stopwatch watch;
  // Runs a forward over some shares; gives what it failed with, Error(cancelled) excepted.
  const auto attempt = [&](std::span<Share> some) -> std::optional<Error> {
    std::optional<Error> error = error_in([&] { forward(some); });
    if (error) roll_back();
    if (error && error->code() == ErrorCode::cancelled) throw *error;
    return error;
  };
  if (auto error = attempt(now); error && now.size() == 1) {
    now.front().error = std::move(error);
  } else if (error) {
    for (Share& share : now)
      if (!share.error) share.error = attempt({&share, 1});
  }
  const double ms = watch.ms();
  for (const Share& share : now) {
    Request& request = *running_[static_cast<std::size_t>(share.sequence)];
    const bool first = request.loop.output().empty();
    Stage& stage = first ? request.timings.prefill : request.timings.decode;
    stage.ms += ms;
    stage.tokens += first ? share.rows : 1;
    if (now.size() == 1 && !share.ids.empty()) request.drafter.took(ms);
    if (share.error) {
      fail_request(share.sequence, *share.error, step);
    } else if (!request.reading()) {
      try {
        take(share.sequence, step);
      } catch (const std::bad_alloc&) {
        fail_request(share.sequence, out_of_memory(), step);
      }
    }
  }
  return step;
}

void BatchGenerator::take(Dim sequence, Step& step) {
  Request& request = *running_[static_cast<std::size_t>(sequence)];
  if (request.loop.output().empty()) {
    request.features.clear();
    request.timings.first_token_ms = request.since_add.ms();
  }
  if (request.agreed) {
    ++request.cached;
    ++request.timings.accepted_tokens;
  } else {
    request.timings.drafted_tokens += request.drafted.dim(0) - 1;
  }
  const Tensor logits = request.drafted.rows(request.next_row, request.next_row + 1);
  ++request.next_row;
  try {
    step.events.push_back({request.id, request.loop.take(logits.values<float>()), logits});
  } catch (const Error& error) {
    return fail_request(sequence, error, step);
  }
  request.agreed = request.drafter.take(step.events.back().token.id) && !request.loop.finished();
  if (!request.agreed) cache_.truncate(request.cached, sequence);
  ++request.timings.output_tokens;
  request.text += step.events.back().token.text;
  if (!request.loop.finished()) return;
  std::string rest = request.loop.rest();
  Answer answer = answer_of(request.loop, request.text + rest, request.timings, request.prepared.sent);
  step.finished.push_back({request.id, std::move(answer), std::move(rest), std::nullopt});
  free(sequence);
}

// `step` has room for it.
void BatchGenerator::fail_request(Dim sequence, const Error& error, Step& step) noexcept {
  step.finished.push_back({running_[static_cast<std::size_t>(sequence)]->id, {}, {}, error});
  free(sequence);
  held_[static_cast<std::size_t>(sequence)].keys.clear();  // what led to an error leads to no other answer
  cache_.truncate(0, sequence);
}

}  // namespace tap
