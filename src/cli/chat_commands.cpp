// The commands of a conversation: /help, /image, /params, …
#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/chat.h"
#include "cli/chat_words.h"
#include "cli/output.h"

namespace tap::cli {

namespace {

constexpr std::size_t most_entries = 10'000;  // of a folder, looked at for completion
constexpr std::array<std::string_view, 7> parameters = {"temperature", "top-p",      "top-k", "min-p",
                                                        "seed",        "max-tokens", "stop"};

std::string value_text(const Options& options, const Flag& f) {
  struct Visitor {
    const Options& options;
    std::string operator()(bool Options::*member) const { return options.*member ? "on" : "off"; }
    std::string operator()(std::string Options::*member) const { return options.*member; }
    std::string operator()(std::int64_t Options::*member) const { return fmt::format("{}", options.*member); }
    std::string operator()(std::optional<double> Options::*member) const {
      return options.*member ? fmt::format("{}", *(options.*member)) : "default";
    }
    std::string operator()(std::optional<std::int64_t> Options::*member) const {
      return options.*member ? fmt::format("{}", *(options.*member)) : "default";
    }
    std::string operator()(std::vector<std::string> Options::*member) const {
      return (options.*member).empty() ? "default" : fmt::format("\"{}\"", fmt::join(options.*member, "\", \""));
    }
  };
  return std::visit(Visitor{options}, f.target);
}

void set_default(Options& options, const Flag& f) {
  const Options fresh;
  std::visit([&](auto member) { options.*member = fresh.*member; }, f.target);
}

// The one file that an argument names: quotes, escapes and file:// are undone, bare spaces belong to the name.
std::string file_of(const std::string& argument, std::string_view command) {
  if (argument.empty()) fail(ErrorCode::usage, "/{} wants the name of a file", command);
  const std::vector<Word> words = split_words(argument);
  return path_of_url(words.size() == 1 ? words.front().text : argument);
}

std::string escaped(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (std::string_view(" \t\\'\"").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::vector<std::string> files_like(const std::string& typed, bool pictures_only) {
  const std::size_t slash = typed.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : typed.substr(0, slash + 1);
  const std::string start = typed.substr(folder.size());
  std::vector<std::string> found;
  std::error_code error;
  std::filesystem::directory_iterator entries(folder.empty() ? "." : folder, error), end;
  for (std::size_t seen = 0; !error && entries != end && seen < most_entries; entries.increment(error), ++seen) {
    const std::string name = entries->path().filename().string();
    if (!name.starts_with(start) || (name.starts_with('.') && start.empty())) continue;
    if (std::any_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; })) continue;
    std::error_code ignored;
    if (entries->is_directory(ignored))
      found.push_back(escaped(folder + name) + "/");
    else if (!pictures_only || has_picture_name(name))
      found.push_back(escaped(folder + name) + " ");
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

struct ChatCommands {
  static void help(Chat& chat, const std::string&) {
    std::string text = "A line is a question; a picture's path in it attaches the picture. Commands:\n";
    for (const ChatCommandInfo& info : chat_commands())
      text += fmt::format("  {:<24} {}\n", fmt::format("/{} {}", info.name, info.argument), info.help);
    text +=
        "A backslash at its end goes on with a line. Ctrl-C stops an answer or clears the line; Ctrl-D leaves; Ctrl-R "
        "searches the history.\n";
    chat.tell(text);
  }

  static void image(Chat& chat, const std::string& argument) {
    std::vector<std::string> sources;
    for (const Word& word : split_words(argument)) sources.push_back(path_of_url(word.text));
    if (sources.size() > 1 && file_exists(argument)) sources = {argument};  // a name with bare spaces
    if (sources.empty()) fail(ErrorCode::usage, "/image wants the path of a picture");
    const std::size_t before = chat.pending_.size();
    try {
      for (const std::string& source : sources) chat.attach(source);
    } catch (...) {
      chat.pending_.resize(before);
      throw;
    }
    for (std::size_t i = before; i < chat.pending_.size(); ++i) chat.say_attached(chat.pending_[i]);
  }

  static void system(Chat& chat, const std::string& argument) {
    if (argument.empty()) {
      chat.tell(chat.transcript_.system.empty() ? "no system text\n" : chat.transcript_.system + "\n");
      return;
    }
    chat.transcript_.system = argument == "default" ? chat.options_.system : argument;
  }

  static void params(Chat& chat, const std::string& argument) {
    const std::size_t space = argument.find_first_of(" \t");
    const std::string name = argument.substr(0, space);
    if (name.empty()) {
      for (const std::string_view parameter : parameters)
        chat.tell(fmt::format("{} {}\n", parameter, value_text(chat.options_, flag(parameter))));
      return;
    }
    if (std::find(parameters.begin(), parameters.end(), name) == parameters.end()) {
      const auto near = nearest(name, parameters);
      fail(ErrorCode::usage, "/params {}: no such parameter; {} {}", name, near.empty() ? "there are" : "nearest:",
           near.empty() ? fmt::format("{}", fmt::join(parameters, ", ")) : fmt::format("{}", fmt::join(near, ", ")));
    }
    const Flag& f = flag(name);
    if (space == std::string::npos) return chat.tell(fmt::format("{} {}\n", name, value_text(chat.options_, f)));
    const std::string value = argument.substr(argument.find_first_not_of(" \t", space));
    Options changed = chat.options_;
    if (value == "default")
      set_default(changed, f);
    else
      set_option(changed, f, {value});
    (void)generate_options(changed, *chat.model_);  // values that do not go together are refused now
    chat.options_ = std::move(changed);
  }

  static void undo(Chat& chat, const std::string&) {
    if (chat.transcript_.turns.empty()) fail(ErrorCode::usage, "/undo: there is no turn to drop");
    chat.note(fmt::format("dropped: {}", chat.transcript_.turns.back().question));
    chat.transcript_.turns.pop_back();
  }

  static void again(Chat& chat, const std::string&) {
    std::vector<ChatTurn>& turns = chat.transcript_.turns;
    if (turns.empty()) fail(ErrorCode::usage, "/again: there is no question to ask again");
    const ChatTurn last = turns.back();
    const std::vector<ChatPicture> pending = std::exchange(chat.pending_, last.pictures);
    turns.pop_back();
    const std::size_t kept = turns.size();
    const auto settle = [&] {  // what was there stays when no new answer came
      if (turns.size() == kept) turns.push_back(last);
      chat.pending_ = pending;
    };
    try {
      chat.ask(last.question);
    } catch (...) {
      settle();
      throw;
    }
    settle();
  }

  static void reset(Chat& chat, const std::string&) {
    chat.transcript_.turns.clear();
    chat.pending_.clear();
    chat.judged_.clear();
    chat.file_.clear();
    chat.session_.clear();
    chat.note("a new conversation; system text and parameters stay");
  }

  static std::string turns_text(const Chat& chat) {
    const std::size_t count = chat.transcript_.turns.size();
    return fmt::format("{} turn{}", count, count == 1 ? "" : "s");
  }

  static void save(Chat& chat, const std::string& argument) {
    bool replace = argument.starts_with("! ");
    std::string path = replace ? file_of(argument.substr(argument.find_first_not_of(' ', 1)), "save")
                       : argument.empty() && !chat.file_.empty() ? chat.file_
                                                                 : file_of(argument, "save");
    replace |= path == chat.file_;
    if (file_exists(path) && !replace)
      throw Error(ErrorCode::io, fmt::format("{}: is there already; /save ! {} replaces it", path, path), path);
    write_file_atomic(
        path,
        transcript_json(chat.transcript_, chat.model_->name()).dump(2, ' ', false, Json::error_handler_t::replace) +
            "\n");
    chat.note(fmt::format("saved {} to {}", turns_text(chat), path));
    chat.file_ = std::move(path);
  }

  static void load(Chat& chat, const std::string& argument) {
    std::string path = file_of(argument, "load");
    const Json file = parse_json(read_file(path, JsonLimits{}.bytes).value(), path).value();
    std::size_t bytes = 0;
    LoadedTranscript loaded = read_transcript(file, path, [&](const std::string& source) {
      ChatPicture picture = chat.load(source);
      check_picture_bytes(bytes += picture.image->pixels.size(), source);
      return picture;
    });
    for (const std::string& source : loaded.changed)
      log::warn("{}: the picture has changed since the conversation was saved", source);
    chat.transcript_ = std::move(loaded.transcript);
    chat.pending_.clear();
    chat.judged_.clear();
    chat.note(fmt::format("loaded {} from {}", turns_text(chat), path));
    chat.file_ = std::move(path);
  }

  static void quit(Chat& chat, const std::string&) { chat.quit_ = true; }

  struct Row {
    ChatCommandInfo info;
    void (*run)(Chat& chat, const std::string& argument);
  };
  static constexpr std::array<Row, 11> rows = {{
      {{"again", "", "asks the last question again (also /regenerate)"}, again},
      {{"help", "", "shows this"}, help},
      {{"image", "PATH…", "attaches pictures for the next question"}, image},
      {{"load", "FILE", "goes on with a saved conversation"}, load},
      {{"params", "[NAME [VALUE]]", "shows or sets temperature, top-p, top-k, min-p, seed, max-tokens, stop"}, params},
      {{"quit", "", "leaves"}, quit},
      {{"regenerate", "", "asks the last question again"}, again},
      {{"reset", "", "begins a new conversation"}, reset},
      {{"save", "FILE", "saves the conversation as JSON; /save ! FILE replaces a file"}, save},
      {{"system", "[TEXT]", "shows or sets the system text"}, system},
      {{"undo", "", "drops the last turn"}, undo},
  }};
};

std::span<const ChatCommandInfo> chat_commands() {
  static const auto infos = [] {
    std::array<ChatCommandInfo, ChatCommands::rows.size()> all;
    std::transform(ChatCommands::rows.begin(), ChatCommands::rows.end(), all.begin(),
                   [](const auto& row) { return row.info; });
    return all;
  }();
  return infos;
}

bool Chat::command(std::string_view line) {
  ChatCommand typed;
  if (!parse_command(line, typed)) return false;
  for (const ChatCommands::Row& row : ChatCommands::rows)
    if (row.info.name == typed.name) return row.run(*this, typed.argument), true;
  std::vector<std::string_view> names;
  for (const ChatCommandInfo& info : chat_commands()) names.push_back(info.name);
  std::string hint;
  for (const std::string_view name : nearest(typed.name, names))
    hint += fmt::format("{}/{}", hint.empty() ? "; nearest: " : ", ", name);
  fail(ErrorCode::usage, "/{}: no such command{}; /help lists them", typed.name, hint);
}

Completion complete_chat(std::string_view before) {
  if (!before.starts_with('/')) return {};
  Completion found;
  const std::size_t space = before.find(' ');
  if (space == std::string_view::npos) {
    for (const ChatCommandInfo& info : chat_commands())
      if (info.name.starts_with(before.substr(1)))
        found.words.push_back(fmt::format("/{}{}", info.name, info.argument.empty() ? "" : " "));
    return found;
  }
  const std::string_view name = before.substr(1, space - 1);
  if (name == "params") {
    found.start = space + 1;
    for (const std::string_view parameter : parameters)
      if (parameter.starts_with(before.substr(space + 1))) found.words.push_back(fmt::format("{} ", parameter));
  } else if (name == "image" || name == "load" || name == "save") {
    const std::vector<Word> words = split_words(before);
    const bool begun = words.size() > 1 && words.back().end == before.size();
    found.start = begun ? words.back().begin : before.size();
    found.words = files_like(begun ? words.back().text : "", name == "image");
  }
  return found;
}

}  // namespace tap::cli
