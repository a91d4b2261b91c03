#include "kernels/norm.h"

#include <algorithm>
#include <cmath>

namespace tap::kernels {

void rms_norm(const float* x, const float* gain, Dim rows, Dim width, float eps, bool one_plus, float* y) {
  for (Dim r = 0; r < rows; ++r, x += width, y += width) {
    float sum = 0;
    for (Dim i = 0; i < width; ++i) sum += x[i] * x[i];
    const float inverse = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
    for (Dim i = 0; i < width; ++i) y[i] = x[i] * inverse * (one_plus ? 1 + gain[i] : gain[i]);
  }
}

void layer_norm(const float* x, const float* gain, const float* bias, Dim rows, Dim width, float eps, float* y) {
  for (Dim r = 0; r < rows; ++r, x += width, y += width) {
    float sum = 0;
    for (Dim i = 0; i < width; ++i) sum += x[i];
    const float mean = sum / static_cast<float>(width);
    float square = 0;
    for (Dim i = 0; i < width; ++i) square += (x[i] - mean) * (x[i] - mean);
    const float inverse = 1.0f / std::sqrt(square / static_cast<float>(width) + eps);
    for (Dim i = 0; i < width; ++i) y[i] = (x[i] - mean) * inverse * gain[i] + bias[i];
  }
}

void rms_norm_grad(const float* x, const float* gain, const float* dy, Dim rows, Dim width, float eps, bool one_plus, float* dx, float* dgain) {
  const auto n = static_cast<float>(width);
  for (Dim r = 0; r < rows; ++r, x += width, dy += width, dx += width) {
    float sum = 0, dot = 0;
    for (Dim i = 0; i < width; ++i) {
      sum += x[i] * x[i];
      dot += dy[i] * (one_plus ? 1 + gain[i] : gain[i]) * x[i];
    }
    const float inverse = 1.0f / std::sqrt(sum / n + eps), pull = dot * inverse * inverse * inverse / n;
    for (Dim i = 0; i < width; ++i) {
      dgain[i] += dy[i] * x[i] * inverse;
      dx[i] = dy[i] * (one_plus ? 1 + gain[i] : gain[i]) * inverse - x[i] * pull;
    }
  }
}

void layer_norm_grad(const float* x, const float* gain, const float* dy, Dim rows, Dim width, float eps, float* dx, float* dgain, float* dbias) {
  const auto n = static_cast<float>(width);
  for (Dim r = 0; r < rows; ++r, x += width, dy += width, dx += width) {
    float sum = 0;
    for (Dim i = 0; i < width; ++i) sum += x[i];
    const float mean = sum / n;
    float square = 0, g = 0, gx = 0;
    for (Dim i = 0; i < width; ++i) {
      const float centred = x[i] - mean, d = dy[i] * gain[i];
      square += centred * centred;
      g += d;
      gx += d * centred;
    }
    const float inverse = 1.0f / std::sqrt(square / n + eps), mean_g = g / n, pull = gx * inverse * inverse / n;
    for (Dim i = 0; i < width; ++i) {
      const float centred = x[i] - mean;
      dgain[i] += dy[i] * centred * inverse;
      dbias[i] += dy[i];
      dx[i] = (dy[i] * gain[i] - mean_g - centred * pull) * inverse;
    }
  }
}

void softmax_rows(const float* x, Dim rows, Dim width, float* y) {
  for (Dim r = 0; r < rows; ++r, x += width, y += width) {
    if (!width) return;
    const float top = *std::max_element(x, x + width);
    float sum = 0;
    for (Dim i = 0; i < width; ++i) sum += y[i] = std::exp(x[i] - top);
    for (Dim i = 0; i < width; ++i) y[i] /= sum;
  }
}

}  // namespace tap::kernels
