// Keys by name, as KeyboardEvent.key has them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tap::browser {

struct Key {
  std::string key, code, text;  // "Enter", "Enter", "\r"; text: what it types, empty for none
  int number = 0;               // KeyboardEvent.keyCode
};

struct Chord {
  Key key;
  int modifiers = 0;  // the protocol's: 1 Alt, 2 Control, 4 Meta, 8 Shift
};

// "Enter", "a", "Shift+Tab", "Control+v". Throws Error(bad_input) for what is no key.
Chord chord_of(std::string_view name);
std::optional<Key> key_of(char printable);  // of a US keyboard

}  // namespace tap::browser
