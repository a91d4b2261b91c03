#include "media/draw.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include <fmt/core.h>

#include "media/text_mask.h"

namespace tap {

namespace {

using Color = std::array<std::uint8_t, 3>;

// Twelve hues that stay apart from each other and from common backgrounds.
constexpr std::array<Color, 12> palette{{{230, 57, 70},
                                         {29, 128, 226},
                                         {46, 158, 91},
                                         {245, 158, 11},
                                         {139, 92, 246},
                                         {8, 153, 171},
                                         {236, 72, 153},
                                         {132, 169, 20},
                                         {249, 115, 22},
                                         {79, 70, 229},
                                         {20, 184, 148},
                                         {190, 58, 170}}};

struct Rect {  // [x0, x1) x [y0, y1)
  Dim x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  Dim width() const { return x1 - x0; }
  Dim height() const { return y1 - y0; }
  Rect cut_to(Rect outer) const {
    return {std::clamp(x0, outer.x0, outer.x1), std::clamp(y0, outer.y0, outer.y1), std::clamp(x1, outer.x0, outer.x1),
            std::clamp(y1, outer.y0, outer.y1)};
  }
  Rect grown(Dim by) const { return {x0 - by, y0 - by, x1 + by, y1 + by}; }
  Dim overlap(const Rect& other) const {
    const Dim w = std::min(x1, other.x1) - std::max(x0, other.x0), h = std::min(y1, other.y1) - std::max(y0, other.y0);
    return w > 0 && h > 0 ? w * h : 0;
  }
};

class Canvas {
 public:
  explicit Canvas(Image& image) : image_(image) {}
  Rect area() const { return {0, 0, image_.width, image_.height}; }

  void blend(Dim x, Dim y, Color color, int alpha) {
    std::uint8_t* pixel = image_.row(y) + x * 3;
    for (std::size_t c = 0; c < 3; ++c)
      pixel[c] = static_cast<std::uint8_t>((pixel[c] * (255 - alpha) + color[c] * alpha + 127) / 255);
  }
  void fill(Rect rect, Color color, int alpha) {
    rect = rect.cut_to(area());
    for (Dim y = rect.y0; y < rect.y1; ++y)
      for (Dim x = rect.x0; x < rect.x1; ++x) blend(x, y, color, alpha);
  }
  void frame(Rect outer, Dim line, Color color, int alpha) {
    const Dim side = std::min(line, outer.width()), edge = std::min(line, outer.height());
    fill({outer.x0, outer.y0, outer.x1, outer.y0 + edge}, color, alpha);
    if (outer.height() > edge)
      fill({outer.x0, std::max(outer.y1 - edge, outer.y0 + edge), outer.x1, outer.y1}, color, alpha);
    const Dim top = outer.y0 + edge, bottom = outer.y1 - edge;
    if (top >= bottom) return;
    fill({outer.x0, top, outer.x0 + side, bottom}, color, alpha);
    if (outer.width() > side) fill({std::max(outer.x1 - side, outer.x0 + side), top, outer.x1, bottom}, color, alpha);
  }
  // A chip with rounded corners: coverage of a corner pixel from its distance to the corner's circle.
  void chip(Rect rect, Dim radius, Color color) {
    radius = std::min({radius, rect.width() / 2, rect.height() / 2});
    const Rect inside = rect.cut_to(area());
    for (Dim y = inside.y0; y < inside.y1; ++y)
      for (Dim x = inside.x0; x < inside.x1; ++x) {
        const Dim from_x = std::max({rect.x0 + radius - x, x + 1 - (rect.x1 - radius), Dim{0}});
        const Dim from_y = std::max({rect.y0 + radius - y, y + 1 - (rect.y1 - radius), Dim{0}});
        int alpha = 255;
        if (from_x > 0 && from_y > 0) {
          const double out = std::hypot(static_cast<double>(from_x) - 0.5, static_cast<double>(from_y) - 0.5) -
                             static_cast<double>(radius);
          alpha = static_cast<int>(255 * std::clamp(0.5 - out, 0.0, 1.0));
        }
        blend(x, y, color, alpha);
      }
  }
  // A mask at 40 %, its edge at full strength.
  void mask(const MaskRuns& runs, Color color, Dim line) {
    constexpr int fill_alpha = 102;
    if (runs.height != image_.height || runs.width != image_.width) return;
    const std::vector<std::uint8_t> inside = pixels_of(runs);
    const auto set = [&](Dim x, Dim y) {
      return x >= 0 && y >= 0 && x < runs.width && y < runs.height &&
             inside[static_cast<std::size_t>(y * runs.width + x)];
    };
    for (Dim y = 0; y < runs.height; ++y)
      for (Dim x = 0; x < runs.width; ++x) {
        if (!set(x, y)) continue;
        const bool edge = !set(x - line, y) || !set(x + line, y) || !set(x, y - line) || !set(x, y + line);
        blend(x, y, color, edge ? 255 : fill_alpha);
      }
  }
  void dot(double cx, double cy, double radius, Color color, int alpha) {
    const auto reach = static_cast<Dim>(radius) + 2;
    const Dim mx = static_cast<Dim>(cx), my = static_cast<Dim>(cy);
    for (Dim y = std::max<Dim>(0, my - reach); y <= std::min(image_.height - 1, my + reach); ++y)
      for (Dim x = std::max<Dim>(0, mx - reach); x <= std::min(image_.width - 1, mx + reach); ++x) {
        const double out = std::hypot(static_cast<double>(x) + 0.5 - cx, static_cast<double>(y) + 0.5 - cy) - radius;
        blend(x, y, color, static_cast<int>(alpha * std::clamp(0.5 - out, 0.0, 1.0)));
      }
  }
  void text(const media::TextMask& mask, Dim left, Dim top, Color color) {
    for (Dim y = 0; y < mask.height; ++y)
      for (Dim x = 0; x < mask.width; ++x)
        if (const int alpha = mask.alpha[static_cast<std::size_t>(y * mask.width + x)];
            alpha && left + x >= 0 && left + x < image_.width && top + y >= 0 && top + y < image_.height)
          blend(left + x, top + y, color, alpha);
  }

 private:
  Image& image_;
};

std::uint32_t hash_of(const std::string& text) {  // FNV-1a (Fowler, Noll, Vo)
  std::uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

std::map<std::string, Color> colors_of(std::span<const DrawnBox> boxes) {
  std::map<std::string, Color> colors;
  std::array<bool, palette.size()> used{};
  for (const DrawnBox& box : boxes) {
    if (colors.contains(box.label)) continue;
    std::size_t at = hash_of(box.label) % palette.size();
    if (colors.size() < palette.size())
      while (used[at]) at = (at + 1) % palette.size();
    used[at] = true;
    colors[box.label] = palette[at];
  }
  return colors;
}

// Black or white, whichever contrasts more (WCAG 2.2, relative luminance; 0.179 is where both contrasts are equal).
Color ink_on(Color color) {
  const auto linear = [](double v) { return v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4); };
  const double luminance =
      0.2126 * linear(color[0] / 255.0) + 0.7152 * linear(color[1] / 255.0) + 0.0722 * linear(color[2] / 255.0);
  return luminance > 0.179 ? Color{0, 0, 0} : Color{255, 255, 255};
}

// Nothing when a corner is no number.
std::optional<Rect> pixels_of(const DrawnBox& box, Rect area) {
  for (const double v : {box.x1, box.y1, box.x2, box.y2})
    if (!std::isfinite(v)) return std::nullopt;
  const auto pixel = [](double v, Dim end) {
    return static_cast<Dim>(std::lround(std::clamp(v, 0.0, static_cast<double>(end))));
  };
  Rect rect{pixel(std::min(box.x1, box.x2), area.x1), pixel(std::min(box.y1, box.y2), area.y1),
            pixel(std::max(box.x1, box.x2), area.x1), pixel(std::max(box.y1, box.y2), area.y1)};
  if (rect.x0 == rect.x1) rect.x1 == area.x1 ? --rect.x0 : ++rect.x1;  // at least a pixel wide, inside the picture
  if (rect.y0 == rect.y1) rect.y1 == area.y1 ? --rect.y0 : ++rect.y1;
  return rect;
}

// The place of a chip of this size: the first that is inside and free, else the one that covers least of other chips
// and of `small`, boxes that a chip could hide.
Rect place_chip(Dim width, Dim height, Rect box, Rect area, std::span<const Rect> taken, std::span<const Rect> small) {
  width = std::min(width, area.width());
  height = std::min(height, area.height());
  const Dim right = box.x1 - width, middle = (box.x0 + box.x1 - width) / 2;
  std::vector<std::pair<Dim, Dim>> corners;
  for (const Dim y :
       {box.y0 - height, box.y1, box.y0, box.y1 - height})  // above, below, inside at the top, inside at the bottom
    for (const Dim x : {box.x0, right, middle}) corners.emplace_back(x, y);
  for (const Dim y : {box.y0, box.y1 - height})  // beside
    for (const Dim x : {box.x1, box.x0 - width}) corners.emplace_back(x, y);
  for (Dim step = 1; step <= 6; ++step)  // stacked above and below
    for (const Dim y : {box.y0 - height * (step + 1), box.y1 + height * step, box.y0 + height * step})
      corners.emplace_back(box.x0, y);
  Rect best;
  Dim least = std::numeric_limits<Dim>::max();
  for (const auto& [x, y] : corners) {
    const Dim moved_x = std::clamp(x, area.x0, area.x1 - width), moved_y = std::clamp(y, area.y0, area.y1 - height);
    const Rect place{moved_x, moved_y, moved_x + width, moved_y + height};
    const Dim gap =
        std::max({box.y0 - place.y1, place.y0 - box.y1, Dim{0}});  // far from the box is worse than over its edge
    Dim cost = width * (gap * 2 + std::abs(moved_y - y)) / 8;
    for (const Rect& other : taken) cost += place.overlap(other) * 4;
    for (const Rect& other : small)
      if (other.width() * other.height() < 4 * width * height) cost += place.overlap(other);
    if (cost >= least) continue;
    least = cost;
    best = place;
    if (cost == 0) break;
  }
  return best;
}

std::string caption(const DrawnBox& box) {
  if (!box.score || !std::isfinite(*box.score)) return box.label;
  const std::string percent = fmt::format("{:.0f}%", 100 * std::clamp(*box.score, 0.0, 1.0));
  return box.label.empty() ? percent : box.label + " " + percent;
}

}  // namespace

void draw_boxes(Image& image, std::span<const DrawnBox> boxes, const DrawOptions& options) {
  if (image.width < 1 || image.height < 1) return;
  Canvas canvas(image);
  const Rect area = canvas.area();
  const Dim longest = std::max(image.width, image.height);
  const Dim line = std::max<Dim>(2, (longest + 160) / 320), halo = (line + 2) / 4;
  const int text_px = static_cast<int>(std::clamp<Dim>((longest + 22) / 45, 11, 400));
  const media::TextPainter painter(options.font_file ? *options.font_file : media::default_font_file(), text_px);
  const std::map<std::string, Color> colors = colors_of(boxes);

  struct Item {
    const DrawnBox* box;
    Rect rect;
  };
  std::vector<Item> items;
  for (const DrawnBox& box : boxes)
    if (const std::optional<Rect> rect = pixels_of(box, area)) items.push_back({&box, *rect});
  // Small boxes over large ones.
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return a.rect.width() * a.rect.height() > b.rect.width() * b.rect.height();
  });
  for (const Item& item : items)
    if (item.box->mask) canvas.mask(*item.box->mask, colors.at(item.box->label), std::max<Dim>(1, line / 2));
  for (const Item& item : items) {
    if (item.box->point) {
      const double radius = 2.5 * static_cast<double>(line);
      canvas.dot(item.box->x1, item.box->y1, radius + static_cast<double>(line) * 0.7, {255, 255, 255}, 230);
      canvas.dot(item.box->x1, item.box->y1, radius, colors.at(item.box->label), 255);
      continue;
    }
    const Rect outer = item.rect.grown(line / 2).cut_to(area);
    if (halo > 0) canvas.frame(outer.grown(halo), line + 2 * halo, {0, 0, 0}, 70);
    canvas.frame(outer, line, colors.at(item.box->label), 255);
  }
  // Small boxes choose first, they have fewer places. With very many boxes only the nearest in this order are looked
  // at.
  std::reverse(items.begin(), items.end());
  constexpr std::size_t looked_at = 128;
  std::vector<Rect> taken, rects;
  for (const Item& item : items) rects.push_back(item.rect);
  const Dim pad_x = std::max(3, text_px / 3), pad_y = std::max(1, text_px / 10);
  for (const Item& item : items) {
    const media::TextMask text = painter.paint(caption(*item.box), area.width() - 2 * pad_x);
    if (text.width == 0) continue;
    const Rect outer = item.rect.grown(line / 2).cut_to(area);
    const std::size_t known = std::min(taken.size(), looked_at);
    const Rect chip =
        place_chip(text.width + 2 * pad_x, text.height + 2 * pad_y, outer, area, std::span(taken).last(known),
                   std::span(rects).first(std::min(rects.size(), looked_at)));
    const Color color = colors.at(item.box->label);
    canvas.chip(chip, text_px / 5, color);
    canvas.text(text, chip.x0 + pad_x, chip.y0 + pad_y, ink_on(color));
    taken.push_back(chip);
  }
}

}  // namespace tap
