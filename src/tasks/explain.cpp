#include "tasks/explain.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "media/resize.h"
#include "ops/attention_probe.h"

namespace tap {

namespace {

// The share of rows that may be brighter than white: single rows often draw much attention and show nothing.
constexpr double outliers = 0.02;

void normalise(std::vector<float>& heat) {
  if (heat.empty()) return;
  std::vector<float> sorted = heat;
  std::ranges::sort(sorted);
  const auto last = sorted.size() - 1;
  const float low = sorted.front(),
              high = sorted[last - static_cast<std::size_t>(static_cast<double>(last) * outliers)];
  for (float& value : heat) value = high > low ? std::clamp((value - low) / (high - low), 0.0F, 1.0F) : 0;
}

}  // namespace

HeatMap heat_of(std::span<const float> rows, const ImagePlan& plan) {
  HeatMap map;
  if (plan.grid.steps > 0) {  // patches are merged in squares; the steps of a video are added up
    const Dim patches = plan.grid.rows * plan.grid.columns, tokens = plan.tokens / plan.grid.steps;
    const auto merge =
        static_cast<Dim>(std::lround(std::sqrt(static_cast<double>(patches) / static_cast<double>(tokens))));
    map.rows = plan.grid.rows / merge;
    map.columns = plan.grid.columns / merge;
    map.heat.resize(static_cast<std::size_t>(map.rows * map.columns));
    for (std::size_t i = 0; i < rows.size(); ++i) map.heat[i % map.heat.size()] += rows[i];
  } else {
    const Dim tiles = plan.tiles(), each = plan.tokens / tiles;
    const auto side = static_cast<Dim>(std::lround(std::sqrt(static_cast<double>(each))));
    const bool split = plan.rows > 0;
    const Dim down = split ? plan.rows : 1, across = split ? plan.columns : 1;
    map.rows = side * down;
    map.columns = side * across;
    map.heat.resize(static_cast<std::size_t>(map.rows * map.columns));
    for (Dim y = 0; y < map.rows; ++y)
      for (Dim x = 0; x < map.columns; ++x) {
        float& heat = map.heat[static_cast<std::size_t>(y * map.columns + x)];
        const auto at = [&](Dim tile, Dim row, Dim column) {
          return rows[static_cast<std::size_t>(tile * each + row * side + column)];
        };
        heat = at(split ? y / side * across + x / side : 0, y % side, x % side);
        if (split && plan.overview) heat = (heat + at(down * across, y / down, x / across)) / 2;
      }
  }
  normalise(map.heat);
  return map;
}

Explanation explain(Session& session, const Conversation& conversation, const GenerateOptions& options) {
  GenerateOptions one_by_one = options;
  one_by_one.lookup = Lookup::off;  // the probe sees rows that are computed alone
  Generation generation = session.ask(conversation, one_by_one);
  const Prompt& prompt = generation.prepared().prompt;
  std::vector<float> slots(prompt.slots.size());
  const ops::AttentionProbe probe([&](Interval seen, std::span<const float> weights) {
    for (std::size_t i = 0; i < slots.size(); ++i)
      if (prompt.slots[i] >= seen.begin && prompt.slots[i] < seen.end)
        slots[i] += weights[static_cast<std::size_t>(prompt.slots[i] - seen.begin)];
  });
  std::string text;
  while (const auto event = generation.next()) text += event->text;
  text += generation.rest();
  Explanation explanation{
      answer_of(generation.loop(), std::move(text), generation.timings(), generation.prepared().sent), {}};
  for (std::size_t i = 0; i < prompt.pictures.size(); ++i) {
    const PictureSlots& own = prompt.pictures[i];
    explanation.maps.push_back(
        heat_of(std::span(slots).subspan(static_cast<std::size_t>(own.begin), static_cast<std::size_t>(own.count)),
                generation.prepared().plans[i]));
  }
  return explanation;
}

void draw_heat(Image& image, const HeatMap& map) {
  const std::vector<float> heat =
      resize_plane(map.heat, map.columns, map.rows, image.width, image.height, Filter::bicubic);
  constexpr std::array<float, 3> warm{255, 120, 20};
  for (std::size_t i = 0; i < heat.size(); ++i) {
    const float h = std::clamp(heat[i], 0.0F, 1.0F);
    for (std::size_t c = 0; c < 3; ++c) {
      std::uint8_t& value = image.pixels[i * 3 + c];
      const float dark = static_cast<float>(value) * (0.35F + 0.65F * h);
      value = static_cast<std::uint8_t>(std::clamp(dark + 0.45F * h * (warm[c] - dark), 0.0F, 255.0F));
    }
  }
}

}  // namespace tap
