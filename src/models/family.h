// What a model family offers: its processor (sizes, pixels and prompt layout; no weights) and its network. One family
// is one .cpp with a `Family family()` and one line in families.inc.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cache/kv_cache.h"
#include "codec/image.h"
#include "io/config_reader.h"
#include "io/weights.h"
#include "models/grounding.h"
#include "ops/batch.h"
#include "ops/ops.h"
#include "tensor/tensor.h"
#include "text/text_span.h"
#include "text/tokenizer.h"

namespace tap {

struct SizePx {
  Dim width = 0, height = 0;
  void require_pixels() const;  // throws Error(bad_input) where an edge is below 1
  bool operator==(const SizePx&) const = default;
};

struct RectPx {
  Dim x = 0, y = 0, width = 0, height = 0;
  bool operator==(const RectPx&) const = default;
};

// Patches of one picture or clip along each axis; a step is one patch long in time.
struct PatchGrid {
  Dim steps = 0, rows = 0, columns = 0;
  Dim patches() const { return steps * rows * columns; }
  bool operator==(const PatchGrid&) const = default;
};

// What happens to one picture or video, in whole numbers only; follows from its size and the processor's settings.
struct ImagePlan {
  SizePx source;
  std::vector<SizePx> resizes;  // of the whole picture, in order
  Dim rows = 0, columns = 0;    // grid of tiles cut from the last resize; 0 x 0: not split, the picture is its one tile
  bool overview = false;        // after the grid, the whole picture once more, resized to one tile
  std::vector<RectPx> crops;    // of the source, each resized to a tile of its own after the others
  SizePx tile;
  PatchGrid grid;               // where pictures keep their own size: a tile is one step of it; else all 0
  std::vector<double> seconds;  // of a video: when each frame stands, a tile or a part of one; empty: a picture
  double step_seconds = 0;      // of a video: from one step of `grid` to the next
  double video_seconds = 0;     // of a video: how long the whole of it lasts
  Dim tokens = 0;               // rows that `see` gives = slots in the prompt
  bool is_video() const { return !seconds.empty(); }
  Dim tiles() const {
    if (grid.steps > 0) return grid.steps;
    if (is_video()) return static_cast<Dim>(seconds.size());
    return rows * columns + (overview || rows == 0 ? 1 : 0) + static_cast<Dim>(crops.size());
  }
  void require_source(const Image& image) const;  // throws Error(bad_input) unless the image has the planned size
  void require_tiles(Dim begin, Dim end) const;   // throws Error(bad_input) unless the plan has them
  bool operator==(const ImagePlan&) const = default;
};

// When the frames of a video stand that were taken out of it.
struct FrameTimes {
  std::vector<double> seconds;  // from its start, ascending
  double sampled_fps = 0;       // frames taken a second
  double duration = 0;          // of the whole video, seconds
};

// What a video holds, and what a caller wants of it instead of the family's own sampling.
struct VideoShape {
  Dim frames = 0;       // at least 1
  double fps = 0;       // above 0
  double duration = 0;  // seconds
};
struct FrameWish {
  std::optional<Dim> frames;
  std::optional<double> fps;
};
struct FrameChoice {
  std::vector<Dim> indices;  // ascending; one may stand twice
  double sampled_fps = 0;
};

// Where the rows of one picture go.
struct PictureSlots {
  Dim begin = 0, count = 0;  // Prompt::slots[begin .. begin + count)
};

// What a model reads: the hand-over between text and compute.
struct Prompt {
  std::vector<TokenId> ids;                          // [t]
  std::vector<std::vector<std::int32_t>> positions;  // 1 or 3 axes of [t]
  std::vector<Interval> intervals;                   // [t]
  std::vector<Dim> slots;                            // rows whose embeddings are replaced by picture rows, ascending
  std::vector<PictureSlots> pictures;                // one per picture, in order
  std::vector<Span> atomic;                          // rows that no chunk may cut
  std::string text;                                  // the text as tokenized, pictures expanded
  Dim rows() const { return static_cast<Dim>(ids.size()); }
  std::int32_t next_position() const;  // of the first token of the answer, on every axis
  // Rows [begin, end) as a batch of one sequence whose first `begin` rows are cached.
  Batch batch(Dim begin, Dim end) const;
};

// A checkpoint's small files, parsed once.
struct ModelFiles {
  std::string folder;
  ConfigReader config;        // config.json
  ConfigReader preprocessor;  // preprocessor_config.json, the caller's options over it; empty when absent
  ConfigReader processor;     // processor_config.json, likewise; empty when absent
  Tokenizer tokenizer;
};

// Pictures to pixels and marks to slots. Needs no weights.
class Processor {
 public:
  virtual ~Processor() = default;
  // Throws Error(bad_input) for a picture without pixels, Error(limit) when its tiles go past what any context could
  // hold.
  virtual ImagePlan plan(Dim width, Dim height) const = 0;
  // The picture after all resizes of its plan, still 8-bit; then tiles [begin, end) of it ([end - begin, 3, height,
  // width], or with a plan's grid [patches, numbers of a patch]), so that a large picture need never be in memory as
  // floats whole.
  virtual Image prepare(const Image& image, const ImagePlan& plan) const = 0;
  virtual Tensor tiles(const Image& prepared, const ImagePlan& plan, Dim begin, Dim end) const = 0;
  // A video of sampled frames of one size. Throws Error(unsupported) where the family has no videos. Each frame goes
  // through `prepare`; `frames` begins with the first one of tile `begin`.
  virtual FrameChoice choose_frames(const VideoShape& video, const FrameWish& wish) const;
  virtual ImagePlan plan_video(Dim width, Dim height, const FrameTimes& times) const;
  virtual Tensor video_tiles(std::span<const Image> frames, const ImagePlan& plan, Dim begin, Dim end) const;
  Tensor pixels(const Image& image, const ImagePlan& plan) const {
    return tiles(prepare(image, plan), plan, 0, plan.tiles());
  }
  // The rendered template with one mark per picture ("<image>", in trusted text only) to a prompt. Throws
  // Error(bad_input) unless there are as many marks as plans. `add_special_tokens`: the tokenizer's own BOS and EOS, if
  // its file asks for them.
  virtual Prompt place(std::span<const TextSpan> spans, std::span<const ImagePlan> plans,
                       bool add_special_tokens = true) const = 0;
  // A prompt whose pictures are expanded already (goldens, stored prompts): marks become slots; positions and intervals
  // as `place` gives. Without `plans` all slots are one picture's. The last `answer` rows are an answer that is given
  // (training, scoring): causal also where prompts are not.
  virtual Prompt from_ids(std::span<const TokenId> ids, std::span<const ImagePlan> plans = {},
                          Dim answer = 0) const = 0;
  // The plan of a picture (or video: step_seconds above 0) that is cut into patches already, for `from_ids`.
  virtual ImagePlan plan_of_grid(const PatchGrid& grid, double step_seconds) const;
  // For checkpoints without a chat template whose prompt is the user's words as they are.
  virtual bool takes_plain_text() const { return false; }
  virtual std::string settings() const = 0;  // everything that pixels depend on, for cache keys
};

// A stack of transformer layers as plans and counts see it: widths, not weights.
struct StackShape {
  Dim layers = 0, width = 0, heads = 0, kv_heads = 0, head_dim = 0, mlp_width = 0;
  bool gated_mlp = false;
  Dim windowed_layers = 0, window = 0;  // of the layers, those whose rows see at most so many
  Dim query_width() const { return heads * head_dim; }
  Dim kv_width() const { return kv_heads * head_dim; }
  Dim weights() const {  // of its matrices: what a row is multiplied by
    return layers * width * (2 * query_width() + 2 * kv_width() + (gated_mlp ? 3 : 2) * mlp_width);
  }
};

struct NetworkShape {
  StackShape text, vision;
  Dim patch_px = 0;            // edge of a patch of the vision stack
  Dim patch_values = 0;        // numbers of a patch where pictures come cut into patches; 0: they come as planes
  Dim tile_rows = 0;           // `see` takes tiles of fewer patches together, up to so many
  Dim connector_weights = 0;   // multiplied once per picture row
  bool whole_prompts = false;  // a prompt is read in one forward, not in chunks
};

// What a vision tower reads.
struct TowerInput {
  Tensor pixels;                      // as Processor::tiles gives, of one or several pictures
  Tensor pixel_mask;                  // [n, h, w] (i64, i32 or u8; undefined = all ones): zero marks padding
  std::vector<PatchGrid> grids = {};  // one a picture or clip, for families whose plans have a grid
};

// The network. All tensors f32; t = rows of a ragged batch.
class Network {
 public:
  virtual ~Network() = default;
  virtual NetworkShape shape() const = 0;
  virtual KvShape kv_shape() const = 0;
  virtual Dim context() const = 0;                                                 // most rows of one sequence
  virtual Dim vocab() const = 0;                                                   // ids are below
  virtual Tensor embed(std::span<const TokenId> ids) const = 0;                    // [t, d]
  virtual Tensor forward(Tensor x, const Batch& batch, KvCache* cache) const = 0;  // [t, d] to [t, d]
  virtual Tensor logits(const Tensor& rows) const = 0;                             // [r, d] to [r, vocab]

  // Tiles to the rows that `project` reads. Tiles that are zero everywhere are padding and dropped where the family's
  // reference does so. Goldens call it `vision_hidden`. Throws Error(unsupported) in a family without pictures.
  virtual Tensor tower(const TowerInput& input) const = 0;  // to [m, patches, v], or [patches, v] with grids
  virtual Tensor project(const Tensor& hidden) const = 0;   // to [rows, d]: `image_features`
  // Tiles of one picture, none dropped: to [rows, d].
  virtual Tensor see(const Tensor& pixels, const ImagePlan& plan) const = 0;
};

// How a checkpoint judges whether something violates a policy: it answers the question that its template makes of the
// policy's text with one of two tokens, and the softmax of their two logits at the prompt's last row is the answer.
struct SafetyHead {
  enum class Judges { pictures, texts };
  struct Policy {
    std::string name, text;
    std::string of_answers = {};  // the text for what a model answered; empty: the same
  };
  Judges judges = Judges::pictures;
  TokenId yes = 0, no = 0;       // yes: it is violated
  std::vector<Policy> policies;  // the checkpoint's own, or those of its family
  bool takes_others = true;      // false: it was trained on its own policies alone
};

// Whether the tokenizer has PaliGemma's tokens for places, or for the codes of masks, first and last.
bool has_location_tokens(const Tokenizer& tokenizer);
bool has_mask_tokens(const Tokenizer& tokenizer);

// What processor_config.json defines under "policy_definitions": name to text; none when it has no such key.
std::vector<SafetyHead::Policy> policies_of(const ModelFiles& files);

struct Family {
  std::string name;
  std::vector<std::string> architectures;  // as in config.json
  std::unique_ptr<Processor> (*processor)(const ModelFiles& files) = nullptr;
  std::unique_ptr<Network> (*network)(const ModelFiles& files, const Weights& weights) = nullptr;
  Dim (*context)(const ConfigReader& config) = nullptr;  // most rows of one sequence, from the config alone
  // On-disk alternatives of weight names: `from` prefix to `to` (WeightOptions::prefix_map).
  std::vector<std::pair<std::string, std::string>> weight_names = {};
  // Of checkpoints that can say where things are; nothing for the others. Null: none of the family can.
  std::optional<Grounding> (*grounding)(const ModelFiles& files) = nullptr;
  // Of checkpoints that are classifiers; nothing for the others. Null: no checkpoint of the family is one.
  std::optional<SafetyHead> (*safety)(const ModelFiles& files) = nullptr;
};

// All of families.inc; the family of an architecture, or null.
std::span<const Family> families();
const Family* find_family(std::string_view architecture);

}  // namespace tap
