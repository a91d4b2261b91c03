// The arithmetic of Pillow's Resample.c and Geometry.c: doubles for the weights, 22-bit integers for bytes.
#include "media/resize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numbers>

#include "base/error.h"
#include "base/parallel.h"
#include "media/resample_rows.h"

namespace tap {

namespace {

constexpr double pi = std::numbers::pi;
constexpr Dim max_pixels = 400'000'000;

double sinc(double x) { return x == 0 ? 1 : std::sin(pi * x) / (pi * x); }

double support_of(Filter filter) {
  switch (filter) {
    case Filter::lanczos: return 3;
    case Filter::bicubic: return 2;
    case Filter::bilinear:
    case Filter::hamming: return 1;
    case Filter::nearest:
    case Filter::box: return 0.5;
  }
  return 0;
}

double weight_of(Filter filter, double x) {
  switch (filter) {
    case Filter::lanczos: return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0;
    case Filter::bilinear: return std::max(0.0, 1 - std::abs(x));
    case Filter::bicubic: {
      constexpr double a = -0.5;
      x = std::abs(x);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    }
    case Filter::hamming:
      x = std::abs(x);
      if (x == 0) return 1;
      return x < 1 ? std::sin(pi * x) / (pi * x) * (0.54 + 0.46 * std::cos(pi * x)) : 0;
    case Filter::nearest:
    case Filter::box: return x > -0.5 && x <= 0.5 ? 1 : 0;
  }
  return 0;
}

struct Taps {  // as FixedTaps, before rounding
  Dim most = 0;
  std::vector<std::int32_t> first, count;
  std::vector<double> weight;
};

Taps taps_of(Dim size, Dim target, Filter filter) {
  const double scale = static_cast<double>(size) / static_cast<double>(target);
  const double stretch = std::max(scale, 1.0), support = support_of(filter) * stretch, shrink = 1 / stretch;
  Taps taps;
  taps.most = static_cast<Dim>(std::ceil(support)) * 2 + 1;
  taps.weight.resize(static_cast<std::size_t>(target * taps.most));
  for (Dim i = 0; i < target; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const Dim low = std::max<Dim>(0, static_cast<Dim>(centre - support + 0.5));
    const Dim high = std::min(size, static_cast<Dim>(centre + support + 0.5));
    double* weight = taps.weight.data() + i * taps.most;
    double total = 0;
    for (Dim j = low; j < high; ++j)
      total += weight[j - low] = weight_of(filter, (static_cast<double>(j) - centre + 0.5) * shrink);
    if (total != 0)
      for (Dim j = 0; j < high - low; ++j) weight[j] /= total;
    taps.first.push_back(static_cast<std::int32_t>(low));
    taps.count.push_back(static_cast<std::int32_t>(high - low));
  }
  return taps;
}

enum class Weights { pillow, tensor };

// Bits that weights have in torch: as many as keep the largest within 16 with its sign.
int tensor_bits(std::span<const double> weights) {
  const double most = weights.empty() ? 0 : *std::ranges::max_element(weights);
  int bits = 0;
  while (bits < media::weight_bits && static_cast<int>(0.5 + most * (1 << (bits + 1))) < (1 << 15)) ++bits;
  return bits;
}

media::FixedTaps fixed_taps(Dim size, Dim target, Filter filter, Weights weights) {
  Taps taps = taps_of(size, target, filter);
  media::FixedTaps fixed{taps.most, std::move(taps.first), std::move(taps.count), {}};
  fixed.weight.reserve(taps.weight.size());
  // Fewer bits, moved up to where the kernel has them: the sums round alike.
  const int bits = weights == Weights::tensor ? tensor_bits(taps.weight) : media::weight_bits;
  const std::int32_t up = 1 << (media::weight_bits - bits);
  for (const double w : taps.weight)
    fixed.weight.push_back(static_cast<std::int32_t>(w * (1 << bits) + (w < 0 ? -0.5 : 0.5)) * up);
  return fixed;
}

// Columns are weighed like rows: a tile of up to `tile_rows` rows is turned so that a column is contiguous, and back.
constexpr Dim tile_rows = 32;

void turn(const std::uint8_t* from, Dim from_stride, std::uint8_t* to, Dim to_stride, Dim rows, Dim columns) {
  constexpr Dim block = 16;  // columns at a time, so that both sides stay in the first cache
  for (Dim x0 = 0; x0 < columns; x0 += block)
    for (Dim y = 0; y < rows; ++y) {
      const std::uint8_t* source = from + y * from_stride + x0 * 3;
      std::uint8_t* target = to + x0 * to_stride + y * 3;
      for (Dim x = x0; x < std::min(columns, x0 + block); ++x, source += 3, target += to_stride)
        std::memcpy(target, source, 3);
    }
}

Image resize_columns(const Image& image, Dim width, Filter filter, Weights weights = Weights::pillow) {
  const media::FixedTaps taps = fixed_taps(image.width, width, filter, weights);
  Image out(width, image.height);
  parallel_rows(image.height, tile_rows, [&](Rows rows) {
    const Dim lanes = rows.size() * 3;
    std::vector<std::uint8_t> in(static_cast<std::size_t>(lanes * image.width)),
        done(static_cast<std::size_t>(lanes * width));
    turn(image.row(rows.begin), image.width * 3, in.data(), lanes, rows.size(), image.width);
    media::weigh_rows(taps, 0, width, in.data(), done.data(), lanes);
    turn(done.data(), lanes, out.row(rows.begin), width * 3, width, rows.size());
  });
  return out;
}

Image resize_rows(const Image& image, Dim height, Filter filter, Weights weights = Weights::pillow) {
  const media::FixedTaps taps = fixed_taps(image.height, height, filter, weights);
  Image out(image.width, height);
  parallel_rows(height, 16, [&](Rows rows) {
    media::weigh_rows(taps, rows.begin, rows.end, image.pixels.data(), out.row(rows.begin), image.width * 3);
  });
  return out;
}

// Pillow walks the source by adding the step, and leaves black what rounding puts past the end (Geometry.c,
// ImagingScaleAffine).
std::vector<Dim> nearest_sources(Dim size, Dim target) {
  const double step = static_cast<double>(size) / static_cast<double>(target);
  std::vector<Dim> from(static_cast<std::size_t>(target), -1);
  double at = step * 0.5;
  for (Dim& source : from) {
    if (const Dim i = static_cast<Dim>(at); i < size) source = i;
    at += step;
  }
  return from;
}

Image resize_nearest(const Image& image, Dim width, Dim height) {
  const std::vector<Dim> columns = nearest_sources(image.width, width), lines = nearest_sources(image.height, height);
  Image out(width, height);
  for (Dim y = 0; y < height; ++y) {
    const Dim line = lines[static_cast<std::size_t>(y)];
    if (line < 0) continue;
    std::uint8_t* to = out.row(y);
    for (const Dim column : columns) {
      if (column >= 0) std::memcpy(to, image.row(line) + column * 3, 3);
      to += 3;
    }
  }
  return out;
}

// Pillow 13 goes down the columns first when the height loses more than twice what the width loses, and whenever only
// the height shrinks (before 13 the horizontal pass was always first). Found by comparing both orders with its results.
bool vertical_first(Dim width, Dim height, Dim new_width, Dim new_height) {
  return new_height < height && height - new_height > 2 * (width - new_width);
}

void check_sizes(Dim width, Dim height, Dim new_width, Dim new_height) {
  if (width < 1 || height < 1)
    fail(ErrorCode::usage, "resize: the picture is {}x{}, it must have pixels", width, height);
  if (new_width < 1 || new_height < 1)
    fail(ErrorCode::usage, "resize: wanted {}x{}, each edge must be at least 1", new_width, new_height);
  constexpr Dim max_edge = 1 << 24;
  for (const Dim edge : {width, height, new_width, new_height})
    if (edge > max_edge) fail(ErrorCode::limit, "resize: an edge of {} pixels; the limit is {}", edge, max_edge);
  const Dim between = vertical_first(width, height, new_width, new_height) ? width * new_height : new_width * height;
  if (const Dim most = std::max(between, new_width * new_height); most > max_pixels)
    fail(ErrorCode::limit, "resize: {}x{} to {}x{} needs {} pixels; the limit is {}", width, height, new_width,
         new_height, most, max_pixels);
}

}  // namespace

Filter filter_of_code(Dim code) {
  if (code < 0 || code > 5)
    fail(ErrorCode::unsupported, "resample: {} is no filter; 0 to 5 are (Pillow's codes)", code);
  return static_cast<Filter>(code);
}

Image resize(const Image& image, Dim width, Dim height, Filter filter) {
  check_sizes(image.width, image.height, width, height);
  if (width == image.width && height == image.height) return image;
  if (filter == Filter::nearest) return resize_nearest(image, width, height);
  if (width == image.width) return resize_rows(image, height, filter);
  if (height == image.height) return resize_columns(image, width, filter);
  if (vertical_first(image.width, image.height, width, height))
    return resize_columns(resize_rows(image, height, filter), width, filter);
  return resize_rows(resize_columns(image, width, filter), height, filter);
}

Image resize_tensor(const Image& image, Dim width, Dim height, Filter filter) {
  check_sizes(image.width, image.height, width, height);
  if (filter == Filter::nearest) fail(ErrorCode::internal, "resize_tensor: nearest has no weights");
  if (width == image.width && height == image.height) return image;
  if (width == image.width) return resize_rows(image, height, filter, Weights::tensor);
  const Image wide = resize_columns(image, width, filter, Weights::tensor);
  return height == image.height ? wide : resize_rows(wide, height, filter, Weights::tensor);
}

std::vector<float> resize_plane(std::span<const float> plane, Dim width, Dim height, Dim new_width, Dim new_height,
                                Filter filter) {
  check_sizes(width, height, new_width, new_height);
  if (static_cast<Dim>(plane.size()) != width * height)
    fail(ErrorCode::usage, "resize_plane: {} values, must be {}x{}", plane.size(), width, height);
  if (filter == Filter::nearest) fail(ErrorCode::usage, "resize_plane: the nearest filter is for 8-bit pictures only");
  std::vector<float> now(plane.begin(), plane.end());
  const auto pass = [&](Dim size, Dim target, Dim lines, Dim line_step, Dim step, Dim out_line_step, Dim out_step) {
    const Taps taps = taps_of(size, target, filter);
    std::vector<float> out(static_cast<std::size_t>(target * lines));
    for (Dim line = 0; line < lines; ++line)
      for (Dim i = 0; i < target; ++i) {
        double sum = 0;
        const auto at = static_cast<std::size_t>(i);
        for (Dim j = 0; j < taps.count[at]; ++j)
          sum += static_cast<double>(now[static_cast<std::size_t>(line * line_step + (taps.first[at] + j) * step)]) *
                 taps.weight[static_cast<std::size_t>(i * taps.most + j)];
        out[static_cast<std::size_t>(line * out_line_step + i * out_step)] = static_cast<float>(sum);
      }
    now = std::move(out);
  };
  const auto columns = [&](Dim lines) {
    if (new_width != width) pass(width, new_width, lines, width, 1, new_width, 1);
  };
  const auto rows = [&](Dim lines) {
    if (new_height != height) pass(height, new_height, lines, 1, lines, 1, lines);
  };
  if (vertical_first(width, height, new_width, new_height)) {
    rows(width);
    columns(new_height);
  } else {
    columns(height);
    rows(new_width);
  }
  return now;
}

namespace {

struct GridTaps {  // four inputs and weights of one output (bilinear: the middle two)
  Dim from[4];
  float weight[4];
};

std::vector<GridTaps> grid_taps(Dim size, Dim target, GridFilter filter) {
  const float scale = static_cast<float>(size) / static_cast<float>(target);
  std::vector<GridTaps> taps(static_cast<std::size_t>(target));
  for (Dim i = 0; i < target; ++i) {
    float at = scale * (static_cast<float>(i) + 0.5f) - 0.5f;
    if (filter == GridFilter::bilinear) at = std::max(at, 0.0f);
    const float floor = std::floor(at), t = at - floor;
    GridTaps& tap = taps[static_cast<std::size_t>(i)];
    for (Dim j = 0; j < 4; ++j) tap.from[j] = std::clamp<Dim>(static_cast<Dim>(floor) - 1 + j, 0, size - 1);
    if (filter == GridFilter::bilinear) {
      std::copy_n(std::array{0.0f, 1 - t, t, 0.0f}.begin(), 4, tap.weight);
      continue;
    }
    constexpr float a = -0.75f;
    const auto near = [](float x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
    const auto far = [](float x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
    std::copy_n(std::array{far(t + 1), near(t), near(1 - t), far(2 - t)}.begin(), 4, tap.weight);
  }
  return taps;
}

}  // namespace

std::vector<float> resize_grid(std::span<const float> planes, Dim channels, Dim height, Dim width, Dim new_height,
                               Dim new_width, GridFilter filter) {
  check_sizes(width, height, new_width, new_height);
  if (channels < 1 || static_cast<Dim>(planes.size()) != channels * height * width)
    fail(ErrorCode::usage, "resize_grid: {} values, must be [{}, {}, {}]", planes.size(), channels, height, width);
  const std::vector<GridTaps> columns = grid_taps(width, new_width, filter),
                              lines = grid_taps(height, new_height, filter);
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(channels * new_height * new_width));
  for (Dim c = 0; c < channels; ++c)
    for (const GridTaps& line : lines)
      for (const GridTaps& column : columns) {
        float sum = 0;
        for (int j = 0; j < 4; ++j) {
          const float* row = planes.data() + (c * height + line.from[j]) * width;
          float part = 0;
          for (int i = 0; i < 4; ++i) part += row[column.from[i]] * column.weight[i];
          sum += part * line.weight[j];
        }
        out.push_back(sum);
      }
  return out;
}

}  // namespace tap
