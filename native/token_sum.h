/*
 * Sums over tokens, column by column: bias and norm weight gradients. The tokens are cut in blocks by the rule of
 * src/ops/token-blocks.ts; each block is summed from zero, and the sums are added in order to the first one (or, when accumulating,
 * to what is there already). Columns are independent, so threads share them out.
 */
#ifndef FULLTUNE_TOKEN_SUM_H
#define FULLTUNE_TOKEN_SUM_H

#include "rows.h"
#include "token_blocks.h"

/* Columns of a task: a multiple of the first, as many as give every thread some, so that tokens are read in long runs. */
#define COLUMNS 64
#define MOST_COLUMNS 512

/* Adds token `token`'s terms for columns `column` … `column` + `count` - 1, at most MOST_COLUMNS, to `sums`. */
typedef void (*ft_token_terms)(const ft_call *call, int64_t token, int64_t column, int64_t count, float *sums);

typedef struct {
  const ft_call *call;
  ft_token_terms terms;
  float *to;
  int64_t columns, chunk;
  ft_token_blocks blocks;
  bool accumulate;
} ft_token_loop;

static inline void ft_token_columns(void *context, int64_t task, int thread) {
  (void)thread;
  const ft_token_loop *loop = context;
  const int64_t column = task * loop->chunk;
  const int64_t count = ft_min(loop->chunk, loop->columns - column);
  float *to = loop->to + column;
  for (int64_t block = 0; block < loop->blocks.count; block++) {
    int64_t token, end;
    ft_token_block(&loop->blocks, block, &token, &end);
    float sums[MOST_COLUMNS];
    memset(sums, 0, (size_t)count * sizeof *sums);
    for (; token < end; token++) loop->terms(loop->call, token, column, count, sums);
    const bool add = loop->accumulate || block > 0;
    for (int64_t j = 0; j < count; j++) to[j] = add ? to[j] + sums[j] : sums[j];
  }
}

/* `x` is [B,T,·] and gives the row length; `to` has `columns` elements. */
static inline void ft_sum_tokens(const ft_call *call, const ft_tensor *x, float *to, int64_t columns, bool accumulate, ft_token_terms terms) {
  const int64_t chunk = ft_min(MOST_COLUMNS, ft_ceil_div(ft_ceil_div(columns, ft_threads(call->pool)), COLUMNS) * COLUMNS);
  ft_token_loop loop = {call, terms, to, columns, chunk, ft_cut_tokens(x->shape[0], x->shape[1]), accumulate};
  ft_parallel(call->pool, ft_ceil_div(columns, chunk), ft_token_columns, &loop);
}

#endif
