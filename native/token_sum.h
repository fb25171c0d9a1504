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

/* Adds token `token`'s terms for columns `column` … `column` + `count` - 1 to `sums`. */
typedef void (*ft_token_terms)(const ft_call *call, int64_t token, int64_t column, int64_t count, float *sums);

typedef struct {
  const ft_call *call;
  ft_token_terms terms;
  int64_t columns, chunk, chunks;
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
  for (; token < end; token++) loop->terms(loop->call, token, column, count, sums);
}

/* Over the tokens of input 0, [B,T,·]; output 0 has one element per column. */
static void ft_sum_tokens(const ft_call *call, bool accumulate, ft_token_terms terms) {
  const int64_t columns = call->out[0].count;
  const ft_token_blocks blocks = ft_cut_tokens(call->in[0].shape[0], call->in[0].shape[1]);
  if (blocks.count == 0) return;
  const int64_t wanted = ft_ceil_div(ft_threads(call->pool), blocks.count);
  const int64_t chunk = ft_min(MOST_COLUMNS, ft_ceil_div(ft_ceil_div(columns, wanted), LEAST_COLUMNS) * LEAST_COLUMNS);
  ft_token_loop loop = {call, terms, columns, chunk, ft_ceil_div(columns, chunk), blocks};
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

#endif
