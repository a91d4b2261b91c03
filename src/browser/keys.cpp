#include "browser/keys.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.h"

namespace tap::browser {

namespace {

struct Named {
  std::string_view key, text;
  int number;
};
constexpr std::array named = {
    Named{"Backspace", "", 8},  Named{"Tab", "", 9},       Named{"Enter", "\r", 13},    Named{"Escape", "", 27},
    Named{"PageUp", "", 33},    Named{"PageDown", "", 34}, Named{"End", "", 35},        Named{"Home", "", 36},
    Named{"ArrowLeft", "", 37}, Named{"ArrowUp", "", 38},  Named{"ArrowRight", "", 39}, Named{"ArrowDown", "", 40},
    Named{"Insert", "", 45},    Named{"Delete", "", 46},   Named{"F1", "", 112},        Named{"F2", "", 113},
    Named{"F3", "", 114},       Named{"F4", "", 115},      Named{"F5", "", 116},        Named{"F6", "", 117},
    Named{"F7", "", 118},       Named{"F8", "", 119},      Named{"F9", "", 120},        Named{"F10", "", 121},
    Named{"F11", "", 122},      Named{"F12", "", 123}};

struct Sign {
  std::string_view plain, shifted, code;
  int number;
};
constexpr std::array signs = {
    Sign{";", ":", "Semicolon", 186},    Sign{"=", "+", "Equal", 187},       Sign{",", "<", "Comma", 188},
    Sign{"-", "_", "Minus", 189},        Sign{".", ">", "Period", 190},      Sign{"/", "?", "Slash", 191},
    Sign{"`", "~", "Backquote", 192},    Sign{"[", "{", "BracketLeft", 219}, Sign{"\\", "|", "Backslash", 220},
    Sign{"]", "}", "BracketRight", 221}, Sign{"'", "\"", "Quote", 222}};
constexpr std::string_view above_digits = ")!@#$%^&*(";

struct Modifier {
  std::string_view name;
  int bit;
};
constexpr std::array modifiers = {Modifier{"Alt+", 1}, Modifier{"Control+", 2}, Modifier{"Meta+", 4},
                                  Modifier{"Shift+", 8}};

}  // namespace

std::optional<Key> key_of(char c) {
  const std::string text(1, c);
  const auto byte = static_cast<unsigned char>(c);
  if (c == ' ') return Key{" ", "Space", " ", 32};
  if (byte < 128 && std::isalpha(byte)) {
    const int upper = std::toupper(byte);
    return Key{text, std::string("Key") + static_cast<char>(upper), text, upper};
  }
  if (byte < 128 && std::isdigit(byte)) return Key{text, "Digit" + text, text, c};
  if (const std::size_t at = above_digits.find(c); at != std::string_view::npos)
    return Key{text, fmt::format("Digit{}", at), text, '0' + static_cast<int>(at)};
  for (const Sign& sign : signs)
    if (text == sign.plain || text == sign.shifted) return Key{text, std::string(sign.code), text, sign.number};
  return std::nullopt;
}

Chord chord_of(std::string_view name) {
  Chord chord;
  std::string_view rest = name;
  for (bool more = true; more;) {
    more = false;
    for (const Modifier& modifier : modifiers) {
      if (rest.size() <= modifier.name.size() || !rest.starts_with(modifier.name)) continue;
      chord.modifiers |= modifier.bit;
      rest.remove_prefix(modifier.name.size());
      more = true;
    }
  }
  const auto found = std::ranges::find(named, rest, &Named::key);
  if (found != named.end()) {
    chord.key = {std::string(rest), std::string(rest), std::string(found->text), found->number};
  } else {
    const auto key = rest.size() == 1 ? key_of(rest[0]) : std::nullopt;
    if (!key) fail(ErrorCode::bad_input, "no such key: {}", name);
    chord.key = *key;
  }
  if (chord.modifiers & 7) chord.key.text.clear();  // a shortcut types nothing
  return chord;
}

}  // namespace tap::browser
