// What people and programs say to a model: messages of text and pictures.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "codec/image.h"
#include "io/json.h"

namespace tap {

struct Part {
  std::string text;                    // of a text part
  std::shared_ptr<const Image> image;  // set: a picture part
};

struct Message {
  std::string role;  // "system", "user", "assistant"
  std::vector<Part> parts;
};

struct Conversation {
  std::vector<Message> messages;
  bool add_generation_prompt = true;
  bool plain_content = false;  // "content" is a text, as templates of text-only models expect it, not a list of parts
  Json variables;  // further template variables (tools, …), never special tokens; an object or null

  Conversation& system(std::string text);
  Conversation& user(std::string text, std::vector<std::shared_ptr<const Image>> images = {});  // pictures come first
  Conversation& assistant(std::string text);
  std::vector<std::shared_ptr<const Image>> images() const;  // in order of appearance
  // {"messages": [{"role", "content": [{"type": "image"}, {"type": "text", "text"}]}], "add_generation_prompt",
  // …variables}
  Json template_variables() const;
};

}  // namespace tap
