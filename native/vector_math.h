/*
 * e^x, the logistic function and the tail of the normal distribution, of vectors, without branches: every element takes the same operations wherever it falls
 * in a loop. Targets with and without fused multiply-add differ in the last bit. NaN gives NaN.
 */
#ifndef FULLTUNE_VECTOR_MATH_H
#define FULLTUNE_VECTOR_MATH_H

#include "vector.h"

/* 1.5 · 2^23: adding it to x rounds to a whole number n, which then is in the low bits. */
#define V_ROUNDING 12582912.0f

/* 2^n · 2^r within 1 unit in the last place, where `shifted` = n + V_ROUNDING, -126 <= n <= 127 and |r| <= 1/2: a polynomial fitted to 2^r. */
VF_INLINE vf v_exp2_parts(vf shifted, vf r) {
  vf p = v_splat(1.5345795e-4f);
  p = v_fma(p, r, v_splat(1.3399931e-3f));
  p = v_fma(p, r, v_splat(9.6184891e-3f));
  p = v_fma(p, r, v_splat(5.5503286e-2f));
  p = v_fma(p, r, v_splat(2.4022646e-1f));
  p = v_fma(p, r, v_splat(6.9314718e-1f));
  p = v_fma(p, r, v_splat(1.0f));
  return p * (vf)(((vu)shifted << 23) + (vu)v_splat_int(127 << 23));
}
/* 2^x for x < 127.5; 2^-126 for all x below -126. */
VF_INLINE vf v_exp2(vf x) {
  const vf bounded = v_max(v_splat(-126.0f), x), shifted = bounded + v_splat(V_ROUNDING);
  return v_exp2_parts(shifted, bounded - (shifted - v_splat(V_ROUNDING)));
}

#define V_LOG2_E 1.44269502f

/* e^(sign · x) for -87.3 <= sign · x <= 88, within 2 units in the last place: x · log2 e in two parts, as one alone is not near enough for large x. */
VF_INLINE vf v_exp_signed(vf x, float sign) {
  const vf log2_e = v_splat(sign * V_LOG2_E), rest = v_splat(sign * 1.92596299e-8f);
  const vf shifted = v_fma(x, log2_e, v_splat(V_ROUNDING)), n = shifted - v_splat(V_ROUNDING);
  return v_exp2_parts(shifted, v_fma(x, rest, v_fma(x, log2_e, -n)));
}
VF_INLINE vf v_exp_inside(vf x) { return v_exp_signed(x, 1.0f); }
/* e^x for x <= 88; 0 below -87.3, where results are no normal numbers. */
#define V_EXP_LOW (-87.3f)
VF_INLINE vf v_exp(vf x) { return v_select(x < v_splat(V_EXP_LOW), v_zero(), v_exp_inside(v_max(v_splat(V_EXP_LOW), x))); }

/* The same with one product by log2 e: within 1 + |x| units in the last place, near enough where e^x is a share of a sum with e^0 in it. */
VF_INLINE vf v_exp_share(vf x) { return v_select(x < v_splat(V_EXP_LOW), v_zero(), v_exp2(x * v_splat(V_LOG2_E))); }

/* 1 + e^-x, the divisor of the logistic function σ; for x below -87.3 as there. */
VF_INLINE vf v_one_and_exp(vf x, vf *e) {
  *e = v_exp_signed(v_max(v_splat(V_EXP_LOW), v_min(v_splat(-V_EXP_LOW), x)), -1.0f);
  return v_splat(1.0f) + *e;
}

/*
 * Φ(−|x|) of the normal distribution within 1e-7, and within 1e-4 of itself up to 8; 2^-126 far away. It is 2^p(|x|), with a polynomial p fitted to
 * its logarithm, weighted by the error in Φ.
 */
VF_INLINE vf v_normal_tail(vf x) {
  const vf t = v_min(v_splat(13.0f), v_abs(x)), s = t * t;
  vf p = v_fma(v_splat(-1.29169602e-08f), t, v_splat(4.67644101e-07f));
  p = v_fma(p, s, v_fma(v_splat(-7.04428123e-06f), t, v_splat(5.57020204e-05f)));
  p = v_fma(p, s, v_fma(v_splat(-2.16780037e-04f), t, v_splat(-1.11585176e-04f)));
  p = v_fma(p, s, v_fma(v_splat(7.06091776e-03f), t, v_splat(-5.25043867e-02f)));
  p = v_fma(p, s, v_fma(v_splat(-4.59204337e-01f), t, v_splat(-1.15110563e+00f)));
  return v_exp2(v_fma(p, t, v_splat(-1.0f)));
}

#endif
