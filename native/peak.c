/*
 * The multiply-add rate of a target with everything in registers: the limit that products, and MFU, are measured against. Each chain is a
 * variable of its own: as an array the compiler may keep them in memory, and then this measures the memory (testing/build.sh checks
 * that it does not).
 */
#include "vector.h"

#define EACH(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) /* latency 4 times two units, and some */
#define CHAINS 10

#if defined(__x86_64__)
#define REGISTER "+v"
#else
#define REGISTER "+w"
#endif

extern double FT_NAME(peak)(int64_t rounds);
/* Runs `rounds` rounds; returns the floating-point operations done. */
double FT_NAME(peak)(int64_t rounds) {
  const vf factor = v_splat(0.999f), term = v_splat(0.001f);
#define START(i) vf chain##i = v_splat((float)i);
#define ADVANCE(i) chain##i = v_fma(chain##i, factor, term);
#define KEEP(i) __asm__ volatile("" : REGISTER(chain##i));
  EACH(START)
  for (int64_t r = 0; r < rounds; r++) {
    EACH(ADVANCE)
    EACH(KEEP)
  }
  return (double)rounds * CHAINS * VF_LANES * 2;
}
