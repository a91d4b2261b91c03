#include "browser/keys.h"

#include <doctest/doctest.h>

#include "base/error.h"

namespace {

using namespace tap;
using namespace tap::browser;

TEST_CASE("keys have the codes and texts that a US keyboard gives") {
  CHECK(key_of('a')->code == "KeyA");
  CHECK(key_of('A')->number == 'A');
  CHECK(key_of('7')->code == "Digit7");
  CHECK(key_of('&')->code == "Digit7");
  CHECK(key_of('?')->code == "Slash");
  CHECK(key_of(' ')->code == "Space");
  for (char c = ' '; c < 127; ++c) {
    CAPTURE(c);
    REQUIRE(key_of(c));
    CHECK(key_of(c)->text == std::string(1, c));
    CHECK(key_of(c)->number > 0);
  }
  CHECK_FALSE(key_of('\n'));
  CHECK_FALSE(key_of('\xe9'));
}

TEST_CASE("a chord is modifiers and a key, and shortcuts type nothing") {
  CHECK(chord_of("Enter").key.text == "\r");
  CHECK(chord_of("Shift+Tab").modifiers == 8);
  CHECK(chord_of("Shift+Tab").key.key == "Tab");
  CHECK(chord_of("Control+Shift+v").modifiers == 10);
  CHECK(chord_of("Control+v").key.text.empty());
  CHECK(chord_of("+").key.key == "+");
  CHECK(chord_of("Control++").key.code == "Equal");
  for (const char* wrong : {"", "Entre", "Shift+", "ab", "Control+Nothing"}) CHECK_THROWS_AS(chord_of(wrong), Error);
}

}  // namespace
