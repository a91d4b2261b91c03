// Results on stdout. A full disk is an error that names it; a closed pipe ends the program quietly.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/human_bytes.h"
#include "io/json.h"

namespace tap::cli {

struct PipeClosed {};  // thrown when nobody reads stdout any more

void write_out(std::string_view text);  // at once; throws Error(io) or PipeClosed
void write_json(const Json& value);     // one line

void print_error(const Error& error);  // "tapetum: …" on stderr, one line whatever names the message quotes
Json error_json(const Error& error);   // {"error":{"code","message","item"}}

}  // namespace tap::cli
