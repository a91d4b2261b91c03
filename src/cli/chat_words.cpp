#include "cli/chat_words.h"

#include <algorithm>
#include <array>

namespace tap::cli {

namespace {

constexpr std::string_view space = " \t\r\n";
constexpr std::array picture_endings = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".heic",
                                        ".bmp", ".tif", ".tiff", ".ppm",  ".pgm", ".pbm",  ".pnm"};

bool is_space(char c) { return space.find(c) != std::string_view::npos; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool starts_with_any_case(std::string_view text, std::string_view start) {
  return text.size() >= start.size() &&
         std::equal(start.begin(), start.end(), text.begin(), [](char a, char b) { return a == lower(b); });
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(space);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(space) - begin + 1);
}

// The quoted part that opens at `at`: appends what it holds and moves behind it; false when it never closes.
bool read_quoted(std::string_view line, std::size_t& at, std::string& out) {
  const char quote = line[at];
  std::string held;
  for (std::size_t i = at + 1; i < line.size(); ++i) {
    if (line[i] == quote) {
      out += held;
      at = i + 1;
      return true;
    }
    if (quote == '"' && line[i] == '\\' && i + 1 < line.size() &&
        std::string_view("\"\\$`").find(line[i + 1]) != std::string_view::npos)
      ++i;
    held += line[i];
  }
  return false;
}

bool ends_sentence(std::string_view before) {
  before = trim(before);
  return before.empty() || std::string_view(".?!:;").find(before.back()) != std::string_view::npos;
}

}  // namespace

std::vector<Word> split_words(std::string_view line) {
  std::vector<Word> words;
  std::array<bool, 2> unpaired = {};  // no more pairs of this quote: looked for once
  for (std::size_t at = 0; at < line.size();) {
    if (is_space(line[at])) {
      ++at;
      continue;
    }
    Word word;
    word.begin = at;
    bool may_quote = true;  // at the start, and right behind another quoted part: 'it'\''s'
    while (at < line.size() && !is_space(line[at])) {
      const char c = line[at];
      if (bool& none = unpaired[c == '"']; may_quote && (c == '"' || c == '\'') && !none) {
        if (read_quoted(line, at, word.text)) {
          word.plain = false;
          continue;
        }
        none = true;
      }
      if (c == '\\' && at + 1 < line.size() && line[at + 1] != '\n') {
        may_quote = !word.plain;
        word.plain = false;
        word.text += line[at + 1];
        at += 2;
        continue;
      }
      may_quote = false;
      word.text += c;
      ++at;
    }
    word.end = at;
    words.push_back(std::move(word));
  }
  return words;
}

std::string path_of_url(std::string_view word) {
  if (!starts_with_any_case(word, "file://")) return std::string(word);
  std::string_view rest = word.substr(7);
  if (starts_with_any_case(rest, "localhost/")) rest.remove_prefix(9);
  if (!rest.starts_with('/')) return std::string(word);  // another host's file
  std::string path;
  for (std::size_t i = 0; i < rest.size(); ++i) {
    const int high = rest[i] == '%' && i + 2 < rest.size() ? hex_value(rest[i + 1]) : -1;
    const int low = high >= 0 ? hex_value(rest[i + 2]) : -1;
    if (low < 0 || high * 16 + low == 0) {  // %00 would end the path early
      path += rest[i];
    } else {
      path += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return path;
}

bool is_web_address(std::string_view word) {
  return starts_with_any_case(word, "http://") || starts_with_any_case(word, "https://");
}

bool has_picture_name(std::string_view word) {
  if (is_web_address(word)) word = word.substr(0, word.find_first_of("?#"));
  return std::any_of(picture_endings.begin(), picture_endings.end(), [&](std::string_view ending) {
    return word.size() > ending.size() && starts_with_any_case(word.substr(word.size() - ending.size()), ending);
  });
}

Line find_pictures(std::string_view line, const std::function<bool(const std::string&)>& is_file) {
  const std::string_view whole = trim(line);
  const auto is_picture = [&](const std::string& path) { return has_picture_name(path) && is_file(path); };
  // Some terminals drop a path with its spaces bare.
  if (std::string path = path_of_url(whole); is_picture(path)) return {{std::move(path)}, {}};

  Line found;
  const std::vector<Word> words = split_words(whole);
  std::size_t kept = 0;  // of `whole`, up to here
  for (const Word& word : words) {
    std::string path = path_of_url(word.text);
    std::size_t end = word.end;
    bool taken = is_picture(path) || (is_web_address(path) && has_picture_name(path));
    if (!taken && word.plain &&
        path.find_first_of("?!.,;:)", path.empty() ? 0 : path.size() - 1) != std::string::npos) {
      std::string shorter = path.substr(0, path.find_last_not_of("?!.,;:)") + 1);  // "what is in roof.png?"
      if (is_picture(shorter)) {
        end -= path.size() - shorter.size();
        path = std::move(shorter);
        taken = true;
      }
    }
    if (!taken) taken = has_picture_name(path) && (words.size() == 1 || path.find('/') != std::string::npos);
    if (!taken) continue;
    found.text += whole.substr(kept, word.begin - kept);
    if (!ends_sentence(found.text) || end != word.end) found.text += path.substr(path.rfind('/') + 1);
    kept = end;
    found.pictures.push_back(std::move(path));
  }
  found.text = trim(found.text.append(whole.substr(kept)));
  return found;
}

bool parse_command(std::string_view line, ChatCommand& command) {
  line = trim(line);
  const auto letter = [](char c) { return lower(c) >= 'a' && lower(c) <= 'z'; };
  if (line.size() < 2 || line[0] != '/' || !letter(line[1])) return false;
  const std::size_t end = std::min(line.find_first_of(space), line.size());
  const std::string_view name = line.substr(1, end - 1);
  if (name.find_first_of("/.") != std::string_view::npos) return false;
  command = {std::string(name), std::string(trim(line.substr(end)))};
  return true;
}

}  // namespace tap::cli
