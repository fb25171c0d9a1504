/*
 * Plain streams, the yardsticks of memory-bound kernels: `reads` arrays in and `writes` arrays out (which may be the same ones), one addition
 * per array. Compiled once per target, as kernels are.
 */
#include "../vector.h"

#define MOST 5

VF_INLINE float stream_as(int reads, int writes, float *const *in, float *const *out, int64_t from, int64_t to) {
  const float *x[MOST];
  float *y[MOST];
  for (int r = 0; r < reads; r++) x[r] = in[r];
  for (int w = 0; w < writes; w++) y[w] = out[w];
  vf kept[2] = {v_zero(), v_zero()};
  for (int64_t i = from; i < to; i += 2 * VF_LANES) {
    for (int half = 0; half < 2; half++) {
      const int64_t at = i + half * VF_LANES;
      vf sum = v_load(x[0] + at);
      for (int r = 1; r < reads; r++) sum += v_load(x[r] + at);
      for (int w = 0; w < writes; w++) v_store(y[w] + at, sum);
      if (writes == 0) kept[half] += sum;
    }
  }
  return (kept[0] + kept[1])[0];
}

extern float FT_NAME(stream)(int reads, int writes, float *const *in, float *const *out, int64_t from, int64_t to);
/* Elements from … to - 1, multiples of 32; 1 <= reads <= 5, 0 <= writes <= 3. */
float FT_NAME(stream)(int reads, int writes, float *const *in, float *const *out, int64_t from, int64_t to) {
#define CASE(r, w) case (r) * 4 + (w): return stream_as(r, w, in, out, from, to);
#define CASES(r) CASE(r, 0) CASE(r, 1) CASE(r, 2) CASE(r, 3)
  switch (reads * 4 + writes) {
    CASES(1) CASES(2) CASES(3) CASES(4) CASES(5)
    default: return 0;
  }
}
