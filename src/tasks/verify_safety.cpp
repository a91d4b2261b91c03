#include "tasks/verify_safety.h"

#include <algorithm>

namespace tap {

std::vector<std::vector<TokenId>> unpadded_rows(std::span<const std::int64_t> ids, std::span<const std::int64_t> mask,
                                                Dim rows) {
  if (rows < 1 || ids.size() % static_cast<std::size_t>(rows) != 0 || (!mask.empty() && mask.size() != ids.size()))
    fail(ErrorCode::bad_file, "input_ids: {} ids in {} rows, attention_mask has {}", ids.size(), rows, mask.size());
  const std::size_t width = ids.size() / static_cast<std::size_t>(rows);
  std::vector<std::vector<TokenId>> all;
  for (std::size_t begin = 0; begin < ids.size(); begin += width) {
    const auto kept = mask.empty() ? mask : mask.subspan(begin, width);
    const auto padding = static_cast<std::size_t>(std::ranges::find(kept, 1) - kept.begin());
    if (std::any_of(kept.begin() + static_cast<std::ptrdiff_t>(padding), kept.end(), [](auto m) { return m != 1; }))
      fail(ErrorCode::bad_file, "attention_mask: only padding before a row is supported");
    if (padding == width) fail(ErrorCode::bad_file, "attention_mask: a row is all padding");
    std::vector<TokenId>& row = all.emplace_back();
    for (const std::int64_t id : ids.subspan(begin + padding, width - padding)) row.push_back(static_cast<TokenId>(id));
  }
  return all;
}

std::vector<PreparedPrompt> policy_prompts(const Model& model, std::span<const std::shared_ptr<const Image>> images,
                                           std::span<const std::string> policies) {
  const auto head = model.safety_head();
  std::vector<PreparedPrompt> prompts;
  for (const auto& image : images)
    for (const std::string& name : policies) {
      const auto* const policy = [&]() -> const SafetyHead::Policy* {
        if (!head) return nullptr;
        const auto at = std::ranges::find(head->policies, name, &SafetyHead::Policy::name);
        return at == head->policies.end() ? nullptr : &*at;
      }();
      if (!policy) fail(ErrorCode::bad_file, "policies: the checkpoint has no text for \"{}\"", name);
      prompts.push_back(model.prepare(Conversation().user(policy->text, {image})));
    }
  return prompts;
}

Judgement judge(const Model& model, std::span<const Prompt> prompts, std::span<const Tensor> features) {
  const Network& network = model.network();
  std::vector<Tensor> rows;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const Prompt& prompt = prompts[i];
    Tensor x = network.embed(prompt.ids);
    if (!prompt.slots.empty()) x = ops::put_rows(x, prompt.slots, features[i].reshape({-1, x.dim(1)}));
    KvCache cache(network.kv_shape(), model.cache_type(), prompt.rows());
    const Tensor hidden = network.forward(std::move(x), prompt.batch(0, prompt.rows()), &cache);
    rows.push_back(network.logits(hidden.rows(prompt.rows() - 1, prompt.rows())));
  }
  Judgement judgement{ops::concat_rows(rows), {}, {}};
  const auto head = model.safety_head();
  if (!head) return judgement;
  const Dim count = static_cast<Dim>(prompts.size());
  judgement.yes_no_logits = Tensor::empty({count, 2});
  for (Dim row = 0; row < count; ++row) {
    float* const pair = judgement.yes_no_logits.row_write(row);
    pair[0] = judgement.last_logits.row(row)[head->yes];
    pair[1] = judgement.last_logits.row(row)[head->no];
  }
  judgement.probabilities = judgement.yes_no_logits.clone();
  ops::softmax_rows(judgement.probabilities);
  return judgement;
}

}  // namespace tap
