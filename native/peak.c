/* The multiply-add rate with everything in registers: the limit that products are measured against. */
#include "fulltune.h"

#if defined(__AVX512F__)
#include <immintrin.h>
typedef __m512 vec;
#define LANES 16
#define SET(x) _mm512_set1_ps(x)
#define MADD(a, b, c) _mm512_fmadd_ps(a, b, c)
#define CONSTRAINT "+v"
#elif defined(__AVX2__)
#include <immintrin.h>
typedef __m256 vec;
#define LANES 8
#define SET(x) _mm256_set1_ps(x)
#define MADD(a, b, c) _mm256_fmadd_ps(a, b, c)
#define CONSTRAINT "+x"
#elif defined(__x86_64__)
#include <xmmintrin.h>
typedef __m128 vec;
#define LANES 4
#define SET(x) _mm_set1_ps(x)
#define MADD(a, b, c) _mm_add_ps(_mm_mul_ps(a, b), c)
#define CONSTRAINT "+x"
#else
#include <arm_neon.h>
typedef float32x4_t vec;
#define LANES 4
#define SET(x) vdupq_n_f32(x)
#define MADD(a, b, c) vfmaq_f32(c, a, b)
#define CONSTRAINT "+w"
#endif

#define CHAINS 12 /* latency 4 or 5 times two units, in 16 registers */

extern double FT_NAME(peak)(int64_t rounds);
double FT_NAME(peak)(int64_t rounds) {
  vec sum[CHAINS];
  vec factor = SET(0.999f);
  vec term = SET(0.001f);
  for (int i = 0; i < CHAINS; i++) sum[i] = SET((float)i);
  for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) sum[i] = MADD(sum[i], factor, term);
    /* One opaque touch per chain: the compiler may neither drop nor merge rounds. */
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : CONSTRAINT(sum[i]));
  }
  return (double)rounds * CHAINS * LANES * 2;
}
