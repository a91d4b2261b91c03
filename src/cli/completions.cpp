// tapetum completions SHELL: scripts that know every command, option and choice of the tables.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/commands.h"
#include "cli/completion_words.h"
#include "cli/output.h"
#include "io/hub.h"

namespace tap::cli {

namespace {

std::string joined(const auto& parts, std::string_view between) { return fmt::format("{}", fmt::join(parts, between)); }

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

// Options that take the word after them: "-m|--model|--dtype".
std::string value_options(std::string_view between) {
  std::vector<std::string> all;
  for (const Flag& f : flags())
    if (!f.value.empty())
      for (std::string& option : options_of(f)) all.push_back(std::move(option));
  return joined(all, between);
}

std::string all_options(const Command& command) {
  std::vector<std::string> all;
  for (const std::string_view name : command.flags)
    for (std::string& option : options_of(flag(name))) all.push_back(std::move(option));
  return joined(all, " ");
}

// ---- bash

std::string bash_reply(const Place& place) {
  switch (place.kind) {
    case Place::Kind::none: return "return";
    case Place::Kind::words: return fmt::format("_tapetum_words \"{}\"", joined(place.words, " "));
    case Place::Kind::models: return "_tapetum_words \"$(_tapetum_models)\"; _tapetum_files";
    case Place::Kind::commands: return fmt::format("_tapetum_words \"{}\"", joined(command_names(), " "));
    case Place::Kind::files: return "_tapetum_files";
  }
  return "return";
}

// ---- zsh

std::string zsh_quoted(std::string_view text) {
  std::string quoted(text);
  for (const std::string_view special : {"\\", "[", "]", ":"})
    quoted = replaced(std::move(quoted), special, "\\" + std::string(special));
  return replaced(std::move(quoted), "'", "'\\''");
}

std::string zsh_action(const Place& place) {
  switch (place.kind) {
    case Place::Kind::none: return "";
    case Place::Kind::words: return fmt::format("({})", joined(place.words, " "));
    case Place::Kind::models: return "_tapetum_models";
    case Place::Kind::commands: return fmt::format("({})", joined(command_names(), " "));
    case Place::Kind::files: return "_files";
  }
  return "";
}

std::string zsh_specs(const Command& command) {
  std::string specs;
  for (const std::string_view name : command.flags) {
    const Flag& f = flag(name);
    const bool repeats = std::holds_alternative<std::vector<std::string> Options::*>(f.target);
    const std::vector<std::string> names = options_of(f);
    const std::string front = repeats ? "'*'" : names.size() > 1 ? fmt::format("'({})'", joined(names, " ")) : "";
    std::string option = fmt::format("      {}", front);
    option += names.size() > 1 ? fmt::format("{{{}}}", joined(names, ",")) : names.front();
    specs += fmt::format("{}'[{}]", option, zsh_quoted(f.help));
    if (!f.value.empty()) specs += fmt::format(":{}:{}", zsh_quoted(f.value), zsh_quoted(zsh_action(place_of(f))));
    specs += "' \\\n";
  }
  return specs;
}

// ---- fish

std::string fish_quoted(std::string_view text) {
  return "'" + replaced(replaced(std::string(text), "\\", "\\\\"), "'", "\\'") + "'";
}

std::string fish_value(const Flag& f) {
  if (f.value.empty()) return "";
  const Place place = place_of(f);
  switch (place.kind) {
    case Place::Kind::words: return " -x -a " + fish_quoted(joined(place.words, " "));
    case Place::Kind::models: return " -r -a '(__tapetum_models)'";
    case Place::Kind::files: return " -r -F";
    default: return " -x";
  }
}

}  // namespace

Place place_of(const Flag& f) {
  if (!f.choices.empty()) return {Place::Kind::words, {f.choices.begin(), f.choices.end()}};
  if (f.value.starts_with("MODEL")) return {Place::Kind::models, {}};
  if (f.value == "FILE" || f.value == "FOLDER" || f.value == "DIR") return {Place::Kind::files, {}};
  return {};
}

Place place_of(const Command& command) {
  std::string_view usage = command.usage.substr(0, command.usage.find(' '));
  if (usage.starts_with("[")) usage = usage.substr(1, usage.find(']') - 1);
  if (usage.empty()) return {};
  if (usage.starts_with("MODEL") || usage.starts_with("ORG/NAME")) return {Place::Kind::models, {}};
  if (usage == "COMMAND") return {Place::Kind::commands, {}};
  if (usage.find_first_not_of("abcdefghijklmnopqrstuvwxyz|") != std::string_view::npos) return {Place::Kind::files, {}};
  Place place{Place::Kind::words, {}};
  while (!usage.empty()) {
    const std::size_t end = std::min(usage.find('|'), usage.size());
    place.words.emplace_back(usage.substr(0, end));
    usage.remove_prefix(std::min(end + 1, usage.size()));
  }
  return place;
}

std::vector<std::string_view> command_names() {
  std::vector<std::string_view> names;
  for (const Command& command : commands())
    if (!command.name.empty()) names.push_back(command.name);
  return names;
}

std::vector<std::string> options_of(const Flag& f) {
  std::vector<std::string> names;
  if (f.letter) names.push_back(fmt::format("-{}", f.letter));
  names.push_back(fmt::format("--{}", f.name));
  return names;
}

std::string bash_completion() {
  std::string script = R"(# bash completion of tapetum, made by `tapetum completions bash`.
_tapetum_words() { mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$1" -- "$cur"); }
_tapetum_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
}
_tapetum_models() { "${COMP_WORDS[0]/#\~/$HOME}" completions models 2>/dev/null; }

_tapetum() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} word command= options i words=0
  COMPREPLY=()
  # --option=value is three words here.
  if [[ $cur == "=" ]]; then
    cur=
  elif [[ $prev == "=" ]]; then
    prev=${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${COMP_WORDS[i]}
    case $word in
      --) prev=; words=1; break ;;
)";
  script += fmt::format("      {}) [[ ${{COMP_WORDS[i+1]}} == \"=\" ]] && i=$((i + 1)); i=$((i + 1)) ;;\n",
                        value_options("|"));
  script += "      -*) ;;\n      *) ((words++ == 0)) && command=$word ;;\n    esac\n  done\n  case $prev in\n";
  for (const Flag& f : flags()) {
    const Place place = place_of(f);
    if (place.kind != Place::Kind::none)
      script += fmt::format("    {}) {}; return ;;\n", joined(options_of(f), "|"), bash_reply(place));
  }
  script += fmt::format("    {}) return ;;  # a value that only the user knows\n", value_options("|"));
  script += "  esac\n  case $command in\n";
  for (const Command& command : commands())
    if (!command.name.empty()) script += fmt::format("    {}) options=\"{}\" ;;\n", command.name, all_options(command));
  script += fmt::format("    *) options=\"{}\" ;;\n  esac\n", all_options(*find_command("")));
  script += fmt::format(R"(  if [[ $cur == -* ]]; then
    _tapetum_words "$options"
  elif ((words == 0)); then
    _tapetum_words "{}"
    _tapetum_files
  elif ((words == 1)); then
    case $command in
)",
                        joined(command_names(), " "));
  for (const Command& command : commands())
    if (!command.name.empty()) script += fmt::format("      {}) {} ;;\n", command.name, bash_reply(place_of(command)));
  script += "      *) _tapetum_files ;;\n    esac\n  else\n    _tapetum_files\n  fi\n}\ncomplete -F _tapetum tapetum\n";
  return script;
}

std::string zsh_completion() {
  std::string script = R"sh(#compdef tapetum
# zsh completion of tapetum, made by `tapetum completions zsh`.
_tapetum_models() {
  local -a models
  models=(${(f)"$(_call_program models tapetum completions models 2>/dev/null)"})
  compadd -a models
  _files
}

_tapetum_start() {
  local -a commands
  commands=(
)sh";
  for (const Command& command : commands())
    if (!command.name.empty())
      script += fmt::format("    '{}:{}'\n", command.name, replaced(std::string(command.summary), "'", "'\\''"));
  script += R"sh(  )
  _describe -t commands command commands
  _files
}

_tapetum() {
  local command= word
  local -i i
  for ((i = 2; i < CURRENT; ++i)); do
    word=$words[i]
    case $word in
      (--) break ;;
)sh";
  script += fmt::format("      ({}) ((++i)) ;;\n      (-*) ;;\n      (*) command=$word; break ;;\n    esac\n  done\n",
                        value_options("|"));
  script += "  case $command in\n";
  for (const Command& command : commands()) {
    if (command.name.empty()) continue;
    const std::string first = zsh_action(place_of(command));
    script += fmt::format("    ({})\n      _arguments -s -S \\\n{}        '1:command: ' {}'*:file:_files' ;;\n",
                          command.name, zsh_specs(command), first.empty() ? "" : fmt::format("'2:word:{}' ", first));
  }
  script += fmt::format(
      "    (*)\n      _arguments -s -S \\\n{}        '1:command or picture:_tapetum_start' '*:file:_files' ;;\n",
      zsh_specs(*find_command("")));
  script += "  esac\n}\n\n_tapetum \"$@\"\n";
  return script;
}

std::string fish_completion() {
  std::string script = R"(# fish completion of tapetum, made by `tapetum completions fish`.
function __tapetum_models
  tapetum completions models 2>/dev/null
end

# The command typed so far: "-" when there is no word yet, "+" for a question.
function __tapetum_command
  set -l skip 0
  for word in (commandline -opc)[2..-1]
    if test $skip = 1
      set skip 0
      continue
    end
    switch $word
)";
  script += fmt::format("      case {}\n        set skip 1\n      case '-*'\n      case {}\n", value_options(" "),
                        joined(command_names(), " "));
  script += R"(        echo $word
        return
      case '*'
        echo +
        return
    end
  end
  echo -
end

function __tapetum_is
  contains -- (__tapetum_command) $argv
end

)";
  for (const Command& command : commands()) {
    if (command.name.empty()) continue;
    script += fmt::format("complete -c tapetum -n '__tapetum_is -' -a {} -d {}\n", command.name,
                          fish_quoted(command.summary));
    const Place place = place_of(command);
    const std::string condition = fmt::format("complete -c tapetum -n '__tapetum_is {}'", command.name);
    if (place.kind == Place::Kind::none) script += condition + " -f\n";
    if (place.kind == Place::Kind::models) script += condition + " -a '(__tapetum_models)'\n";
    if (place.kind == Place::Kind::words) script += fmt::format("{} -f -a '{}'\n", condition, joined(place.words, " "));
    if (place.kind == Place::Kind::commands)
      script += fmt::format("{} -f -a '{}'\n", condition, joined(command_names(), " "));
  }
  for (const Flag& f : flags()) {
    std::vector<std::string> takers;
    for (const Command& command : commands())
      if (std::ranges::find(command.flags, f.name) != command.flags.end())
        takers.push_back(command.name.empty() ? "- +" : std::string(command.name));
    if (takers.empty()) continue;
    script += fmt::format("complete -c tapetum -n '__tapetum_is {}'{} -l {}{} -d {}\n", joined(takers, " "),
                          f.letter ? fmt::format(" -s {}", f.letter) : "", f.name, fish_value(f), fish_quoted(f.help));
  }
  return script;
}

int run_completions(const Options& options) {
  const std::string what = options.words.size() == 1 ? options.words[0] : "";
  std::string text;
  if (what == "bash")
    text = bash_completion();
  else if (what == "zsh")
    text = zsh_completion();
  else if (what == "fish")
    text = fish_completion();
  else if (what == "models") {  // what the scripts ask while somebody types
    text = "nano\n";
    for (const CachedModel& model : list_models(HubEnv::from_environment())) text += model.name + "\n";
  } else {
    throw Error(ErrorCode::usage, "completions takes one word: bash, zsh or fish (or models, the names of -m)", what);
  }
  if (options.json)
    write_json({{"for", what}, {"text", text}});
  else
    write_out(text);
  return 0;
}

}  // namespace tap::cli
