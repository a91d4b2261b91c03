// Included before hwy/highway.h by kernels that need speed only where AVX2 is: below it the portable path runs (and
// builds stay short).
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
