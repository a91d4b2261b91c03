// A run of prompt text with its origin.
#pragma once

#include <string>

namespace tap {

// Added tokens ("<image>", "<|im_end|>", special or not) are recognised only where they lie wholly within trusted text
// (a template's own words, a raw prompt): what a user typed never becomes one. Adjacent spans otherwise read as one
// text, so a template's "\n" may merge with the user's.
struct TextSpan {
  std::string text;
  bool trusted = false;
};

}  // namespace tap
