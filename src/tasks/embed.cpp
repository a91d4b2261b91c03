#include "tasks/embed.h"

namespace tap {

std::vector<float> embed_picture(Session& session, const Image& image) {
  const ImagePlan plan = session.model().processor().plan(image.width, image.height);
  if (plan.tokens >= session.context())
    fail(ErrorCode::limit, "the picture of {}x{} becomes {} tokens, the context is {}", image.width, image.height,
         plan.tokens, session.context());
  const Tensor rows = session.features_of(image, plan);  // [tokens, d]
  std::vector<double> sum(static_cast<std::size_t>(rows.dim(1)), 0);
  for (Dim row = 0; row < rows.dim(0); ++row)
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += rows.data<float>()[row * rows.dim(1) + static_cast<Dim>(i)];
  std::vector<float> mean;
  for (const double total : sum) mean.push_back(static_cast<float>(total / static_cast<double>(rows.dim(0))));
  return mean;
}

std::vector<float> embed_prompt(Session& session, const PreparedPrompt& prepared) {
  const Prompt& prompt = prepared.prompt;
  if (prompt.rows() < 1) fail(ErrorCode::bad_input, "the text has no tokens");
  if (prompt.rows() > session.context())
    fail(ErrorCode::limit, "the text has {} tokens, the context is {}", prompt.rows(), session.context());
  const Network& network = session.model().network();
  Tensor x = network.embed(prompt.ids);  // [t, d]
  for (std::size_t i = 0; i < prepared.media.size(); ++i) {
    const PictureSlots& at = prompt.pictures[i];
    const std::vector<Dim> slots(prompt.slots.begin() + at.begin, prompt.slots.begin() + at.begin + at.count);
    x = ops::put_rows(x, slots, session.features_of(*prepared.media[i].image, prepared.plans[i]));
  }
  KvCache cache(network.kv_shape(), session.model().cache_type(), prompt.rows());  // the arithmetic of an answer
  const Tensor hidden = network.forward(std::move(x), prompt.batch(0, prompt.rows()), &cache);
  const auto last = hidden.rows(hidden.dim(0) - 1, hidden.dim(0)).values<float>();
  return {last.begin(), last.end()};
}

PreparedPrompt bare_prompt(const Model& model, std::string_view text) {
  const TextSpan typed{std::string(text), false};
  return {model.processor().place({&typed, 1}, {}), {}, {}, typed.text};
}

}  // namespace tap
