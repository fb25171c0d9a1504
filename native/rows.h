/*
 * What the memory-bound kernels share: loops over rows in parallel, and sums in sixteen fixed lanes.
 *
 * The loops are plain C that gcc and clang turn into vectors of the target's width. Every element goes through the same operations
 * whether it falls into a vector or into the rest, and the lanes of a sum do not depend on the width: where a task begins and ends
 * changes no bits.
 */
#ifndef FULLTUNE_ROWS_H
#define FULLTUNE_ROWS_H

#include <math.h>
#include <string.h>

#include "fulltune.h"

/* Outputs may share the bytes of inputs element by element, which hinders no vector loop. */
#define FT_ELEMENTWISE _Pragma("GCC ivdep")

#define LANES 16

static inline float *ft_floats(const ft_tensor *tensor) { return (float *)(void *)tensor->data; }
static inline int32_t *ft_ints(const ft_tensor *tensor) { return (int32_t *)(void *)tensor->data; }
static inline int64_t ft_element_bytes(const ft_tensor *tensor) { return tensor->dtype == FT_F32 ? 4 : 2; }
static inline int64_t ft_width(const ft_tensor *tensor) { return tensor->rank == 0 ? 1 : tensor->shape[tensor->rank - 1]; }
static inline int64_t ft_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t ft_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Handles rows (or elements) `from` … `to` - 1. */
typedef void (*ft_row_task)(const ft_call *call, int64_t from, int64_t to);

typedef struct {
  const ft_call *call;
  ft_row_task body;
  int64_t rows;
  int64_t block;
} ft_row_loop;

static inline void ft_row_block(void *context, int64_t task, int thread) {
  (void)thread;
  const ft_row_loop *loop = context;
  const int64_t from = task * loop->block;
  loop->body(loop->call, from, ft_min(loop->rows, from + loop->block));
}

/* Elements of a block are a multiple of this, so that all blocks of a tensor begin as well aligned as the tensor: stores past the caches need it. */
#define BLOCK_UNIT 64

/* Rows are independent of each other, so that the size of the blocks changes no bits: about 128 KiB of traffic each, more of large tensors. */
static inline void ft_for_rows(const ft_call *call, int64_t rows, int64_t bytes_per_row, ft_row_task body) {
  const int64_t small = (int64_t)128 << 10, share = rows * bytes_per_row / (32 * ft_threads(call->pool));
  const int64_t wanted = (share < small ? small : ft_min(share, 8 * small)) / (bytes_per_row + 1);
  const int64_t unit = wanted < 16 ? 1 : wanted < BLOCK_UNIT ? 16 : BLOCK_UNIT, block = wanted < 1 ? 1 : wanted / unit * unit;
  ft_row_loop loop = {call, body, rows, block};
  ft_parallel(call->pool, ft_ceil_div(rows, block), ft_row_block, &loop);
}

static inline float ft_sum_lanes(float lanes[LANES]) {
  for (int half = LANES / 2; half >= 1; half /= 2) {
    for (int j = 0; j < half; j++) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

/* Σ x² */
static inline float ft_sum_of_squares(const float *x, int64_t n) {
  float lanes[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    for (int j = 0; j < LANES; j++) lanes[j] += x[i + j] * x[i + j];
  }
  for (int j = 0; j < LANES && i < n; i++, j++) lanes[j] += x[i] * x[i];
  return ft_sum_lanes(lanes);
}

#endif
