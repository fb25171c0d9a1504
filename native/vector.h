/*
 * The float vector of the target this file is compiled for, and what kernels need around it. `vf` holds VF_LANES floats
 * (16 AVX-512, 8 AVX2, 4 SSE2 and NEON); the operators + - * / and comparisons work on it as on numbers (comparisons give 0 or -1
 * per lane in a `vi`). Loads and stores need no alignment. Where the target has no fused multiply-add (SSE2), v_fma rounds twice.
 */
#ifndef FULLTUNE_VECTOR_H
#define FULLTUNE_VECTOR_H

#include <string.h>

#include "fulltune.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#define VF_LANES 16
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
#define VF_LANES 8
#elif defined(__SSE2__)
#include <emmintrin.h>
#define VF_LANES 4
#elif defined(__aarch64__)
#include <arm_neon.h>
#define VF_LANES 4
#else
#error "vector.h knows AVX-512, AVX2, SSE2 and NEON"
#endif

#define VF_INLINE static inline __attribute__((always_inline, unused))

typedef float vf __attribute__((vector_size(VF_LANES * 4)));
typedef int32_t vi __attribute__((vector_size(VF_LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(VF_LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(VF_LANES * 2)));
/* Four floats on every target: the unit in which matrices are transposed. */
typedef float vq __attribute__((vector_size(16)));

typedef vf vf_at __attribute__((aligned(4), may_alias));
typedef vi vi_at __attribute__((aligned(4), may_alias));
typedef vh vh_at __attribute__((aligned(2), may_alias));
typedef vq vq_at __attribute__((aligned(4), may_alias));

/* --- arithmetic --- */

#if VF_LANES == 16
VF_INLINE vf v_splat(float x) { return (vf)_mm512_set1_ps(x); }
VF_INLINE vi v_splat_int(int32_t x) { return (vi)_mm512_set1_epi32(x); }
VF_INLINE vf v_fma(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
VF_INLINE vf v_max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
VF_INLINE vf v_min(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
VF_INLINE vf v_sqrt(vf a) { return (vf)_mm512_sqrt_ps((__m512)a); }
#elif VF_LANES == 8
VF_INLINE vf v_splat(float x) { return (vf)_mm256_set1_ps(x); }
VF_INLINE vi v_splat_int(int32_t x) { return (vi)_mm256_set1_epi32(x); }
VF_INLINE vf v_fma(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
VF_INLINE vf v_max(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
VF_INLINE vf v_min(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
VF_INLINE vf v_sqrt(vf a) { return (vf)_mm256_sqrt_ps((__m256)a); }
#elif defined(__SSE2__)
VF_INLINE vf v_splat(float x) { return (vf)_mm_set1_ps(x); }
VF_INLINE vi v_splat_int(int32_t x) { return (vi)_mm_set1_epi32(x); }
VF_INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
VF_INLINE vf v_max(vf a, vf b) { return (vf)_mm_max_ps((__m128)a, (__m128)b); }
VF_INLINE vf v_min(vf a, vf b) { return (vf)_mm_min_ps((__m128)a, (__m128)b); }
VF_INLINE vf v_sqrt(vf a) { return (vf)_mm_sqrt_ps((__m128)a); }
#else
VF_INLINE vf v_splat(float x) { return (vf)vdupq_n_f32(x); }
VF_INLINE vi v_splat_int(int32_t x) { return (vi)vdupq_n_s32(x); }
VF_INLINE vf v_fma(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
VF_INLINE vf v_max(vf a, vf b) { return (vf)vmaxq_f32((float32x4_t)a, (float32x4_t)b); }
VF_INLINE vf v_min(vf a, vf b) { return (vf)vminq_f32((float32x4_t)a, (float32x4_t)b); }
VF_INLINE vf v_sqrt(vf a) { return (vf)vsqrtq_f32((float32x4_t)a); }
#endif

VF_INLINE vf v_zero(void) { return (vf){0}; }
/* `yes` where the mask is -1, `no` where it is 0. */
#if VF_LANES == 16
VF_INLINE vf v_select(vi mask, vf yes, vf no) { return (vf)_mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)mask), (__m512)no, (__m512)yes); }
#elif VF_LANES == 8
VF_INLINE vf v_select(vi mask, vf yes, vf no) { return (vf)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)mask); }
#else
VF_INLINE vf v_select(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
#endif
/* a where it is greater, else b, also where one is NaN: what x86 calls a maximum. */
#if defined(__SSE2__)
VF_INLINE vf v_greater(vf a, vf b) { return v_max(a, b); }
#else
VF_INLINE vf v_greater(vf a, vf b) { return v_select(a > b, a, b); }
#endif
VF_INLINE vf v_abs(vf a) { return (vf)((vi)a & v_splat_int(0x7fffffff)); }
VF_INLINE vf v_from_int(vi a) { return __builtin_convertvector(a, vf); }

/* Sum of the lanes: those of the upper half are added to the lower ones, and so on, on every target. */
VF_INLINE float v_sum(vf a) {
#if VF_LANES == 16
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256((__m512)a), _mm512_extractf32x8_ps((__m512)a, 1));
#elif VF_LANES == 8
  const __m256 eight = (__m256)a;
#endif
#if VF_LANES >= 8
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1)), two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
  return (a[0] + a[2]) + (a[1] + a[3]);
#endif
}

/* --- f32 in memory --- */

VF_INLINE vf v_load(const float *p) { return *(const vf_at *)p; }
VF_INLINE void v_store(float *p, vf x) { *(vf_at *)p = x; }
VF_INLINE vi v_load_int(const int32_t *p) { return *(const vi_at *)p; }

/* The first n lanes, 0 <= n <= VF_LANES; the others are zero, and not touched in memory. */
VF_INLINE vf v_load_first(const float *p, int64_t n) {
#if VF_LANES == 16
  return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
  if (n == VF_LANES) return v_load(p);
  float x[VF_LANES] = {0};
  memcpy(x, p, (size_t)n * 4);
  return v_load(x);
#endif
}
VF_INLINE void v_store_first(float *p, vf x, int64_t n) {
#if VF_LANES == 16
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x);
#else
  if (n == VF_LANES) v_store(p, x);
  else memcpy(p, &x, (size_t)n * 4);
#endif
}

/* 0, 1, 2, … */
VF_INLINE vi v_lane_index(void) {
  vi index;
  for (int i = 0; i < VF_LANES; i++) index[i] = i;
  return index;
}
/* x in the first n lanes, `rest` in the others. */
VF_INLINE vf v_first_or(vf x, int64_t n, vf rest) { return n == VF_LANES ? x : v_select(v_lane_index() < v_splat_int((int32_t)n), x, rest); }
VF_INLINE vf v_first(vf x, int64_t n) { return v_first_or(x, n, v_zero()); }

/* --- f64, for sums --- */

#define VD_LANES (VF_LANES / 2)
typedef double vd __attribute__((vector_size(VF_LANES * 4)));
/* VD_LANES floats, widened. Intrinsics where gcc's conversions of whole vectors go through halves. */
VF_INLINE vd vd_load(const float *p) {
#if VF_LANES == 16
  return (vd)_mm512_cvtps_pd(_mm256_loadu_ps(p));
#elif VF_LANES == 8
  return (vd)_mm256_cvtps_pd(_mm_loadu_ps(p));
#else
  return (vd){(double)p[0], (double)p[1]};
#endif
}

/* --- bf16 and f16: to nearest, ties to even; NaN stays NaN; f16 denormals are kept whatever the thread flushes --- */

VF_INLINE vu v_widen(vh x) {
#if VF_LANES == 16
  return (vu)_mm512_cvtepu16_epi32((__m256i)x);
#elif VF_LANES == 8
  return (vu)_mm256_cvtepu16_epi32((__m128i)x);
#else
  return __builtin_convertvector(x, vu);
#endif
}
/* The high halves. */
VF_INLINE vh v_high_halves(vu x) {
#if VF_LANES == 16
  return (vh)_mm512_cvtepi32_epi16((__m512i)(x >> 16));
#elif VF_LANES == 8
  const __m256i halves = (__m256i)(x >> 16);
  return (vh)_mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
#else
  return __builtin_convertvector(x >> 16, vh);
#endif
}
VF_INLINE vf v_from_bf16(vh bits) { return (vf)(v_widen(bits) << 16); }
/* The bf16 of x, which is no NaN, in the high halves; the low ones are of no use. */
VF_INLINE vu v_bf16_of_number(vf x) {
  return (vu)x + 0x7fff + (((vu)x >> 16) & 1);
}
/* `rounded`, the high half of each an x rounded to bf16; where x is NaN a NaN instead. */
VF_INLINE vu v_quiet_nan_or(vf x, vu rounded) { return (vu)v_select(x != x, (vf)((vu)x | (vu)v_splat_int(0x400000)), (vf)rounded); }
VF_INLINE vh v_to_bf16(vf x) { return v_high_halves(v_quiet_nan_or(x, v_bf16_of_number(x))); }

#if VF_LANES == 16
VF_INLINE vf v_from_f16(vh bits) { return (vf)_mm512_cvtph_ps((__m256i)bits); }
VF_INLINE vh v_to_f16(vf x) { return (vh)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
#elif VF_LANES == 8
VF_INLINE vf v_from_f16(vh bits) { return (vf)_mm256_cvtph_ps((__m128i)bits); }
VF_INLINE vh v_to_f16(vf x) { return (vh)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
#elif defined(__aarch64__)
VF_INLINE vf v_from_f16(vh bits) { return (vf)vcvt_f32_f16((float16x4_t)bits); }
VF_INLINE vh v_to_f16(vf x) { return (vh)vcvt_f16_f32((float32x4_t)x); }
#else
VF_INLINE vf v_from_f16(vh half) {
  const vu bits = __builtin_convertvector(half, vu);
  const vu magnitude = (bits & 0x7fff) << 13;
  const vf denormal = v_from_int((vi)(bits & 0x3ff)) * v_splat(0x1p-24f);
  const vu normal = magnitude + (vu)v_splat_int(112 << 23);
  const vu special = magnitude | (vu)v_splat_int(255 << 23);
  vf x = v_select(magnitude < (vu)v_splat_int(1 << 23), denormal, (vf)normal);
  x = v_select(magnitude >= (vu)v_splat_int(31 << 23), (vf)special, x);
  return (vf)((vu)x | ((bits & 0x8000) << 16));
}
VF_INLINE vh v_to_f16(vf x) {
  const vu bits = (vu)x, sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  const vu normal = (magnitude + 0xfff + ((magnitude >> 13) & 1) - (vu)v_splat_int(112 << 23)) >> 13;
  const vu denormal = (vu)((vf)magnitude + v_splat(0.5f)) - (vu)v_splat(0.5f); /* the sum is in units of 2^-24 */
  const vu infinite = (vu)v_splat_int(0x7c00);
  vf y = v_select(magnitude < (vu)v_splat_int(113 << 23), (vf)denormal, (vf)normal);
  y = v_select((vi)(magnitude >= (vu)v_splat_int(143 << 23)), (vf)infinite, y);
  y = v_select(x != x, (vf)(infinite | 0x200), y);
  return __builtin_convertvector((vu)y | sign, vh);
}
#endif

/*
 * Element `index` and the VF_LANES - 1 after it, of an array of dtype FT_F32, FT_BF16 or FT_F16. Written for a dtype that is a
 * constant where the call is inlined; then nothing is decided at run time.
 */
VF_INLINE vf v_load_as(const void *array, int64_t index, int dtype) {
  if (dtype == FT_F32) return v_load((const float *)array + index);
  const vh bits = *(const vh_at *)((const uint16_t *)array + index);
  return dtype == FT_BF16 ? v_from_bf16(bits) : v_from_f16(bits);
}
VF_INLINE void v_store_as(void *array, int64_t index, int dtype, vf x) {
  if (dtype == FT_F32) {
    v_store((float *)array + index, x);
  } else {
    *(vh_at *)((uint16_t *)array + index) = dtype == FT_BF16 ? v_to_bf16(x) : v_to_f16(x);
  }
}
/* Past the caches, where the target can: to a multiple of the vector's size. Other threads see it after a fence. */
VF_INLINE void v_store_past(float *p, vf x) {
#if VF_LANES == 16
  _mm512_stream_ps(p, (__m512)x);
#elif VF_LANES == 8
  _mm256_stream_ps(p, (__m256)x);
#else
  v_store(p, x);
#endif
}
VF_INLINE void v_fence(void) {
#if VF_LANES >= 8
  _mm_sfence();
#endif
}
/* The same as v_load_as and v_store_as for the first n lanes only; the others are read as zero. */
VF_INLINE vf v_load_first_as(const void *array, int64_t index, int dtype, int64_t n) {
  if (n == VF_LANES) return v_load_as(array, index, dtype);
  if (dtype == FT_F32) return v_load_first((const float *)array + index, n);
  vh bits = {0};
  memcpy(&bits, (const uint16_t *)array + index, (size_t)n * 2);
  return dtype == FT_BF16 ? v_from_bf16(bits) : v_from_f16(bits);
}
VF_INLINE void v_store_bits(uint16_t *p, vh bits, int64_t n) {
  if (n == VF_LANES) *(vh_at *)p = bits;
  else memcpy(p, &bits, (size_t)n * 2);
}
VF_INLINE void v_store_first_as(void *array, int64_t index, int dtype, vf x, int64_t n) {
  if (n == VF_LANES) {
    v_store_as(array, index, dtype, x);
  } else if (dtype == FT_F32) {
    v_store_first((float *)array + index, x, n);
  } else {
    v_store_bits((uint16_t *)array + index, dtype == FT_BF16 ? v_to_bf16(x) : v_to_f16(x), n);
  }
}
/*
 * 2 · VF_LANES elements in two vectors, for loops that would else be busy with moving halves. Of bf16 on AVX2 the first has the lower and the second
 * the upper four of each eight elements, as one operation each unpacks and packs them (V_CROSSED); else they are in order.
 */
#define V_CROSSED(dtype) (VF_LANES == 8 && (dtype) == FT_BF16)
/* From crossed to in order, and back. */
VF_INLINE void v_cross(vf *x) {
#if VF_LANES == 8
  const __m256 first = (__m256)x[0], second = (__m256)x[1];
  x[0] = (vf)_mm256_permute2f128_ps(first, second, 0x20);
  x[1] = (vf)_mm256_permute2f128_ps(first, second, 0x31);
#else
  (void)x;
#endif
}
/* Keeps x in a register: compilers would make it a memory operand of both its uses, and what no cache holds would be waited for twice. */
#if VF_LANES == 16
#define V_LOADED_ONCE(x) __asm__("" : "+v"(x))
#else
#define V_LOADED_ONCE(x) __asm__("" : "+x"(x))
#endif
VF_INLINE void v_load_two_as(const void *array, int64_t index, int dtype, vf *x) {
#if VF_LANES == 16
  if (dtype == FT_BF16) {
    const vi pairs = v_lane_index() * 0x10000; /* where the upper half of each lane comes from */
    __m512i both = _mm512_loadu_si512((const uint16_t *)array + index);
    V_LOADED_ONCE(both);
    x[0] = (vf)_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, (__m512i)pairs, both);
    x[1] = (vf)_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, (__m512i)(pairs + 0x100000), both);
    return;
  }
#elif VF_LANES == 8
  if (dtype == FT_BF16) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i both = _mm256_loadu_si256((const __m256i_u *)((const uint16_t *)array + index));
    V_LOADED_ONCE(both);
    x[0] = (vf)_mm256_unpacklo_epi16(zero, both);
    x[1] = (vf)_mm256_unpackhi_epi16(zero, both);
    return;
  }
#endif
  x[0] = v_load_as(array, index, dtype);
  x[1] = v_load_as(array, index + VF_LANES, dtype);
}
/* Floats in the order that elements of `dtype` have. */
VF_INLINE void v_load_two_beside(const float *p, int dtype, vf *x) {
  if (!V_CROSSED(dtype)) {
    x[0] = v_load(p);
    x[1] = v_load(p + VF_LANES);
    return;
  }
#if VF_LANES == 8
  x[0] = (vf)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 8), 1);
  x[1] = (vf)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p + 4)), _mm_loadu_ps(p + 12), 1);
#endif
}
VF_INLINE bool v_any_is_nan(vf a, vf b) {
#if VF_LANES == 16
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_UNORD_Q) != 0;
#elif VF_LANES == 8
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_UNORD_Q)) != 0;
#elif defined(__SSE2__)
  return _mm_movemask_ps(_mm_cmpunord_ps((__m128)a, (__m128)b)) != 0;
#else
  return vmaxvq_u32((uint32x4_t)((a != a) | (b != b))) != 0;
#endif
}
#if VF_LANES >= 8
/* 2 · VF_LANES elements of 16 bits. */
VF_INLINE void v_store_halves(uint16_t *to, vi both, bool past_cache) {
#if VF_LANES == 16
  if (past_cache) _mm512_stream_si512((void *)to, (__m512i)both);
  else _mm512_storeu_si512(to, (__m512i)both);
#else
  if (past_cache) _mm256_stream_si256((__m256i *)(void *)to, (__m256i)both);
  else _mm256_storeu_si256((__m256i_u *)(void *)to, (__m256i)both);
#endif
}
#endif
/* Two vectors that were rounded as if no element were NaN, `rounded` in their high halves; past the caches at a multiple of the vector's size. */
VF_INLINE void v_store_two_rounded(uint16_t *to, const vf *x, vu *rounded, bool past_cache) {
  if (__builtin_expect(v_any_is_nan(x[0], x[1]), 0)) {
    for (int v = 0; v < 2; v++) rounded[v] = v_quiet_nan_or(x[v], rounded[v]);
  }
#if VF_LANES == 16
  const vi odd = v_lane_index() * 0x40004 + 0x30001; /* halves 1, 3, … of both */
  v_store_halves(to, (vi)_mm512_permutex2var_epi16((__m512i)rounded[0], (__m512i)odd, (__m512i)rounded[1]), past_cache);
#elif VF_LANES == 8
  v_store_halves(to, (vi)_mm256_packus_epi32((__m256i)(rounded[0] >> 16), (__m256i)(rounded[1] >> 16)), past_cache);
#else
  (void)past_cache;
  *(vh_at *)to = v_high_halves(rounded[0]);
  *(vh_at *)(to + VF_LANES) = v_high_halves(rounded[1]);
#endif
}
VF_INLINE void v_store_two_as(void *array, int64_t index, int dtype, const vf *x, bool past_cache) {
  if (dtype == FT_BF16) {
    v_store_two_rounded((uint16_t *)array + index, x, (vu[]){v_bf16_of_number(x[0]), v_bf16_of_number(x[1])}, past_cache);
  } else if (dtype == FT_F32 && past_cache) {
    v_store_past((float *)array + index, x[0]);
    v_store_past((float *)array + index + VF_LANES, x[1]);
#if VF_LANES == 16
  } else if (dtype == FT_F16) {
    const __m512i first = _mm512_castsi256_si512((__m256i)v_to_f16(x[0]));
    v_store_halves((uint16_t *)array + index, (vi)_mm512_inserti64x4(first, (__m256i)v_to_f16(x[1]), 1), past_cache);
#endif
  } else {
    v_store_as(array, index, dtype, x[0]);
    v_store_as(array, index + VF_LANES, dtype, x[1]);
  }
}
/* One element. */
VF_INLINE float v_load_one_as(const void *array, int64_t index, int dtype) { return v_load_first_as(array, index, dtype, 1)[0]; }

/* Four elements. */
VF_INLINE vq vq_load_as(const void *array, int64_t index, int dtype) {
  if (dtype == FT_F32) return *(const vq_at *)((const float *)array + index);
  const uint16_t *p = (const uint16_t *)array + index;
#if defined(__F16C__)
  const __m128i bits = _mm_loadl_epi64((const __m128i *)p);
  if (dtype == FT_F16) return (vq)_mm_cvtph_ps(bits);
  return (vq)_mm_slli_epi32(_mm_cvtepu16_epi32(bits), 16);
#else
  const vf x = v_load_as(p, 0, dtype); /* four lanes here */
  return (vq)x;
#endif
}

#if defined(__AVX2__)
/* Eight elements, also where a vector is wider. */
typedef float ve __attribute__((vector_size(32)));
typedef ve ve_at __attribute__((aligned(4), may_alias));
VF_INLINE ve ve_load_as(const void *array, int64_t index, int dtype) {
  if (dtype == FT_F32) return *(const ve_at *)((const float *)array + index);
  const __m128i bits = _mm_loadu_si128((const __m128i *)((const uint16_t *)array + index));
  if (dtype == FT_F16) return (ve)_mm256_cvtph_ps(bits);
  return (ve)_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16);
}
/* x[i][j] becomes x[j][i]. */
VF_INLINE void ve_transpose(ve x[8]) {
  __m256 pairs[8], fours[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps((__m256)x[i], (__m256)x[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps((__m256)x[i], (__m256)x[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 4) {
    fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
    fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    x[i] = (ve)_mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
    x[i + 4] = (ve)_mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
  }
}
#endif

#endif
