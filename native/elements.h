/*
 * Loops of the memory-bound kernels, one vector at a time. Activations of 16 bits are widened as they are loaded and rounded once as they are
 * stored; all of a call have one dtype (letter 'a' of native/signatures.c). Every element takes the same operations whether it falls into a whole
 * vector or into the rest, and sums have sixteen lanes on every target.
 */
#ifndef FULLTUNE_ELEMENTS_H
#define FULLTUNE_ELEMENTS_H

#include "rows.h"
#include "vector.h"

/* task(…, dtype) with a dtype that is a constant where the task is inlined: then its loops decide nothing. */
#define FT_BY_DTYPE(dtype, task, ...)                    \
  do {                                                   \
    switch (dtype) {                                     \
      case FT_BF16: task(__VA_ARGS__, FT_BF16); break;   \
      case FT_F16: task(__VA_ARGS__, FT_F16); break;     \
      default: task(__VA_ARGS__, FT_F32);                \
    }                                                    \
  } while (0)

/* The statements for elements j … j + n - 1 of [from, to): n is the constant VF_LANES, but for the rest. */
#define FT_EACH_VECTOR(j, n, from, to, ...)                                  \
  do {                                                                       \
    int64_t j = (from);                                                      \
    for (; j + VF_LANES <= (to); j += VF_LANES) {                            \
      enum { n = VF_LANES };                                                 \
      __VA_ARGS__                                                            \
    }                                                                        \
    if (j < (to)) {                                                          \
      const int64_t n = (to) - j;                                            \
      __VA_ARGS__                                                            \
    }                                                                        \
  } while (0)

/* --- sums in lanes: element i of a row goes to lane i % LANES --- */

#define LANE_VECTORS (LANES / VF_LANES)

/* The statements for elements j … j + n - 1 of a row; they belong to vector `part` of the lanes. */
#define FT_EACH_LANE_VECTOR(part, j, n, width, ...)                                         \
  do {                                                                                      \
    int64_t start_ = 0;                                                                     \
    for (; start_ + LANES <= (width); start_ += LANES) {                                    \
      _Pragma("GCC unroll 4") for (int part = 0; part < LANE_VECTORS; part++) {             \
        const int64_t j = start_ + part * VF_LANES;                                         \
        enum { n = VF_LANES };                                                              \
        __VA_ARGS__                                                                         \
      }                                                                                     \
    }                                                                                       \
    _Pragma("GCC unroll 4") for (int part = 0; part < LANE_VECTORS; part++) {               \
      const int64_t j = start_ + part * VF_LANES, n = ft_min(VF_LANES, (width) - j);        \
      if (n <= 0) break;                                                                    \
      __VA_ARGS__                                                                           \
    }                                                                                       \
  } while (0)

VF_INLINE float ft_sum_lane_vectors(vf lanes[LANE_VECTORS]) {
  for (int half = LANE_VECTORS / 2; half >= 1; half /= 2) {
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  }
  return v_sum(lanes[0]);
}

/* --- stores past the caches --- */

/* No cache holds that much beside what else is in use. */
#define PAST_CACHE_BYTES ((int64_t)32 << 20)

/* True where output `index` should be stored past the caches: large, and over no input. */
VF_INLINE bool ft_is_large(const ft_call *call, int index) {
  const ft_tensor *y = &call->out[index];
  if (y->count * ft_element_bytes(y) < PAST_CACHE_BYTES || (uintptr_t)y->data % 64 != 0) return false;
  for (int i = 0; i < call->n_in; i++) {
    if (call->in[i].data == y->data) return false;
  }
  return true;
}
/* The same for rows of `width` elements that are stored vector by vector: of f32 only, as vectors of 16-bit elements are shorter than what memory takes at once. */
VF_INLINE bool ft_past_cache(const ft_call *call, int index, int64_t width) {
  return call->out[index].dtype == FT_F32 && width % VF_LANES == 0 && ft_is_large(call, index);
}

/* Elements `index` … `index` + n - 1 of an array. A task that stored past the caches ends with ft_stores_done. */
VF_INLINE void ft_put(void *array, int64_t index, int dtype, vf x, int64_t n, bool past_cache) {
  if (past_cache && dtype == FT_F32) v_store_past((float *)array + index, x);
  else v_store_first_as(array, index, dtype, x, n);
}
/* Asks for element `index`, of f32, of what is read next: while a row is stored past the caches memory reads nothing unless it is asked. */
VF_INLINE void ft_ask(const void *array, int64_t index, bool past_cache) {
  if (past_cache) __builtin_prefetch((const float *)array + index, 0, 2);
}
VF_INLINE void ft_stores_done(bool past_cache) {
  if (past_cache) v_fence();
}

#endif
