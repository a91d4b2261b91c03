#include "tasks/wants.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <span>

#include "base/error.h"
#include "base/strings.h"

namespace tap {

namespace {

constexpr std::string_view ends = " \t\r\n.!?\"'";

// Takes the words off the start of `text` when they stand there as words.
bool take(std::string_view& text, std::string_view words) {
  if (!text.starts_with(words) || (text.size() > words.size() && text[words.size()] != ' ')) return false;
  text = trimmed(text.substr(words.size()));
  return true;
}

bool take_any(std::string_view& text, std::span<const std::string_view> all) {
  return std::ranges::any_of(all, [&](std::string_view words) { return take(text, words); });
}

struct Verb {
  std::string_view words;
  Want::Kind kind;
};
constexpr std::array<Verb, 24> verbs{{{"how many", Want::Kind::count},
                                      {"count up", Want::Kind::count},
                                      {"count", Want::Kind::count},
                                      {"point to", Want::Kind::point},
                                      {"point at", Want::Kind::point},
                                      {"point out", Want::Kind::point},
                                      {"segment", Want::Kind::segment},
                                      {"outline", Want::Kind::segment},
                                      {"mask out", Want::Kind::segment},
                                      {"mask", Want::Kind::segment},
                                      {"cut out", Want::Kind::segment},
                                      {"detect", Want::Kind::detect},
                                      {"find", Want::Kind::detect},
                                      {"locate", Want::Kind::detect},
                                      {"look for", Want::Kind::detect},
                                      {"search for", Want::Kind::detect},
                                      {"where is", Want::Kind::detect},
                                      {"where are", Want::Kind::detect},
                                      {"where's", Want::Kind::detect},
                                      {"box", Want::Kind::detect},
                                      {"draw boxes around", Want::Kind::detect},
                                      {"draw a box around", Want::Kind::detect},
                                      {"show me", Want::Kind::detect},
                                      {"show", Want::Kind::detect}}};

// Off the end of "how many trees are there in the picture".
std::string_view without_counting_words(std::string_view text) {
  for (const std::string_view scene : {" in the picture", " in the image", " in this picture", " in this image",
                                       " in the photo", " do you see", " can you see"})
    if (text.ends_with(scene)) text = trimmed(text.substr(0, text.size() - scene.size()));
  for (const std::string_view tail : {" are there", " are visible", " is there", " are in it"})
    if (text.ends_with(tail)) return trimmed(text.substr(0, text.size() - tail.size()));
  // "how many birds are on the roof" asks for birds on the roof
  return text;
}

std::string without_are(std::string_view text) {
  std::string all(text);
  for (const std::string_view verb : {" are there ", " are "})
    if (const auto at = all.find(verb); at != std::string::npos) return all.replace(at, verb.size(), " ");
  return all;
}

// "a, b and c" to its parts.
std::vector<std::string> parts_of(std::string_view text) {
  std::vector<std::string> parts;
  for (;;) {
    std::size_t end = text.size(), next = text.size();
    for (const std::string_view mark : {",", " and ", " & "})
      if (const auto at = text.find(mark); at < end) end = at, next = at + mark.size();
    if (const auto part = trimmed(text.substr(0, end), ends); !part.empty()) parts.emplace_back(part);
    if (next >= text.size()) return parts;
    text = trimmed(text.substr(next));
    if (text.starts_with("and ")) text = trimmed(text.substr(4));  // "a, and b"
  }
}

constexpr std::array<std::string_view, 14> prepositions{" on ",    " in ",    " at ",     " with ",   " under ",
                                                        " near ",  " of ",    " behind ", " beside ", " over ",
                                                        " above ", " below ", " that ",   " without "};

// The thing's noun: [begin, end) of the last word before a preposition.
std::pair<std::size_t, std::size_t> noun_of(std::string_view thing) {
  std::size_t end = thing.size();
  for (const std::string_view word : prepositions) end = std::min(end, thing.find(word));
  const auto blank = thing.substr(0, end).rfind(' ');
  return {blank == std::string_view::npos ? 0 : blank + 1, end};
}

struct Irregular {
  std::string_view one, many;
};
constexpr std::array<Irregular, 14> irregular{{{"person", "people"},
                                               {"man", "men"},
                                               {"woman", "women"},
                                               {"child", "children"},
                                               {"foot", "feet"},
                                               {"tooth", "teeth"},
                                               {"mouse", "mice"},
                                               {"goose", "geese"},
                                               {"knife", "knives"},
                                               {"leaf", "leaves"},
                                               {"wolf", "wolves"},
                                               {"shelf", "shelves"},
                                               {"fish", "fish"},
                                               {"sheep", "sheep"}}};

bool ends_with_any(std::string_view word, std::initializer_list<std::string_view> all) {
  return std::ranges::any_of(all, [&](std::string_view end) { return word.ends_with(end); });
}

std::string singular_noun(std::string word) {
  for (const Irregular& pair : irregular)
    if (word == pair.many) return std::string(pair.one);
  if (word.size() < 3 || !word.ends_with('s') || ends_with_any(word, {"ss", "us", "is"})) return word;
  if (word.ends_with("ies") && word.size() > 4) return word.substr(0, word.size() - 3) + "y";
  if (ends_with_any(word, {"ses", "xes", "zes", "ches", "shes"}) &&
      !ends_with_any(word,
                     {"houses", "roses", "horses", "vases", "noses", "cases", "phrases", "purses", "nurses", "mazes"}))
    return word.substr(0, word.size() - 2);
  return word.substr(0, word.size() - 1);
}

std::string plural_noun(std::string word) {
  for (const Irregular& pair : irregular)
    if (word == pair.one || word == pair.many) return std::string(pair.many);
  if (word.empty() || singular_noun(word) != word) return word;
  if (word.ends_with('y') && word.size() > 1 &&
      std::string_view("aeiou").find(word[word.size() - 2]) == std::string_view::npos)
    return word.substr(0, word.size() - 1) + "ies";
  return word + (ends_with_any(word, {"s", "x", "z", "ch", "sh"}) ? "es" : "s");
}

}  // namespace

std::vector<Want> wants_of(std::string_view words, Want::Kind usual) {
  static constexpr std::array<std::string_view, 12> polite{"please",   "can you",       "could you", "would you",
                                                           "will you", "i want you to", "i want to", "help me",
                                                           "kindly",   "hey",           "now",       "then"};
  static constexpr std::array<std::string_view, 3> articles{"the", "an", "a"};
  static constexpr std::array<std::string_view, 5> quantities{"all of the", "all the", "all", "every", "each"};
  std::string lower(words);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::vector<Want> wants;
  for (std::string_view rest = lower; !rest.empty();) {
    const auto end = std::min({rest.find(';'), rest.find('\n'), rest.size()});
    const std::string_view clause = trimmed(rest.substr(0, end), ends);
    rest.remove_prefix(std::min(rest.size(), end + 1));
    Want::Kind kind = usual;
    for (const std::string& part : parts_of(clause)) {
      std::string_view thing = part;
      while (take_any(thing, polite)) {
      }
      for (const std::string_view after : {" please"})
        if (thing.ends_with(after)) thing = trimmed(thing.substr(0, thing.size() - after.size()), ends);
      for (const Verb& verb : verbs)  // a verb holds for the parts that follow it too
        if (take(thing, verb.words)) {
          kind = verb.kind;
          break;
        }
      std::string counted;
      if (kind == Want::Kind::count) thing = counted = without_are(without_counting_words(thing));
      take_any(thing, quantities);
      Want want{kind, {}, thing.starts_with("the ")};
      take_any(thing, articles);
      want.thing = trimmed(thing, ends);
      const auto [from, to] = noun_of(want.thing);
      const std::string noun = want.thing.substr(from, to - from);
      want.one = want.one && singular_noun(noun) == noun;
      if (!want.thing.empty() && std::ranges::find(wants, want) == wants.end()) wants.push_back(std::move(want));
    }
  }
  if (wants.empty()) fail(ErrorCode::usage, "detect: say what to look for");
  return wants;
}

std::string singular(std::string_view thing) {
  const auto [from, to] = noun_of(thing);
  return std::string(thing.substr(0, from)) + singular_noun(std::string(thing.substr(from, to - from))) +
         std::string(thing.substr(to));
}

std::string plural(std::string_view thing) {
  const auto [from, to] = noun_of(thing);
  return std::string(thing.substr(0, from)) + plural_noun(std::string(thing.substr(from, to - from))) +
         std::string(thing.substr(to));
}

}  // namespace tap
