// The tools that a request lets the model call, as OpenAI's clients write them.
#pragma once

#include <cstdint>

#include "runtime/tool_calls.h"
#include "server/json_fields.h"

namespace tap::server {

// {"type": "function", "function": {"name", …}} in chats, {"type": "function", "name", …} in responses; "tool_choice"
// likewise.
enum class ToolStyle : std::uint8_t { chat, responses };

constexpr std::size_t most_request_tools = 128;  // as at OpenAI's

// "tools", "tool_choice" and "parallel_tool_calls". Throws Error naming the field: bad_input, limit, and unsupported
// for tools that are no functions.
ToolUse tools_of(const JsonFields& body, ToolStyle style);

}  // namespace tap::server
