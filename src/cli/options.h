// Everything the command line can say, and the one table that parsing, --help and the tests of both are made from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tap::cli {

struct Options {
  std::vector<std::string> words;  // positional arguments
  std::string model = "nano";
  std::string host = "127.0.0.1";
  std::int64_t port = 8080;
  std::vector<std::string> models;  // all that --model names; `model` is the last
  std::vector<std::string> api_keys, allow_hosts;
  std::string request_log, memory, tls_cert, tls_key;
  std::int64_t queue = 256;
  std::int64_t max_tokens = 512;
  std::optional<double> temperature, top_p, min_p;
  std::optional<std::int64_t> top_k, seed;
  std::vector<std::string> stop;
  std::int64_t threads = 0;
  std::string dtype = "auto", lookup = "auto";
  std::string system;
  std::string background = "white";
  std::string output;
  std::string messages;
  std::vector<std::string> allow_unchecked;
  std::vector<std::string> guards, policies, policy_texts;
  std::string threshold, labels;
  std::vector<std::string> texts;
  std::string question;
  std::optional<std::int64_t> frames;
  std::optional<double> fps, start, end;
  std::string change = "exact";
  bool stream = false, mobile = false;
  std::string explain;
  std::string annotations, format = "coco", masks, mask_weights, loc_div;
  bool raw_prompt = false, points = false;
  std::int64_t frame = 0, batch = 0, context = 0;  // batch, context: 0 = not given
  std::string choices, regex, schema, grammar;
  bool clipboard = false, allow_private = false, dry_run = false, logprobs = false, jsonl = false, resume = false;
  bool yes = false, force = false;
  bool profile = false;
  bool json = false, quiet = false, verbose = false, decode = false, help = false, version = false;
};

using Target =
    std::variant<bool Options::*, std::string Options::*, std::int64_t Options::*, std::optional<double> Options::*,
                 std::optional<std::int64_t> Options::*, std::vector<std::string> Options::*>;

struct Flag {
  std::string_view name;   // "max-tokens"
  char letter;             // 'm' or 0
  std::string_view value;  // placeholder, empty for a switch
  std::string_view help;   // one line
  Target target;
  double least = 0, most = 0;  // of a number, when least < most
  std::vector<std::string_view> choices = {};
};

std::span<const Flag> flags();  // all of them (flags.cpp)
const Flag& flag(std::string_view name);
// How many words an option takes: 2 when its value is the word after it ("-m DIR", "-qm DIR"), else 1.
std::size_t words_of_option(std::string_view word);

struct Command {
  std::string_view name;   // "" is the question: tapetum IMAGE "question"
  std::string_view usage;  // "IMAGE…"
  std::string_view summary;
  std::string_view details;  // shown by `tapetum NAME --help`, may be empty
  std::vector<std::string_view> flags;
  int (*run)(const Options& options);
};

std::span<const Command> commands();
const Command* find_command(std::string_view name);

// Parses the words after the program's (and the command's) name. Throws Error(usage): unknown options with the nearest
// named, missing or bad values with the allowed range. A word of "--" ends the options.
Options parse(const Command& command, std::span<const std::string> words);

// What `--NAME VALUE…` does to `options`, with the same checks. Throws Error(usage).
void set_option(Options& options, const Flag& flag, const std::vector<std::string>& values);

std::string help_text();  // of the program
std::string help_text(const Command& command);
// The candidates within a small edit distance of `word`, nearest first.
std::vector<std::string_view> nearest(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace tap::cli
