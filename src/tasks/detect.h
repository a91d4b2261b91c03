// Find, segment, point at and count things in a picture: words in, typed places in the picture's own pixels out.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/blocks/mask_codec.h"
#include "runtime/session.h"
#include "tasks/detections.h"
#include "tasks/wants.h"

namespace tap {

struct DetectOptions {
  Want::Kind usual = Want::Kind::detect;  // of words without a verb
  bool raw_prompt = false;                // the words are the question, as they are
  double location_range = 0;              // of location tokens, instead of the family's: 1024 as in PaliGemma's demo
  std::shared_ptr<const MaskCodec> masks = {};  // when it is loaded already
  std::string mask_weights = {};                // the mask decoder's file; empty: vae-oid.npz in the model's folder
};

constexpr double same_object_overlap = 0.7;  // boxes of a counted thing with more in common are one object

// What is asked about every picture, and how the answers are read. The model must outlive it.
class DetectTask {
 public:
  // Throws Error(unsupported) when the checkpoint cannot say where things are, or cannot give masks or points that are
  // asked for; Error(usage) when the words say nothing; what loading the mask decoder throws.
  DetectTask(const Model& model, std::string_view words, DetectOptions options = {});

  std::size_t questions() const { return questions_.size(); }
  const std::string& prompt(std::size_t question) const { return questions_[question].prompt; }
  Conversation conversation(std::size_t question, std::shared_ptr<const Image> image,
                            std::string_view system = "") const;
  // The mask decoder that this task uses, for the next one; null: none.
  const std::shared_ptr<const MaskCodec>& masks() const { return masks_; }
  // Of a picture of that size, from the answers to all questions in order.
  Detections result(Dim width, Dim height, std::span<const Answer> answers) const;

 private:
  struct Question {
    std::string prompt;
    std::vector<Want> things;  // one, where they are asked apart
    bool number = false;       // asks how many, not where
  };
  struct Counted {
    std::string label;
    std::size_t places = 0, number = 0;  // its questions
  };
  void ask_places(const std::vector<Want>& wants, Want::Kind kind, const std::string& form);
  std::string text_of(const Answer& answer) const;
  void read_places(const Question& question, const Answer& answer, const std::string& text, const ImagePlan& plan,
                   Detections& result) const;
  void add_masks(Detections& result) const;

  const Model* model_;
  Grounding grounding_;
  DetectOptions options_;
  std::vector<Question> questions_;
  std::vector<Counted> counted_;
  std::shared_ptr<const MaskCodec> masks_;
};

// All questions about one picture, one after the other.
Detections detect(Session& session, const DetectTask& task, std::shared_ptr<const Image> image,
                  const GenerateOptions& options, std::string_view system = "");

}  // namespace tap
