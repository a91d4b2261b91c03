#include "server/request_tools.h"

#include <algorithm>
#include <set>

namespace tap::server {

namespace {

// An object with a type, and where the rest of it stands.
struct Typed {
  Typed(const Json& value, const std::string& at, ToolStyle style)
      : fields(value, at), place(at), chat(style == ToolStyle::chat) {}
  JsonFields rest(const std::string& type) const {
    return chat ? JsonFields(fields.need(type), fields.place(type)) : fields;
  }
  std::string rest_place(const std::string& type) const { return chat ? fields.place(type) : place; }
  JsonFields fields;
  std::string place;
  bool chat;
};

void require_function(const Typed& typed) {
  const std::string& type = typed.fields.need_text("type");
  if (type == "function") return;
  const std::string place = typed.fields.place("type");
  throw Error(ErrorCode::unsupported, fmt::format("{} is {}: this server calls functions only", place, shown(type)),
              place);
}

bool is_tool_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return c == '_' || c == '-' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z');
  });
}

Tool tool_of(const Typed& typed) {
  require_function(typed);
  const JsonFields function = typed.rest("function");
  Tool tool{function.need_text("name"), Json::object(), typed.rest_place("function")};
  if (!is_tool_name(tool.name))
    refuse(function.place("name"),
           fmt::format("is {}: must be 1 to 64 letters, digits and _ - .", shown(function.need("name"))));
  function.text("description");
  function.truth("strict");
  for (const auto& [key, value] : function.json().items())
    if (typed.chat || key == "name" || key == "description" || key == "parameters" || key == "strict")
      tool.function[key] = value;
  if (const Json* parameters = function.find("parameters")) {
    const JsonFields schema(*parameters, function.place("parameters"));
    if (const Json* type = schema.find("type"); type && !is_word(*type, "object"))
      refuse(schema.place("type"), *type, "object: arguments have names");
  } else {
    tool.function["parameters"] = {{"type", "object"}, {"properties", Json::object()}};
  }
  return tool;
}

// The name that a choice gives, of a tool that there is.
const std::string& known_name(const JsonFields& function, const ToolUse& use) {
  const std::string& name = function.need_text("name");
  if (std::ranges::find(use.tools, name, &Tool::name) == use.tools.end())
    refuse(function.place("name"), fmt::format("is {}: there is no such tool", shown(name)));
  return name;
}

void choose(const Json& value, ToolStyle style, ToolUse& use) {
  const Typed choice(value, "tool_choice", style);
  const std::string& type = choice.fields.need_word("type", {"function", "allowed_tools"});
  const JsonFields rest = choice.rest(type);
  std::set<std::string> names;
  if (type == "function") {
    names.insert(known_name(rest, use));
    use.required = true;
    use.many = false;
  } else {
    use.required = rest.need_word("mode", {"auto", "required"}) == "required";
    const Json& tools = rest.need("tools");
    if (!tools.is_array() || tools.empty()) refuse(rest.place("tools"), tools, "a list of tools, at least one");
    for (std::size_t i = 0; i < tools.size(); ++i) {
      const Typed tool(tools[i], fmt::format("{}[{}]", rest.place("tools"), i), style);
      require_function(tool);
      names.insert(known_name(tool.rest("function"), use));
    }
  }
  std::erase_if(use.tools, [&](const Tool& tool) { return !names.contains(tool.name); });
}

}  // namespace

ToolUse tools_of(const JsonFields& body, ToolStyle style) {
  ToolUse use;
  if (const Json* tools = body.find("tools")) {
    if (!tools->is_array()) refuse("tools", *tools, "a list of tools");
    if (tools->size() > most_request_tools)
      throw Error(ErrorCode::limit,
                  fmt::format("tools has {} tools, the limit is {}", tools->size(), most_request_tools), "tools");
    for (std::size_t i = 0; i < tools->size(); ++i) {
      Tool tool = tool_of(Typed((*tools)[i], fmt::format("tools[{}]", i), style));
      for (std::size_t j = 0; j < i; ++j)
        if (use.tools[j].name == tool.name) refuse(tool.place + ".name", fmt::format("is that of tools[{}], too", j));
      use.tools.push_back(std::move(tool));
    }
  }
  use.many = body.truth("parallel_tool_calls").value_or(true);
  const Json* choice = body.find("tool_choice");
  if (!choice) return use;
  if (!choice->is_string()) {
    choose(*choice, style, use);
    return use;
  }
  const std::string& word = *body.word("tool_choice", {"none", "auto", "required"});
  if (word == "required" && use.tools.empty()) refuse("tool_choice", "is required, and there are no tools");
  use.required = word == "required";
  if (word == "none") use.tools.clear();
  return use;
}

}  // namespace tap::server
