// The processor of Gemma 3 and ShieldGemma 2: one size for every picture, crops of long ones, and blocks of rows that
// see each other. Parity: HF Gemma3ImageProcessorPil, Gemma3Processor.
#include "models/gemma3_processor.h"

#include <algorithm>
#include <cmath>

#include "models/blocks/fixed_size.h"
#include "models/blocks/marks.h"

namespace tap::gemma3 {

namespace {

// Pan and scan: a long picture is shown once more in pieces.
struct PanAndScan {
  bool on;
  Dim least_px, most;        // edge of a crop; crops
  double least_ratio = 1.2;  // of the picture's edges

  explicit PanAndScan(const ConfigReader& in, bool allowed)
      : on(in.flag_or("do_pan_and_scan", false) && allowed),
        least_px(in.positive_or("pan_and_scan_min_crop_size", 256)),
        most(in.positive_or("pan_and_scan_max_num_crops", 4)) {
    const char* key = "pan_and_scan_min_ratio_to_activate";
    in.number_or(key, 0);  // checked; read again as the double it is
    if (in.has(key)) least_ratio = in.json().at(key).get<double>();
  }

  // HF: Gemma3ImageProcessorPil.pan_and_scan.
  std::vector<RectPx> crops(Dim width, Dim height) const {
    const Dim longer = std::max(width, height), shorter = std::min(width, height);
    const double ratio = static_cast<double>(longer) / static_cast<double>(shorter);
    if (!on || ratio < least_ratio) return {};
    const Dim fitting = std::min(longer / least_px, static_cast<Dim>(std::floor(ratio + 0.5)));
    const Dim count = std::min(most, std::max<Dim>(2, fitting)), length = ceil_div(longer, count);
    if (std::min(length, shorter) < least_px) return {};
    std::vector<RectPx> all;
    for (Dim at = 0; at < longer; at += length) {
      const Dim size = std::min(length, longer - at);
      all.push_back(width >= height ? RectPx{at, 0, size, height} : RectPx{0, at, width, size});
    }
    return all;
  }
};

class Gemma3Processor final : public Processor {
 public:
  Gemma3Processor(const ModelFiles& files, const PictureTokens& tokens)
      : pixels_(files.preprocessor, tokens.edge_px, Filter::bilinear),
        scan_(files.preprocessor, tokens.may_scan),
        tokenizer_(files.tokenizer),
        tokens_(tokens),
        mark_(added_token(files, "boi_token_index", tokens.begin)),
        row_(added_token(files, "image_token_index", tokens.row)),
        end_(added_token(files, "eoi_token_index", tokens.end)) {
    for (const ConfigReader* in : {&files.preprocessor, &files.processor})
      if (in->positive_or("image_seq_length", tokens.rows) != tokens.rows)
        in->refuse("image_seq_length", fmt::format("config.json: mm_tokens_per_image is {}", tokens.rows));
  }

  ImagePlan plan(Dim width, Dim height) const override {
    ImagePlan plan = pixels_.plan(width, height);
    plan.crops = scan_.crops(width, height);
    plan.tokens = plan.tiles() * tokens_.rows;
    return plan;
  }
  Image prepare(const Image& image, const ImagePlan& plan) const override { return pixels_.prepare(image, plan); }
  Tensor tiles(const Image& prepared, const ImagePlan& plan, Dim begin, Dim end) const override {
    return pixels_.tiles(prepared, plan, begin, end);
  }

  Prompt place(std::span<const TextSpan> spans, std::span<const ImagePlan> plans,
               bool add_special_tokens) const override {
    const Mark mark{mark_};
    const auto text_of = [&](const ImagePlan& plan) { return picture_text(plan); };
    return prompt_of(*this, tokenizer_, expand_marks(spans, std::span(&mark, 1), plans, text_of), plans,
                     add_special_tokens);
  }

  // A run of picture rows sees itself in both directions.
  Prompt from_ids(std::span<const TokenId> ids, std::span<const ImagePlan> plans, Dim) const override {
    Prompt prompt = causal_prompt(ids);
    fill_slots(prompt, std::span(&tokens_.row, 1), plans);
    for (std::size_t i = 0; i < prompt.slots.size();) {
      const Dim begin = prompt.slots[i];
      Dim end = begin;
      while (i < prompt.slots.size() && prompt.slots[i] == end) ++i, ++end;
      prompt.atomic.push_back({begin, end});
      for (Dim row = begin; row < end; ++row)
        prompt.intervals[static_cast<std::size_t>(row)].end = static_cast<std::int32_t>(end);
    }
    return prompt;
  }

  std::string settings() const override {
    return fmt::format("gemma3 {} scan={},{},{},{}", pixels_.settings(), scan_.on, scan_.least_px, scan_.most,
                       scan_.least_ratio);
  }

 private:
  std::string tile_text() const { return "\n\n" + mark_ + repeated(row_, tokens_.rows) + end_ + "\n\n"; }
  std::string picture_text(const ImagePlan& plan) const {
    const std::string tile = tile_text();
    if (plan.crops.empty()) return tile;
    std::string text = "Here is the original image " + tile + " and here are some crops to help you see better";
    for (std::size_t i = 0; i < plan.crops.size(); ++i) text += " " + tile;
    return text;
  }

  FixedSize pixels_;
  PanAndScan scan_;
  Tokenizer tokenizer_;
  PictureTokens tokens_;
  std::string mark_, row_, end_;
};

}  // namespace

std::unique_ptr<Processor> make_processor(const ModelFiles& files, const PictureTokens& tokens) {
  return std::make_unique<Gemma3Processor>(files, tokens);
}

}  // namespace tap::gemma3
