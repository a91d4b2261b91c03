// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"):
// draw i of seed s is a pure function of (s, i), so results never depend on who else is running.
#pragma once

#include <array>
#include <cstdint>

namespace tap {

class Rng {
 public:
  // `block`: where to begin, in blocks of four draws.
  explicit Rng(std::uint64_t seed, std::uint64_t stream = 0, std::uint64_t block = 0)
      : seed_(seed), stream_(stream), counter_(block) {}

  std::uint32_t next_u32() {
    if (used_ == 4) {
      block_ = philox(counter_++);
      used_ = 0;
    }
    return block_[used_++];
  }
  // Uniform in [0, 1) with 53 random bits.
  double uniform() {
    const std::uint64_t high = next_u32(), low = next_u32();
    return static_cast<double>(((high << 32) | low) >> 11) * 0x1.0p-53;
  }

 private:
  std::array<std::uint32_t, 4> philox(std::uint64_t counter) const {
    std::array<std::uint32_t, 4> c{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                                   static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)};
    auto k0 = static_cast<std::uint32_t>(seed_), k1 = static_cast<std::uint32_t>(seed_ >> 32);
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0], p1 = std::uint64_t{0xCD9E8D57u} * c[2];
      c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
           static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    }
    return c;
  }
  std::uint64_t seed_, stream_, counter_;
  std::array<std::uint32_t, 4> block_{};
  unsigned used_ = 4;
};

}  // namespace tap
