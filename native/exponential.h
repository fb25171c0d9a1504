/*
 * e^x and erf as branch-free C, so that loops over them become vectors of any width (vector.h has the same e^x for one explicit
 * vector). Each element takes the same operations wherever it falls in a loop; targets with and without fused multiply-add differ.
 */
#ifndef FULLTUNE_EXPONENTIAL_H
#define FULLTUNE_EXPONENTIAL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* a · b + c, rounded once where the target does that at full speed */
static inline float ft_madd(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

/*
 * e^x for x <= 0, give or take a rounding (it holds up to 88), error below 1.5 units in the last place; 0 below −86.6 (results under 2^-125);
 * NaN stays NaN.
 */
static inline float ft_exp_nonpositive(float x) {
  const float low = -86.6f;
  const float clamped = x < low ? low : x;
  const float shift = 12582912.0f; /* 1.5 · 2^23: adding it rounds to a whole number in the low bits */
  const float shifted = ft_madd(clamped, 1.44269504f, shift);
  const float n = shifted - shift;
  /* ln 2 in two parts, the first with few enough bits that n times it is exact */
  float r = ft_madd(n, -0.693359375f, clamped);
  r = ft_madd(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f; /* Cephes expf */
  p = ft_madd(p, r, 1.3981999507e-3f);
  p = ft_madd(p, r, 8.3334519073e-3f);
  p = ft_madd(p, r, 4.1665795894e-2f);
  p = ft_madd(p, r, 1.6666665459e-1f);
  p = ft_madd(p, r, 5.0000001201e-1f);
  p = ft_madd(p, r * r, r) + 1.0f;
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  const uint32_t power_bits = (bits + 127u) << 23;
  float power;
  memcpy(&power, &power_bits, sizeof power);
  const float result = p * power;
  return x < low ? 0.0f : result;
}

/* erf x, error below 2 units in the last place of 1; two polynomials after N. Juffa. */
static inline float ft_erf(float x) {
  const float magnitude = fabsf(x);
  const float t = magnitude > 4.0f ? 4.0f : magnitude;
  const float s = t * t;
  float far = ft_madd(-1.72853470e-5f, t, 3.83197126e-4f);
  const float odd = ft_madd(-3.88396438e-3f, t, 2.42546219e-2f);
  far = ft_madd(far, s, odd);
  far = ft_madd(far, t, -1.06777877e-1f);
  far = ft_madd(far, t, -6.34846687e-1f);
  far = ft_madd(far, t, -1.28717512e-1f);
  far = ft_madd(far, t, -t);
  far = 1.0f - ft_exp_nonpositive(far);
  float near = -5.96761703e-4f;
  near = ft_madd(near, s, 4.99119423e-3f);
  near = ft_madd(near, s, -2.67681349e-2f);
  near = ft_madd(near, s, 1.12819925e-1f);
  near = ft_madd(near, s, -3.76125336e-1f);
  near = ft_madd(near, s, 1.28379166e-1f);
  near = ft_madd(near, t, t);
  const float result = magnitude > 0.927734375f ? far : near;
  return x != x ? x : copysignf(result, x);
}

#endif
