/*
 * What products and attention share: packing a matrix into panels, and multiplying panels tile by tile in registers.
 *
 * A panel of width W holds W rows (or columns) of a matrix for a run of k: element (k, i) at k · W + i. Positions beyond the matrix
 * are zero. Every element of a product is one chain of fused multiply-adds in the order of k, starting from zero, wherever in a
 * tile it falls and however many rows the tile has: that is what makes results independent of how the work is divided.
 */
#ifndef FULLTUNE_TILE_H
#define FULLTUNE_TILE_H

#include "vector.h"

/* Rows and vectors of a tile of accumulators: as many as the registers hold. */
#if VF_LANES == 16
#define TILE_ROWS 12
#elif VF_LANES == 8
#define TILE_ROWS 6
#elif defined(__aarch64__)
#define TILE_ROWS 8
#else
#define TILE_ROWS 6
#endif
#define TILE_VECTORS 2
#define TILE_COLUMNS (TILE_VECTORS * VF_LANES)
/* Width of a panel of tile rows that is packed to the float: a multiple of 4. */
#define ROW_PANEL ((TILE_ROWS + 3) / 4 * 4)
/* Steps of k by which packing may exceed a panel whose width is no multiple of 4. */
#define PANEL_SLACK 4

VF_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
VF_INLINE int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }
VF_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
VF_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

#ifdef __clang__
#define VQ_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int32_t vq_index __attribute__((vector_size(16)));
#define VQ_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (vq_index){i, j, k, l})
#endif

/* Four (or, from a panel of 6, two) rows of the panel from row i on, for `depth` steps of k. */
VF_INLINE void pack_4_rows(float *panel, int width, int i, const void *source, int64_t first, int64_t stride, int dtype, int64_t count,
                           int64_t depth) {
  const size_t bytes = 4 * (size_t)least(4, width - i);
  int64_t row[4];
  for (int r = 0; r < 4; r++) row[r] = first + least(i + r, count - 1) * stride;
  int64_t k = 0;
  for (; k + 4 <= depth; k += 4) {
    const vq a = vq_load_as(source, row[0] + k, dtype), b = vq_load_as(source, row[1] + k, dtype);
    const vq c = vq_load_as(source, row[2] + k, dtype), d = vq_load_as(source, row[3] + k, dtype);
    const vq ab_low = VQ_SHUFFLE(a, b, 0, 4, 1, 5), ab_high = VQ_SHUFFLE(a, b, 2, 6, 3, 7);
    const vq cd_low = VQ_SHUFFLE(c, d, 0, 4, 1, 5), cd_high = VQ_SHUFFLE(c, d, 2, 6, 3, 7);
    const vq to[4] = {VQ_SHUFFLE(ab_low, cd_low, 0, 1, 4, 5), VQ_SHUFFLE(ab_low, cd_low, 2, 3, 6, 7),
                      VQ_SHUFFLE(ab_high, cd_high, 0, 1, 4, 5), VQ_SHUFFLE(ab_high, cd_high, 2, 3, 6, 7)};
    for (int j = 0; j < 4; j++) memcpy(panel + (k + j) * width + i, &to[j], bytes);
  }
  for (; k < depth; k++) {
    for (int r = 0; r < 4 && i + r < width; r++) panel[k * width + i + r] = v_load_one_as(source, row[r] + k, dtype);
  }
}

/*
 * Packs rows of `source` (row i starts at element `first` + i · stride, k runs along it) for k = 0 … depth - 1 into a panel of
 * `width`, an even number: a transposition, eight by eight or four by four. `count` rows exist, perhaps more than `width`; the places
 * of missing ones are filled with copies of the last. Unless `width` is a multiple of 4, the panel needs PANEL_SLACK steps more.
 */
VF_INLINE void pack_rows(float *panel, int width, const void *source, int64_t first, int64_t stride, int dtype, int64_t count,
                         int64_t depth) {
  int i = 0;
#if defined(__AVX2__)
  for (; i + 4 < width; i += 8) { /* perhaps with rows of the next step of k behind: they are overwritten */
    int64_t row[8], k = 0;
    for (int r = 0; r < 8; r++) row[r] = first + least(i + r, count - 1) * stride;
    for (; k + 8 <= depth; k += 8) {
      ve x[8];
#pragma GCC unroll 8
      for (int r = 0; r < 8; r++) x[r] = ve_load_as(source, row[r] + k, dtype);
      ve_transpose(x);
#pragma GCC unroll 8
      for (int r = 0; r < 8; r++) *(ve_at *)(panel + (k + r) * width + i) = x[r];
    }
    for (; k < depth; k++) {
      for (int r = 0; r < 8 && i + r < width; r++) panel[k * width + i + r] = v_load_one_as(source, row[r] + k, dtype);
    }
  }
#endif
  for (; i < width; i += 4) pack_4_rows(panel, width, i, source, first, stride, dtype, count, depth);
}

/*
 * Packs columns of `source` (row k starts at element `first` + k · stride, columns run along it) for k = 0 … depth - 1 into a panel of
 * `width`. `count` columns exist, perhaps more than `width`; missing ones become zero. Needs PANEL_SLACK as pack_rows does.
 */
VF_INLINE void pack_columns(float *panel, int width, const void *source, int64_t first, int64_t stride, int dtype, int64_t count,
                            int64_t depth) {
  if (count >= round_up(width, VF_LANES)) { /* perhaps with more than the panel's columns: they are overwritten */
    for (int64_t k = 0; k < depth; k++) {
      for (int i = 0; i < width; i += VF_LANES) v_store(panel + k * width + i, v_load_as(source, first + k * stride + i, dtype));
    }
  } else {
    for (int64_t k = 0; k < depth; k++) {
      for (int i = 0; i < width; i++) panel[k * width + i] = i < count ? v_load_one_as(source, first + k * stride + i, dtype) : 0.0f;
    }
  }
}

/*
 * One tile: c (`rows` × `vectors` · VF_LANES, row stride `c_stride`) = or += Σ over k of a(i, k) · b(k, j), where a(i, k) is at
 * a[i · a_row + k · a_k] and row k of b at b + k · b_stride. `rows`, `vectors`, and one of a_row and a_k are constants where it is inlined.
 */
VF_INLINE void tile_product(int rows, int vectors, int64_t depth, const float *a, int64_t a_row, int64_t a_k, const float *b,
                            int64_t b_stride, float *c, int64_t c_stride, bool accumulate) {
  vf sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
    for (int j = 0; j < vectors; j++) {
      sum[i][j] = v_zero();
      __builtin_prefetch(c + i * c_stride + j * VF_LANES, 1);
    }
  }
  for (int64_t k = 0; k < depth; k++) {
    vf column[TILE_VECTORS];
#pragma GCC unroll 2
    for (int j = 0; j < vectors; j++) column[j] = v_load(b + k * b_stride + j * VF_LANES);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
      const vf row = v_splat(a[i * a_row + k * a_k]);
#pragma GCC unroll 2
      for (int j = 0; j < vectors; j++) sum[i][j] = v_fma(row, column[j], sum[i][j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
    for (int j = 0; j < vectors; j++) {
      float *to = c + i * c_stride + j * VF_LANES;
      v_store(to, accumulate ? v_load(to) + sum[i][j] : sum[i][j]);
    }
  }
}

#endif
