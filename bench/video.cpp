// What a still video costs of encoding every frame: video MODEL [DTYPE] [WIDTH HEIGHT]. One JSON line.
//
// 30 seconds as the model samples them: frames equal to the bit (--change exact), and with a sensor's noise (Gaussian,
// deviation 2 of 255) at --change 3, each against frames of which no two are alike.
#include <cmath>
#include <cstdlib>
#include <iostream>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/rng.h"
#include "runtime/picture_encoder.h"

using namespace tap;

namespace {

constexpr double seconds = 30, file_fps = 30, noise = 2, lossy = 3;

double gaussian(Rng& rng) {  // Box-Muller
  const auto uniform = [&] { return (static_cast<double>(rng.next_u32()) + 1) / 4294967297.0; };
  return std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307179586 * uniform());
}

struct Cost {
  double ms;
  Dim reused;
  double error;
};

Cost cost_of(const Model& model, const Clip& clip) {
  PictureEncoder encoder(model, nullptr);
  const Medium medium{nullptr, std::make_shared<const Clip>(clip)};
  const Stopwatch watch;
  (void)encoder.rows(encoder.key_of(medium), medium, clip.plan);
  return {watch.ms(), encoder.reused(), encoder.error()};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::cerr << "video MODEL [DTYPE] [WIDTH HEIGHT]\n", 2;
  ExecContext context;
  const ExecContext::Scope scope(context);
  LoadOptions load;
  load.dtype = argc > 2 ? parse_dtype(argv[2]).value() : Dtype::automatic;
  const auto model = load_model(argv[1], load);
  const Dim width = argc > 4 ? std::atoi(argv[3]) : 640, height = argc > 4 ? std::atoi(argv[4]) : 480;
  const FrameChoice choice =
      model->processor().choose_frames({static_cast<Dim>(seconds * file_fps), file_fps, seconds}, {});
  FrameTimes times{{}, choice.sampled_fps, seconds};
  for (const Dim index : choice.indices) times.seconds.push_back(static_cast<double>(index) / file_fps);

  Clip clip;
  clip.plan = model->processor().plan_video(width, height, times);
  Rng rng(3);
  Image scene(width, height);
  for (Dim y = 0; y < height; ++y)
    for (Dim x = 0; x < 3 * width; ++x)
      scene.row(y)[x] =
          static_cast<std::uint8_t>(40 + (x / 3 * 150 / width + y * 60 / height + (x / 60 % 2) * 20) % 180);
  const auto frames = [&](auto change) {
    clip.frames.clear();
    for (std::size_t i = 0; i < choice.indices.size(); ++i) {
      Image frame = scene;
      change(frame, i);
      clip.frames.push_back(model->processor().prepare(frame, clip.plan));
    }
  };
  frames([&](Image& frame, std::size_t i) {
    for (auto& value : frame.pixels) value = static_cast<std::uint8_t>(value + 60 * (i % 2) + rng.next_u32() % 3);
  });
  const Cost every = cost_of(*model, clip);
  frames([](Image&, std::size_t) {});
  const Cost still = cost_of(*model, clip);
  frames([&](Image& frame, std::size_t) {
    for (auto& value : frame.pixels)
      value = static_cast<std::uint8_t>(std::clamp(static_cast<double>(value) + noise * gaussian(rng), 0.0, 255.0));
  });
  clip.change = lossy;
  const Cost noisy = cost_of(*model, clip);
  std::cout << fmt::format(
      "{{\"model\":\"{}\",\"dtype\":\"{}\",\"frames\":{},\"steps\":{},\"tokens\":{},\"every_frame_ms\":{:.0f},"
      "\"still_exact_ms\":{:.0f},\"exact_share\":{:.3f},\"noisy_ms\":{:.0f},\"noisy_change\":{},\"noisy_share\":{:.3f},"
      "\"noisy_reused\":{},\"noisy_error\":{:.2f}}}\n",
      model->name(), name(model->weight_type()), choice.indices.size(), clip.plan.tiles(), clip.plan.tokens, every.ms,
      still.ms, still.ms / every.ms, noisy.ms, lossy, noisy.ms / every.ms, noisy.reused, noisy.error);
}
