#include "tasks/grounded_answer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

#include "base/strings.h"
#include "io/json.h"
#include "text/cardinal.h"

namespace tap {

namespace {

constexpr std::size_t codes_per_mask = 16, most_object_bytes = 4096;

float clamped(double value, double end) { return static_cast<float>(std::clamp(value, 0.0, end)); }

// Nothing when it has no area: within the picture, or as it was said.
std::optional<BoxPx> box_in(const CoordinateFrame& frame, std::array<double, 4> v) {
  if (frame.y_first) std::swap(v[0], v[1]), std::swap(v[2], v[3]);
  if (!std::ranges::all_of(v, [](double c) { return std::isfinite(c); }) || v[2] <= v[0] || v[3] <= v[1])
    return std::nullopt;
  const auto x = [&](double c) { return clamped(c / frame.x_range * frame.width, frame.width); };
  const auto y = [&](double c) { return clamped(c / frame.y_range * frame.height, frame.height); };
  const BoxPx box{x(v[0]), y(v[1]), x(v[2]), y(v[3])};
  return box.x2 > box.x1 && box.y2 > box.y1 ? std::optional(box) : std::nullopt;
}

std::optional<PointPx> point_in(const CoordinateFrame& frame, std::array<double, 2> v) {
  if (frame.y_first) std::swap(v[0], v[1]);
  if (!std::isfinite(v[0]) || !std::isfinite(v[1])) return std::nullopt;
  return PointPx{clamped(v[0] / frame.x_range * frame.width, frame.width),
                 clamped(v[1] / frame.y_range * frame.height, frame.height)};
}

// ---- location tokens

// "<loc0123>" or "<seg012>" at the start of `text`: its number; `length` bytes of it.
std::optional<int> token_number(std::string_view text, std::string_view kind, std::size_t digits) {
  const std::size_t length = kind.size() + digits + 1;
  if (text.size() < length || !text.starts_with(kind) || text[length - 1] != '>') return std::nullopt;
  int value = 0;
  for (const char c : text.substr(kind.size(), digits)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

// All that follow each other, and where they end.
std::vector<int> token_numbers(std::string_view& text, std::string_view kind, std::size_t digits) {
  std::vector<int> all;
  while (const auto value = token_number(text, kind, digits)) {
    all.push_back(*value);
    text.remove_prefix(kind.size() + digits + 1);
  }
  return all;
}

GroundedAnswer parse_tokens(const CoordinateFrame& frame, std::string_view text, std::string_view fallback_label) {
  GroundedAnswer found;
  std::size_t places = 0;
  for (std::size_t at = text.find("<loc"); at != std::string_view::npos; at = text.find("<loc")) {
    text.remove_prefix(at);
    const std::vector<int> numbers = token_numbers(text, "<loc", 4);
    const std::vector<int> codes = token_numbers(text, "<seg", 3);
    if (numbers.empty()) text.remove_prefix(1);
    const std::size_t first = std::exchange(places, places + numbers.size());
    const std::size_t end = std::min({text.find(';'), text.find("<loc"), text.find('\n'), text.size()});
    const std::string_view label = trimmed(text.substr(0, end));
    text.remove_prefix(end);
    const auto known = [](const std::vector<int>& all, int most) {
      return std::ranges::all_of(all, [&](int n) { return n <= most; });
    };
    std::optional<BoxPx> box;
    if (numbers.size() == 4 && known(numbers, 1023))
      box = box_in(frame, {double(numbers[0]), double(numbers[1]), double(numbers[2]), double(numbers[3])});
    if (!box) {
      ++found.invalid;
      continue;
    }
    if (static_cast<Dim>(found.objects.size()) == most_objects) continue;
    Detection& object = found.objects.emplace_back();
    object.label = std::string(label.empty() ? fallback_label : label);
    object.box = *box;
    found.first_places.push_back(first);
    if (codes.size() == codes_per_mask && known(codes, 127))
      object.codes = codes;
    else if (!codes.empty())
      ++found.invalid;
  }
  return found;
}

// ---- JSON

template <std::size_t N>
std::optional<std::array<double, N>> numbers_of(const Json& list) {
  if (!list.is_array() || list.size() != N) return std::nullopt;
  std::array<double, N> all{};
  for (std::size_t i = 0; i < N; ++i) {
    if (!list[i].is_number()) return std::nullopt;
    all[i] = list[i].get<double>();
  }
  return all;
}

// Models mix their keys up; these mean a box, these a point.
const Json* value_of(const Json& object, const std::string& key, std::initializer_list<const char*> others) {
  if (object.contains(key)) return &object[key];
  for (const char* other : others)
    if (object.contains(other)) return &object[other];
  return nullptr;
}

void take_object(const Grounding& grounding, const CoordinateFrame& frame, const Json& object,
                 std::string_view fallback_label, GroundedAnswer& found) {
  const Json* const box = value_of(object, grounding.box_key, {"bbox_2d", "box_2d", "bbox"});
  const Json* const point = value_of(object, grounding.point_key, {"point_2d", "point"});
  if (!box && !point) return;
  Detection one;
  const Json* const label = value_of(object, grounding.label_key, {"label", "name", "text_content"});
  one.label = label && label->is_string() ? std::string(trimmed(label->get_ref<const std::string&>())) : "";
  if (one.label.empty()) one.label = fallback_label;
  bool good = false;
  if (box) {
    if (const auto v = numbers_of<4>(*box))
      if (const auto px = box_in(frame, *v)) one.box = *px, good = true;
  } else if (const auto v = numbers_of<2>(*point)) {
    one.point = point_in(frame, *v);
    good = one.point.has_value();
    if (good) one.box = {one.point->x, one.point->y, one.point->x, one.point->y};
  }
  if (!good) {
    ++found.invalid;
  } else if (static_cast<Dim>(found.objects.size()) < most_objects) {
    found.objects.push_back(std::move(one));
    found.first_places.push_back(0);
  }
}

// Every innermost {…} that is whole, wherever it stands: fences, lists, a cut end do not matter.
GroundedAnswer parse_json_answer(const Grounding& grounding, const CoordinateFrame& frame, std::string_view text,
                                 std::string_view fallback_label) {
  GroundedAnswer found;
  std::size_t start = std::string_view::npos;  // of the innermost object that is open
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\')
        ++i;
      else if (c == '"' || c == '\n')  // a string does not go on over a line: its quote was forgotten
        quoted = false;
    } else if (c == '"') {
      quoted = start != std::string_view::npos;
    } else if (c == '{') {
      start = i;
    } else if (c == '}' && start != std::string_view::npos) {
      const std::string_view object = text.substr(start, i + 1 - start);
      start = std::string_view::npos;
      if (object.size() > most_object_bytes) continue;
      const auto json = parse_json(object, "answer", {.bytes = most_object_bytes});
      if (json && json->is_object())
        take_object(grounding, frame, *json, fallback_label, found);
      else
        ++found.invalid;
    }
  }
  return found;
}

}  // namespace

CoordinateFrame frame_of(const Grounding& grounding, const ImagePlan& plan) {
  const bool seen = grounding.range == 0;
  return {static_cast<double>(plan.source.width), static_cast<double>(plan.source.height),
          seen ? static_cast<double>(plan.tile.width) : grounding.range,
          seen ? static_cast<double>(plan.tile.height) : grounding.range, grounding.y_first};
}

GroundedAnswer parse_grounded(const Grounding& grounding, const CoordinateFrame& frame, std::string_view text,
                              std::string_view fallback_label) {
  return grounding.form == Grounding::Form::json ? parse_json_answer(grounding, frame, text, fallback_label)
                                                 : parse_tokens(frame, text, fallback_label);
}

std::optional<Dim> number_in(std::string_view answer) {
  constexpr Dim largest_word = 20;
  for (std::size_t i = 0; i < answer.size();) {
    const auto is = [&](std::size_t at, int (*kind)(int)) {
      return at < answer.size() && kind(static_cast<unsigned char>(answer[at]));
    };
    std::size_t end = i;
    if (is(i, std::isdigit)) {
      Dim value = 0;
      for (; is(end, std::isdigit); ++end) value = std::min<Dim>(value * 10 + (answer[end] - '0'), 1'000'000);
      return value;
    }
    std::string word;
    for (; is(end, std::isalpha); ++end)
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(answer[end])));
    if (word == "none" || word == "no") return 0;
    for (Dim n = 0; n <= largest_word; ++n)
      if (word == cardinal(n)) return n;
    i = std::max(end, i + 1);
  }
  return std::nullopt;
}

}  // namespace tap
