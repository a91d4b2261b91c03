#include "models/blocks/text_processor.h"

#include "models/blocks/marks.h"

namespace tap {

namespace {

class TextProcessor final : public Processor {
 public:
  explicit TextProcessor(const ModelFiles& files) : tokenizer_(files.tokenizer) {}

  ImagePlan plan(Dim, Dim) const override { refuse_picture(); }
  Image prepare(const Image&, const ImagePlan&) const override { refuse_picture(); }
  Tensor tiles(const Image&, const ImagePlan&, Dim, Dim) const override { refuse_picture(); }

  Prompt place(std::span<const TextSpan> spans, std::span<const ImagePlan> plans,
               bool add_special_tokens) const override {
    return prompt_of(*this, tokenizer_, spans, plans, add_special_tokens);
  }

  Prompt from_ids(std::span<const TokenId> ids, std::span<const ImagePlan> plans, Dim) const override {
    if (!plans.empty()) refuse_picture();
    return causal_prompt(ids);
  }

  std::string settings() const override { return "text"; }

 private:
  Tokenizer tokenizer_;
};

}  // namespace

void refuse_picture() { fail(ErrorCode::unsupported, "this model reads text only: it takes no pictures"); }

std::unique_ptr<Processor> make_text_processor(const ModelFiles& files) {
  return std::make_unique<TextProcessor>(files);
}

}  // namespace tap
