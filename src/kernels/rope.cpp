#include "kernels/rope.h"

namespace tap::kernels {

void rope(const float* x, const float* cos, const float* sin, Dim rows, Dim heads, Dim head_dim, bool pairs, float direction, float* y) {
  const Dim half = head_dim / 2, step = pairs ? 2 : 1, apart = pairs ? 1 : half;
  for (Dim r = 0; r < rows; ++r, cos += half, sin += half)
    for (Dim h = 0; h < heads; ++h, x += head_dim, y += head_dim)
      for (Dim i = 0; i < half; ++i) {
        const float a = x[i * step], b = x[i * step + apart], s = direction * sin[i];
        y[i * step] = a * cos[i] - b * s;
        y[i * step + apart] = b * cos[i] + a * s;
      }
}

}  // namespace tap::kernels
