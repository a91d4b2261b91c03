// What people and programs say to a model: messages of text and pictures.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "codec/image.h"
#include "io/json.h"
#include "models/family.h"

namespace tap {

// A video as a model is asked about it: sampled frames, as its processor prepared them.
struct Clip {
  std::string name;           // for errors
  ImagePlan plan;             // of Processor::plan_video
  std::vector<Image> frames;  // one for each of plan.seconds
  double change = -1;  // a step whose pixels differ less on average (of 255) takes the rows of the one before: lossy;
                       // below 0: only equal ones do
};

// One of the two.
struct Medium {
  std::shared_ptr<const Image> image = {};
  std::shared_ptr<const Clip> clip = {};
};

struct Part {
  std::string text;                         // of a text part
  std::shared_ptr<const Image> image = {};  // set: a picture part
  std::shared_ptr<const Clip> clip = {};    // set: a video part
};

struct Message {
  std::string role;  // "system", "user", "assistant", "tool"
  std::vector<Part> parts;
  Json fields = {};  // further keys that templates read ("tool_calls", "tool_call_id"); an object or null
};

struct Conversation {
  std::vector<Message> messages;
  bool add_generation_prompt = true;
  bool go_on = false;  // with the last message, as if the model had written it so far: add_generation_prompt is off
  bool plain_content = false;  // "content" is a text, as templates of text-only models expect it, not a list of parts
  Json variables;              // further template variables (tools, …), never special tokens; an object or null

  Conversation& system(std::string text);
  Conversation& user(std::string text, std::vector<std::shared_ptr<const Image>> images = {});  // pictures come first
  Conversation& user_about(Medium medium, std::string text);
  Conversation& assistant(std::string text);
  std::vector<Medium> media() const;                         // in order of appearance
  std::vector<std::shared_ptr<const Image>> images() const;  // the pictures among them
  // {"messages": [{"role", "content": [{"type": "image"}, {"type": "text", "text"}]}], "add_generation_prompt",
  // …variables}
  Json template_variables() const;
};

}  // namespace tap
