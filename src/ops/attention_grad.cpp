#include "ops/attention_grad.h"

#include <cmath>

#include "base/parallel.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"
#include "ops/scratch.h"

namespace tap::ops {

std::vector<Tensor> attention_grad(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const Span> spans,
                                   std::span<const Interval> intervals, float scale, float softcap, const Tensor& dy) {
  const Dim heads = q.dim(1), kv_heads = k.dim(1), d = q.dim(2), group = heads / kv_heads;
  Tensor dq = Tensor::zeros(q.shape()), dk = Tensor::zeros(k.shape()), dv = Tensor::zeros(v.shape());
  const float *pq = q.data<float>(), *pk = k.data<float>(), *pv = v.data<float>(), *pdy = dy.data<float>();
  float *pdq = dq.write<float>(), *pdk = dk.write<float>(), *pdv = dv.write<float>();
  Dim longest = 0;
  for (const Span& span : spans) longest = std::max(longest, span.rows());
  // A KV head of a sequence belongs to one thread, so dk and dv are summed in row order.
  const Dim units = static_cast<Dim>(spans.size()) * kv_heads;
  ScratchSlots scratch(std::max<Dim>(1, std::min<Dim>(ExecContext::current().threads(), units)),
                       static_cast<std::size_t>(3 * longest) * sizeof(float));
  parallel_rows(units, 1, [&](Rows r) {
    const ScratchSlots::Lease lease(scratch);
    float *p = reinterpret_cast<float*>(lease.data()), *capped = p + longest, *ds = capped + longest;
    for (Dim unit = r.begin; unit < r.end; ++unit) {
      const Span& span = spans[static_cast<std::size_t>(unit / kv_heads)];
      const Dim kv_head = unit % kv_heads;
      const auto at = [&](Dim j) { return ((span.begin + j) * kv_heads + kv_head) * d; };
      for (Dim i = span.begin; i < span.end; ++i) {
        const Interval seen = intervals[static_cast<std::size_t>(i)];
        const Dim count = seen.end - seen.begin;
        if (count == 0) continue;
        for (Dim h = kv_head * group; h < (kv_head + 1) * group; ++h) {
          const Dim row = (i * heads + h) * d;
          for (Dim j = 0; j < count; ++j) capped[j] = scale * kernels::dot(pq + row, pk + at(seen.begin + j), d);
          if (softcap > 0) kernels::softcap(capped, softcap, count, capped);
          kernels::softmax_rows(capped, 1, count, p);
          float mean = 0;
          for (Dim j = 0; j < count; ++j) mean += p[j] * (ds[j] = kernels::dot(pdy + row, pv + at(seen.begin + j), d));
          for (Dim j = 0; j < count; ++j) {
            const float t = softcap > 0 ? capped[j] / softcap : 0.0f;  // tanh; its slope is 1 - t²
            const float slope = p[j] * (ds[j] - mean) * (1 - t * t) * scale;
            kernels::multiply_add(pk + at(seen.begin + j), slope, d, pdq + row);
            kernels::multiply_add(pq + row, slope, d, pdk + at(seen.begin + j));
            kernels::multiply_add(pdy + row, p[j], d, pdv + at(seen.begin + j));
          }
        }
      }
    }
  });
  return {dq, dk, dv};
}

}  // namespace tap::ops
