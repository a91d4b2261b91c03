// What `tapetum bench --profile` says of products.
#pragma once

#include <string>

#include <fmt/format.h>

#include "base/profile.h"
#include "tensor/packed_matrix.h"

namespace tap::ops {

// Of `rows` rows through `w`, whose bytes are read once.
inline Profile::Work product_work(Dim rows, const PackedMatrix& w) {
  return {2.0 * static_cast<double>(rows) * static_cast<double>(w.in()) * static_cast<double>(w.out()),
          static_cast<double>(w.bytes())};
}

inline std::string product_label(std::string_view what, const PackedMatrix& w) {
  return fmt::format("{} {}x{} {}", what, w.out(), w.in(), name(w.type()));
}

}  // namespace tap::ops
