#include "runtime/conversation.h"

namespace tap {

Conversation& Conversation::system(std::string text) {
  messages.push_back({"system", {{std::move(text)}}});
  return *this;
}

Conversation& Conversation::user(std::string text, std::vector<std::shared_ptr<const Image>> images) {
  Message message{"user", {}};
  for (auto& image : images) message.parts.push_back({{}, std::move(image)});
  message.parts.push_back({std::move(text)});
  messages.push_back(std::move(message));
  return *this;
}

Conversation& Conversation::user_about(Medium medium, std::string text) {
  messages.push_back({"user", {{{}, std::move(medium.image), std::move(medium.clip)}, {std::move(text)}}});
  return *this;
}

Conversation& Conversation::assistant(std::string text) {
  messages.push_back({"assistant", {{std::move(text)}}});
  return *this;
}

std::vector<Medium> Conversation::media() const {
  std::vector<Medium> all;
  for (const Message& message : messages)
    for (const Part& part : message.parts)
      if (part.image || part.clip) all.push_back({part.image, part.clip});
  return all;
}

std::vector<std::shared_ptr<const Image>> Conversation::images() const {
  std::vector<std::shared_ptr<const Image>> all;
  for (const Message& message : messages)
    for (const Part& part : message.parts)
      if (part.image) all.push_back(part.image);
  return all;
}

Json Conversation::template_variables() const {
  Json all = variables.is_object() ? variables : Json::object();
  Json list = Json::array();
  for (const Message& message : messages) {
    Json content = Json::array();
    for (const Part& part : message.parts) {
      if (part.image || part.clip)
        content.push_back({{"type", part.clip ? "video" : "image"}});
      else
        content.push_back({{"type", "text"}, {"text", part.text}});
    }
    if (plain_content) {
      std::string text;
      for (const Part& part : message.parts) text += part.text;
      content = std::move(text);
    }
    Json one = message.fields.is_object() ? message.fields : Json::object();
    one["role"] = message.role;
    one["content"] = std::move(content);
    list.push_back(std::move(one));
  }
  all["messages"] = std::move(list);
  all["add_generation_prompt"] = add_generation_prompt && !go_on;
  return all;
}

}  // namespace tap
