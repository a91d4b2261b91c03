#include "cli/options.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/error.h"

namespace tap::cli {

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t up = row[j];
      row[j] = std::min({row[j - 1] + 1, up + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = up;
    }
  }
  return row[b.size()];
}

double parse_number(const Flag& f, const std::string& text, bool whole) {
  double number = 0;
  std::size_t used = 0;
  try {
    number = std::stod(text, &used);
  } catch (const std::exception&) {
    used = std::string::npos;
  }
  const bool is_number = used == text.size() && text.find_first_of("xXnN") == std::string::npos;
  if (!is_number || (whole && number != std::trunc(number)))
    fail(ErrorCode::usage, "--{} is \"{}\": must be a{} number", f.name, text, whole ? " whole" : "");
  if (f.least < f.most && !(number >= f.least && number <= f.most))
    fail(ErrorCode::usage, "--{} is {}: must be from {:.0f} to {:.0f}", f.name, text, f.least, f.most);
  return number;
}

std::string flag_column(const Flag& f) {
  std::string text = f.letter ? fmt::format("-{}, --{}", f.letter, f.name) : fmt::format("    --{}", f.name);
  if (!f.value.empty()) text += fmt::format(" {}", f.value);
  return text;
}

}  // namespace

const Flag& flag(std::string_view name) {
  for (const Flag& f : flags())
    if (f.name == name) return f;
  fail(ErrorCode::internal, "no flag --{} in the table", name);
}

std::size_t words_of_option(std::string_view word) {
  for (const Flag& f : flags())
    if (!f.value.empty() && word.starts_with("--") && word.substr(2) == f.name) return 2;
  if (word.starts_with("--")) return 1;
  for (std::size_t i = 1; i < word.size(); ++i)
    for (const Flag& f : flags())
      if (f.letter == word[i] && !f.value.empty()) return i + 1 == word.size() ? 2 : 1;
  return 1;
}

const Command* find_command(std::string_view name) {
  for (const Command& command : commands())
    if (command.name == name) return &command;
  return nullptr;
}

std::vector<std::string_view> nearest(std::string_view word, std::span<const std::string_view> candidates) {
  std::vector<std::pair<std::size_t, std::string_view>> found;
  for (const std::string_view candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance <= 1 + word.size() / 4 || (word.size() >= 3 && candidate.starts_with(word)))
      found.emplace_back(distance, candidate);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string_view> names;
  for (std::size_t i = 0; i < found.size() && i < 3; ++i) names.push_back(found[i].second);
  return names;
}

void set_option(Options& options, const Flag& f, const std::vector<std::string>& values) {
  const std::string& last = values.back();
  if (!f.choices.empty() && std::find(f.choices.begin(), f.choices.end(), last) == f.choices.end())
    fail(ErrorCode::usage, "--{} is \"{}\": must be one of {}", f.name, last, fmt::join(f.choices, ", "));
  if (f.value == "FILE" && last.empty()) fail(ErrorCode::usage, "--{} is empty: must name a file", f.name);
  struct Visitor {
    const Flag& f;
    Options& options;
    const std::vector<std::string>& values;
    void operator()(bool Options::*) const {}
    void operator()(std::string Options::*member) const { options.*member = values.back(); }
    void operator()(std::int64_t Options::*member) const {
      options.*member = static_cast<std::int64_t>(parse_number(f, values.back(), true));
    }
    void operator()(std::optional<double> Options::*member) const {
      options.*member = parse_number(f, values.back(), false);
    }
    void operator()(std::optional<std::int64_t> Options::*member) const {
      options.*member = static_cast<std::int64_t>(parse_number(f, values.back(), true));
    }
    void operator()(std::vector<std::string> Options::*member) const { options.*member = values; }
  };
  std::visit(Visitor{f, options, values}, f.target);
  if (!options.models.empty()) options.model = options.models.back();
}

Options parse(const Command& command, std::span<const std::string> words) {
  Options options;
  CLI::App app;
  app.set_help_flag();
  app.allow_extras(false);
  app.prefix_command(false);
  struct Bound {
    const Flag* flag;
    std::vector<std::string> values;
    bool on = false;
  };
  std::vector<Bound> bound;
  bound.reserve(command.flags.size());
  for (const std::string_view name : command.flags) {
    const Flag& f = flag(name);
    Bound& b = bound.emplace_back(Bound{&f, {}, false});
    const std::string names = (f.letter ? fmt::format("-{},", f.letter) : "") + fmt::format("--{}", f.name);
    // expected(1): exactly one value, also when it begins with a dash or looks like a list.
    if (f.value.empty())
      app.add_flag(names, b.on);
    else
      app.add_option(names, b.values)
          ->expected(1)
          ->allow_extra_args(false)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  }
  app.add_option("words", options.words);
  for (const std::string& word : words) {
    if (word == "--") break;
    if (word.starts_with("--") && word.ends_with("=") && word.find('=') == word.size() - 1)
      throw Error(ErrorCode::usage, fmt::format("{} is empty: give a value", word.substr(0, word.size() - 1)), word);
  }
  std::vector<std::string> reversed(words.rbegin(), words.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ExtrasError&) {
    for (const std::string& word : words) {
      if (word == "--") break;
      if (!word.starts_with("-") || word == "-") continue;
      const std::string_view bare = std::string_view(word).substr(word.starts_with("--") ? 2 : 1);
      const std::string_view name = bare.substr(0, bare.find('='));
      const bool known = std::any_of(command.flags.begin(), command.flags.end(), [&](std::string_view n) {
        return n == name || (!word.starts_with("--") && flag(n).letter && name[0] == flag(n).letter);
      });
      if (known) continue;
      std::string hint;
      for (const std::string_view n : nearest(name, command.flags))
        hint += fmt::format("{}--{}", hint.empty() ? "; nearest: " : ", ", n);
      const auto label = command.name.empty() ? std::string("tapetum") : fmt::format("tapetum {}", command.name);
      throw Error(ErrorCode::usage,
                  fmt::format("unknown option {}{}; see {} --help", word.substr(0, word.find('=')), hint, label), word);
    }
    throw Error(ErrorCode::usage, "options that cannot be read; see --help");
  } catch (const CLI::ParseError& error) {
    throw Error(ErrorCode::usage, error.what());
  }
  for (const Bound& b : bound) {
    if (b.flag->value.empty())
      options.*std::get<bool Options::*>(b.flag->target) = b.on;
    else if (!b.values.empty())
      set_option(options, *b.flag, b.values);
  }
  return options;
}

std::string help_text() {
  std::string text =
      "tapetum: a vision-language engine that sees well on little hardware\n\n"
      "  tapetum IMAGE… \"question\"         ask about pictures\n";
  for (const Command& command : commands()) {
    if (command.name.empty()) continue;
    text += fmt::format("  tapetum {:<25} {}\n", fmt::format("{} {}", command.name, command.usage), command.summary);
  }
  text += "\nOptions of a question:\n";
  for (const std::string_view name : find_command("")->flags)
    text += fmt::format("  {:<24} {}\n", flag_column(flag(name)), flag(name).help);
  text +=
      "\n`tapetum COMMAND --help` shows a command's own options. The first word that is no option may be a command; "
      "./describe or -- names a\n"
      "file of that name. Results go to stdout, the rest to stderr. Exit codes: 0 done, 1 failed, 2 wrong use, 3 "
      "refused, 130 interrupted.\n";
  return text;
}

std::string help_text(const Command& command) {
  if (command.name.empty()) return help_text();
  std::string text = fmt::format("tapetum {} {}\n{}\n", command.name, command.usage, command.summary);
  if (!command.details.empty()) text += fmt::format("\n{}\n", command.details);
  text += "\nOptions:\n";
  for (const std::string_view name : command.flags)
    text += fmt::format("  {:<28} {}\n", flag_column(flag(name)), flag(name).help);
  return text;
}

}  // namespace tap::cli
