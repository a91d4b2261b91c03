// What the tests of operations share: every instruction set of this CPU, values from a seed, and the distance from an
// oracle.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

#include "base/exec_context.h"
#include "base/rng.h"
#include "kernels/isa.h"
#include "tensor/tensor.h"

namespace tap::test {

// Runs body once for each level that this CPU has, lowest first, and prints which.
template <class Fn>
void on_every_isa(Fn&& body) {
  std::string ran;
  for (const Isa isa : usable_isas()) {
    const IsaScope scope(isa);
    INFO("ISA ", std::string(name(isa)));
    body();
    ran += std::string(" ") + std::string(name(isa));
  }
  MESSAGE("instruction sets:" << ran);
}

// Uniform in [-size, size), with a spike now and then so that a maximum that is not subtracted, or a lane that is
// skipped, shows.
inline Tensor random(const Shape& shape, std::uint64_t seed, double size = 1, bool spiked = false) {
  Rng rng(seed);
  Tensor t = Tensor::empty(shape);
  for (Dim i = 0; i < t.elements(); ++i) {
    const double u = (2 * rng.uniform() - 1) * size;
    t.write<float>()[i] = static_cast<float>(spiked && i % 37 == 5 ? u * 8 : u);
  }
  return t;
}

// The same values behind one float, so that no vector load is aligned.
inline Tensor misaligned(const Tensor& x) {
  auto storage = Storage::allocate(static_cast<std::size_t>(x.bytes()) + 4);
  Tensor t = Tensor::view(storage, 4, x.shape(), x.dtype());
  if (x.bytes()) std::memcpy(t.raw_write(), x.raw(), static_cast<std::size_t>(x.bytes()));
  return t;
}

inline double distance(const Tensor& x, const std::vector<double>& wanted) {
  REQUIRE(x.elements() == static_cast<Dim>(wanted.size()));
  double most = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double off = std::abs(static_cast<double>(x.data<float>()[i]) - wanted[i]);
    if (!(off <= most)) most = off;  // NaN counts
  }
  return most;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.bytes())) == 0;
}

// fn() gives the same bits with one thread and with three.
template <class Fn>
void check_threads(Fn&& fn) {
  ExecContext one(1), three(3);
  Tensor a, b;
  {
    const ExecContext::Scope scope(one);
    a = fn();
  }
  {
    const ExecContext::Scope scope(three);
    b = fn();
  }
  CHECK(same_bits(a, b));
}

}  // namespace tap::test
