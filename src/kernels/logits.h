// What choosing a token takes of a row of logits.
#pragma once

#include "base/dim.h"

namespace tap::kernels {

struct RowPeak {
  float top = 0;   // the largest finite value
  Dim at = -1;     // the first place of it; -1: there is none
  double sum = 0;  // of e^(x - top) over the finite values
};
RowPeak peak_of(const float* x, Dim width);

// y = e^((x - top) / divisor); -inf gives 0. y may be x.
void exp_row(const float* x, Dim width, float top, float divisor, float* y);

}  // namespace tap::kernels
