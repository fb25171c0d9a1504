/*
 * Sums over tokens, column by column: bias and norm weight gradients. The tokens are cut in blocks by the rule of
 * src/ops/token-blocks.ts; each block is summed from zero, and the sums are added in order to the first one (or, when accumulating,
 * to what is there already). Blocks are independent until then, so threads share them out: whole rows, as memory is read fastest so.
 */
#ifndef FULLTUNE_TOKEN_SUM_H
#define FULLTUNE_TOKEN_SUM_H

#include "elements.h"
#include "token_blocks.h"

/* Columns of a task: their sums stay in the first-level cache; less where there are fewer blocks than threads. */
#define LEAST_COLUMNS 64
#define MOST_COLUMNS 4096

/* Adds to `sums` the terms of columns `column` … `column` + `count` - 1 of rows `row` … `row` + `rows` - 1: a token has as many rows as output 0 fits into it. */
typedef void (*ft_token_terms)(const ft_call *call, int64_t row, int64_t rows, int64_t column, int64_t count, float *sums);

typedef struct {
  const ft_call *call;
  ft_token_terms terms;
  int64_t columns, groups, chunk, chunks;
  ft_token_blocks blocks;
} ft_token_loop;

static void ft_token_block_sums(void *context, int64_t task, int thread) {
  (void)thread;
  const ft_token_loop *loop = context;
  const int64_t block = task / loop->chunks, column = task % loop->chunks * loop->chunk;
  const int64_t count = ft_min(loop->chunk, loop->columns - column);
  float *sums = (float *)(void *)loop->call->workspace + block * loop->columns + column;
  memset(sums, 0, (size_t)count * sizeof *sums);
  int64_t token, end;
  ft_token_block(&loop->blocks, block, &token, &end);
  loop->terms(loop->call, token * loop->groups, (end - token) * loop->groups, column, count, sums);
}

/* Over the tokens of input 0, [B,T,·]; output 0 has one element per column. */
static void ft_sum_tokens(const ft_call *call, bool accumulate, ft_token_terms terms) {
  const int64_t columns = call->out[0].count;
  const ft_token_blocks blocks = ft_cut_tokens(call->in[0].shape[0], call->in[0].shape[1]);
  if (blocks.count == 0) return;
  const int64_t wanted = ft_ceil_div(ft_threads(call->pool), blocks.count);
  const int64_t chunk = ft_min(MOST_COLUMNS, ft_ceil_div(ft_ceil_div(columns, wanted), LEAST_COLUMNS) * LEAST_COLUMNS);
  ft_token_loop loop = {call, terms, columns, ft_width(&call->in[0]) / columns, chunk, ft_ceil_div(columns, chunk), blocks};
  ft_parallel(call->pool, blocks.count * loop.chunks, ft_token_block_sums, &loop);
  float *to = ft_floats(&call->out[0]);
  const float *sums = (const float *)(const void *)call->workspace;
  for (int64_t block = 0; block < blocks.count; block++, sums += columns) {
    const bool add = accumulate || block > 0;
    for (int64_t j = 0; j < columns; j++) to[j] = add ? to[j] + sums[j] : sums[j];
  }
}

/* 4 · blocks · columns bytes */
static int64_t ft_token_sums_workspace(const ft_call *call, int threads) {
  (void)threads;
  return 4 * ft_cut_tokens(call->in[0].shape[0], call->in[0].shape[1]).count * call->out[0].count;
}

/*
 * With AVX-512 rows of 16 bits come faster one by one than several at a time, each asked for while the one before it is added (docs/experiments.md, 30):
 * a cache line of them is so many operations that the processor looks few lines ahead by itself.
 */
#define ONE_BY_ONE(dtype) (VF_LANES == 16 && (dtype) != FT_F32)

/* Adds results of a formula, of rows of `width` elements and `counts` numbers each: the sums are loaded and stored once for all `rows`, a constant. */
VF_INLINE void ft_add_some_rows(float *sums, ft_row row, const float *const *numbers, int counts, int64_t first, int rows, int64_t width, int dtype, ft_formula *formula) {
  vf number[ROWS_ABREAST][MOST_NUMBERS];
  for (int r = 0; r < rows; r++) {
    for (int k = 0; k < counts; k++) number[r][k] = v_splat(numbers[k][first + r]);
  }
  const int64_t at = row.at + first * width;
  int64_t j = 0;
  for (; j + 2 * VF_LANES <= row.width; j += 2 * VF_LANES) {
    vf sum[2], y[1][2];
    v_load_two_beside(sums + j, dtype, sum);
    for (int r = 0; r < rows; r++) {
      row.at = at + r * width;
      for (int k = 0; k < row.arrays && ONE_BY_ONE(dtype); k++) __builtin_prefetch((const uint16_t *)row.array[k] + row.at + width + j, 0, 3);
      ft_two_of_row(&row, j, dtype, 1, number[r], formula, y);
      for (int v = 0; v < 2; v++) sum[v] += y[0][v];
    }
    if (V_CROSSED(dtype)) v_cross(sum);
    v_store(sums + j, sum[0]);
    v_store(sums + j + VF_LANES, sum[1]);
  }
  FT_EACH_VECTOR(i, n, j, row.width, {
    vf sum = v_load_first(sums + i, n), y;
    for (int r = 0; r < rows; r++) {
      row.at = at + r * width;
      ft_some_of_row(&row, i, n, dtype, number[r], formula, &y);
      sum += y;
    }
    v_store_first(sums + i, sum, n);
  });
}
/* `row` begins at the first column of row 0. */
VF_INLINE void ft_add_rows(float *sums, const ft_row *row, const float *const *numbers, int counts, int64_t first, int64_t rows, int64_t width, int dtype, ft_formula *formula) {
  if (ONE_BY_ONE(dtype)) {
    for (int64_t begin = first; begin < first + rows; begin++) ft_add_some_rows(sums, *row, numbers, counts, begin, 1, width, dtype, formula);
  } else {
    FT_EACH_ROWS(begin, some, first, first + rows, { ft_add_some_rows(sums, *row, numbers, counts, begin, some, width, dtype, formula); });
  }
}

#endif
