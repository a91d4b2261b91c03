#include "codec/exif.h"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "base/rng.h"

namespace tap {
namespace {

struct Writer {
  bool big;
  std::vector<std::byte> out;
  void number(std::uint32_t value, int size) {
    for (int i = 0; i < size; ++i) out.push_back(static_cast<std::byte>(value >> 8 * (big ? size - 1 - i : i)));
  }
  void entry(std::uint32_t tag, std::uint32_t type, std::uint32_t count, std::uint32_t value) {
    number(tag, 2), number(type, 2), number(count, 4);
    if (type == 3)
      number(value, 2), number(0, 2);
    else
      number(value, 4);
  }
};

Writer start(bool big, std::uint32_t directory, std::uint32_t entries) {
  Writer w{big, {}};
  for (int i = 0; i < 2; ++i) w.out.push_back(static_cast<std::byte>(big ? 'M' : 'I'));
  w.number(42, 2), w.number(directory, 4);
  if (directory == 8) w.number(entries, 2);
  return w;
}

}  // namespace

TEST_CASE("the orientation is read in both byte orders and after other tags") {
  for (const bool big : {false, true})
    for (std::uint32_t o = 1; o <= 8; ++o) {
      Writer w = start(big, 8, 3);
      w.entry(0x010F, 2, 4, 0), w.entry(0x0112, 3, 1, o), w.entry(0x011A, 5, 1, 99), w.number(0, 4);
      CHECK(exif_orientation(w.out) == static_cast<int>(o));
      Writer as_long = start(big, 8, 1);
      as_long.entry(0x0112, 4, 1, o);
      CHECK(exif_orientation(as_long.out) == static_cast<int>(o));
    }
}

TEST_CASE("[B16] EXIF that loops or points past its end or holds 0 or 9 or the wrong type means upright") {
  for (const bool big : {false, true}) {
    for (const std::uint32_t o : {0u, 9u, 0xFFFFu}) {
      Writer w = start(big, 8, 1);
      w.entry(0x0112, 3, 1, o);
      CHECK(exif_orientation(w.out) == 1);
    }
    for (const std::uint32_t directory : {13u, 1000u, 0xFFFFFFFFu, 0xFFFFFFFEu})
      CHECK(exif_orientation(start(big, directory, 0).out) == 1);
    Writer loop = start(big, 8, 1);
    loop.entry(0x8769, 4, 1, 8), loop.number(8, 4);  // the sub-directory and the next directory are this one
    CHECK(exif_orientation(loop.out) == 1);
    Writer many = start(big, 8, 65535);
    many.entry(0x0100, 3, 1, 6);
    CHECK(exif_orientation(many.out) == 1);
    Writer text = start(big, 8, 1);
    text.entry(0x0112, 2, 1, 6);
    CHECK(exif_orientation(text.out) == 1);
    Writer several = start(big, 8, 1);
    several.entry(0x0112, 3, 2, 6);
    CHECK(exif_orientation(several.out) == 1);
  }
  CHECK(exif_orientation({}) == 1);
}

TEST_CASE("random and cut EXIF bytes never leave the buffer") {
  Rng rng(11);
  for (int round = 0; round < 20000; ++round) {
    Writer w = start(round % 2 == 0, rng.next_u32() % 2 ? 8 : rng.next_u32() % 40, rng.next_u32() % 5);
    const std::uint32_t count = rng.next_u32() % 40;
    for (std::uint32_t i = 0; i < count; ++i)
      w.out.push_back(static_cast<std::byte>(rng.next_u32() % 3 ? rng.next_u32() % 20 : rng.next_u32()));
    w.out.resize(rng.next_u32() % (w.out.size() + 1));
    const std::vector<std::byte> exact(w.out.begin(),
                                       w.out.end());  // capacity = size, so that a sanitizer sees every overrun
    const int orientation = exif_orientation(exact);
    CHECK(orientation >= 1);
    CHECK(orientation <= 8);
  }
}

TEST_CASE("each orientation and the one that undoes it give the picture back") {
  Image image(5, 3);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<std::uint8_t>(i * 7);
  constexpr int inverse[] = {0, 1, 2, 3, 4, 5, 8, 7, 6};
  for (int o = 1; o <= 8; ++o) {
    const Image turned = apply_orientation(image, o);
    CHECK((turned == image) == (o == 1));
    CHECK(apply_orientation(turned, inverse[o]) == image);
    CHECK(apply_orientation(image, o, 0) == turned);  // in place
  }
}

}  // namespace tap
