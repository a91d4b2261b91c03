// Vector functions for the Highway kernels: included after hwy/highway.h inside each target's pass. About 2 ulp of the
// value for exp, under 1e-6 absolute for the others. NaN in gives NaN out.
#if defined(TAP_KERNELS_VEC_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TAP_KERNELS_VEC_MATH_INL_H
#undef TAP_KERNELS_VEC_MATH_INL_H
#else
#define TAP_KERNELS_VEC_MATH_INL_H
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tap::kernels {
namespace HWY_NAMESPACE {
namespace vec {

namespace hn = hwy::HWY_NAMESPACE;

// e^x: Cody-Waite reduction by ln 2 and the degree-5 polynomial of Cephes expf. Under -87.33 gives 0 (so e^-inf is 0),
// over 88.37 saturates near the largest float.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V low = hn::Set(d, -87.33654f);
  // The order of operands keeps NaN: x86's min and max give the second operand then.
  const V clamped = hn::Max(low, hn::Min(hn::Set(d, 88.37626f), x));
  const auto n = hn::NearestInt(hn::Mul(clamped, hn::Set(d, 1.44269504088896341f)));
  const V nf = hn::ConvertTo(d, n);
  V r = hn::NegMulAdd(nf, hn::Set(d, 0.693359375f), clamped);
  r = hn::NegMulAdd(nf, hn::Set(d, -2.12194440e-4f), r);
  V p = hn::Set(d, 1.9875691500e-4f);
  p = hn::MulAdd(p, r, hn::Set(d, 1.3981999507e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
  p = hn::MulAdd(p, hn::Mul(r, r), hn::Add(r, hn::Set(d, 1.0f)));
  const V power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127))));
  return hn::IfThenZeroElse(hn::Lt(x, low), hn::Mul(p, power));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, exp(d, hn::Neg(x))));
}

// Cephes tanhf: a polynomial near zero, 1 - 2 / (e^2|x| + 1) elsewhere.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V tanh(D d, V x) {
  const V one = hn::Set(d, 1.0f), magnitude = hn::Abs(x), z = hn::Mul(x, x);
  const V far = hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(exp(d, hn::Add(magnitude, magnitude)), one)));
  V p = hn::Set(d, -5.70498872745e-3f);
  p = hn::MulAdd(p, z, hn::Set(d, 2.06390887954e-2f));
  p = hn::MulAdd(p, z, hn::Set(d, -5.37397155531e-2f));
  p = hn::MulAdd(p, z, hn::Set(d, 1.33314422036e-1f));
  p = hn::MulAdd(p, z, hn::Set(d, -3.33332819422e-1f));
  const V near = hn::MulAdd(hn::Mul(p, z), x, x);
  return hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 0.625f)), near, hn::CopySign(far, x));
}

// 1 - erf(a) for a >= 0: Abramowitz and Stegun 7.1.26, error under 1.5e-7.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V erfc_positive(D d, V a) {
  const V one = hn::Set(d, 1.0f);
  const V t = hn::Div(one, hn::MulAdd(a, hn::Set(d, 0.3275911f), one));
  V p = hn::Set(d, 1.061405429f);
  p = hn::MulAdd(p, t, hn::Set(d, -1.453152027f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.421413741f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.284496736f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.254829592f));
  return hn::Mul(hn::Mul(p, t), exp(d, hn::Neg(hn::Mul(a, a))));
}

// x * Phi(x). The negative side uses the tail itself, so that nothing cancels.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu_erf(D d, V x) {
  const V tail = hn::Mul(hn::Set(d, 0.5f), erfc_positive(d, hn::Mul(hn::Abs(x), hn::Set(d, 0.70710678118654752f))));
  return hn::Mul(x, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(hn::Set(d, 1.0f), tail)));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V silu(D d, V x) {
  return hn::Mul(x, sigmoid(d, x));
}

// x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))), as x * sigmoid(2 u).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu_tanh(D d, V x) {
  const V cubic = hn::MulAdd(hn::Mul(hn::Set(d, 0.044715f), hn::Mul(x, x)), x, x);
  return hn::Mul(x, sigmoid(d, hn::Mul(hn::Set(d, 1.5957691216057308f), cubic)));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V quick_gelu(D d, V x) {
  return hn::Mul(x, sigmoid(d, hn::Mul(hn::Set(d, 1.702f), x)));
}

}  // namespace vec
}  // namespace HWY_NAMESPACE
}  // namespace tap::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
