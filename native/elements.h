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

/* The statements for rows `row` … `row` + `rows` - 1: several at a time, as memory gives more to several streams than to one. ROWS_ABREAST or 1, a constant. */
#define ROWS_ABREAST 4
#define FT_EACH_ROWS(row, rows, from, to, ...)                                \
  do {                                                                        \
    int64_t row = (from);                                                     \
    for (; row + ROWS_ABREAST <= (to); row += ROWS_ABREAST) {                 \
      enum { rows = ROWS_ABREAST };                                           \
      __VA_ARGS__                                                             \
    }                                                                         \
    for (; row < (to); row++) {                                               \
      enum { rows = 1 };                                                      \
      __VA_ARGS__                                                             \
    }                                                                         \
  } while (0)

/* --- sums in lanes: element i of a row goes to lane i % LANES --- */

#define LANE_VECTORS (LANES / VF_LANES)

/* The statements for elements j … j + n - 1 of those of a row from `from`, a multiple of LANES, on; they belong to vector `part` of the lanes. */
#define FT_EACH_LANE_VECTOR(part, j, n, from, width, ...)                                   \
  do {                                                                                      \
    int64_t start_ = (from);                                                                \
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
/* The same for rows of `width` elements. */
VF_INLINE bool ft_past_cache(const ft_call *call, int index, int64_t width) { return width % (2 * VF_LANES) == 0 && ft_is_large(call, index); }
/* While outputs are stored past the caches, processors with AVX2 read little from memory unless they are asked; those with AVX-512 do, and asking costs. */
VF_INLINE void ft_ask_ahead(const char *loaded) {
  if (VF_LANES < 16) __builtin_prefetch(loaded + 1024, 0, 2);
}
VF_INLINE void ft_stores_done(bool past_cache) {
  if (past_cache) v_fence();
}

/* --- rows of activations, two vectors at a time --- */

#define MOST_ARRAYS 2
#define MOST_NUMBERS 4
#define MOST_SUMS 2

/* A row that is read: elements of `dtype` from `at` on of each of `arrays`, and beside them elements from 0 on of each of `columns`, f32. */
typedef struct {
  int arrays, columns;
  const void *array[MOST_ARRAYS];
  const float *column[MOST_ARRAYS];
  int64_t at, width;
  int passes; /* how often the row is read while the next one is asked for, or 0 */
  int pass;   /* how often it was */
} ft_row;

/*
 * Asks for a share of the next row: all passes over this one ask for as much. Where outputs are stored past the caches memory reads nothing unless it
 * is asked, and between passes over what the caches hold it would have nothing to do.
 */
VF_INLINE void ft_ask_row(const ft_row *row, int64_t j, int dtype) {
  if (row->passes == 0) return;
  const int64_t bytes = dtype == FT_F32 ? 4 : 2, place = row->at + row->width + (row->pass * row->width + j) / row->passes;
  for (int k = 0; k < row->arrays; k++) __builtin_prefetch((const char *)row->array[k] + place * bytes, 0, 3);
}

/* A vector of each result from one of each array and column, and from numbers of the row. */
typedef void ft_formula(const vf *x, const vf *w, const vf *numbers, vf *y);

VF_INLINE void ft_two_of_row(const ft_row *row, int64_t j, int dtype, int results, const vf *numbers, ft_formula *formula, vf (*y)[2]) {
  vf x[MOST_ARRAYS][2], w[MOST_ARRAYS][2];
  for (int k = 0; k < row->arrays; k++) v_load_two_as(row->array[k], row->at + j, dtype, x[k]);
  for (int k = 0; k < row->columns; k++) v_load_two_beside(row->column[k] + j, dtype, w[k]);
  for (int v = 0; v < 2; v++) {
    vf x_v[MOST_ARRAYS], w_v[MOST_ARRAYS], y_v[MOST_SUMS];
    for (int k = 0; k < row->arrays; k++) x_v[k] = x[k][v];
    for (int k = 0; k < row->columns; k++) w_v[k] = w[k][v];
    formula(x_v, w_v, numbers, y_v);
    for (int k = 0; k < results; k++) y[k][v] = y_v[k];
  }
}
VF_INLINE void ft_some_of_row(const ft_row *row, int64_t j, int64_t n, int dtype, const vf *numbers, ft_formula *formula, vf *y) {
  vf x[MOST_ARRAYS], w[MOST_ARRAYS];
  for (int k = 0; k < row->arrays; k++) x[k] = v_load_first_as(row->array[k], row->at + j, dtype, n);
  for (int k = 0; k < row->columns; k++) w[k] = v_load_first(row->column[k] + j, n);
  formula(x, w, numbers, y);
}

/* The results, stored from element row->at of `to` on. */
VF_INLINE void ft_map_row(void *to, const ft_row *row, int dtype, bool past_cache, const vf *numbers, ft_formula *formula) {
  int64_t j = 0;
  for (; j + 2 * VF_LANES <= row->width; j += 2 * VF_LANES) {
    ft_ask_row(row, j, dtype);
    vf y[1][2];
    ft_two_of_row(row, j, dtype, 1, numbers, formula, y);
    v_store_two_as(to, row->at + j, dtype, y[0], past_cache);
  }
  FT_EACH_VECTOR(i, n, j, row->width, {
    vf y;
    ft_some_of_row(row, i, n, dtype, numbers, formula, &y);
    v_store_first_as(to, row->at + i, dtype, y, n);
  });
}

/* The sums of the results over the row. */
VF_INLINE void ft_sum_row(float *sums, int results, ft_row *row, int dtype, const vf *numbers, ft_formula *formula) {
  vf lanes[MOST_SUMS][LANE_VECTORS < 2 ? 2 : LANE_VECTORS] = {0};
  enum { PAIRS = LANE_VECTORS < 2 ? 1 : LANE_VECTORS / 2, STEP = 2 * PAIRS * VF_LANES };
  int64_t j = 0;
  for (; j + STEP <= row->width; j += STEP) {
    _Pragma("GCC unroll 2") for (int pair = 0; pair < PAIRS; pair++) {
      vf y[MOST_SUMS][2];
      ft_ask_row(row, j + 2 * pair * VF_LANES, dtype);
      ft_two_of_row(row, j + 2 * pair * VF_LANES, dtype, results, numbers, formula, y);
      for (int k = 0; k < results; k++) {
        for (int v = 0; v < 2; v++) lanes[k][(2 * pair + v) % LANE_VECTORS] += y[k][v];
      }
    }
  }
  for (int k = 0; k < results && V_CROSSED(dtype); k++) v_cross(lanes[k]);
  FT_EACH_LANE_VECTOR(part, i, n, j, row->width, {
    vf y[MOST_SUMS];
    ft_some_of_row(row, i, n, dtype, numbers, formula, y);
    for (int k = 0; k < results; k++) lanes[k][part] += v_first(y[k], n);
  });
  for (int k = 0; k < results; k++) sums[k] = ft_sum_lane_vectors(lanes[k]);
  row->pass++;
}

#endif
