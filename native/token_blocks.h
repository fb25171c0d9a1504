/*
 * How sums over tokens, and over the inner axis of products, are cut: by shapes only. Rows of at least 128 tokens are cut each by
 * itself, so that a micro-batch may hold any number of them; shorter rows are joined. `src/ops/token-blocks.ts` states the same rule.
 */
#ifndef FULLTUNE_TOKEN_BLOCKS_H
#define FULLTUNE_TOKEN_BLOCKS_H

#include <stdint.h>

#define FT_BLOCK_TOKENS 384
#define FT_JOINED_BELOW 128

typedef struct {
  int64_t count;      /* blocks in all */
  int64_t per_row;    /* blocks of each (joined) row */
  int64_t size;       /* tokens of a block, a multiple of 8; the last of a row may be shorter */
  int64_t row_length; /* tokens of each (joined) row */
} ft_token_blocks;

/* Cuts `rows` rows of `length` tokens each, none joined. No block is empty. */
static inline ft_token_blocks ft_even_blocks(int64_t rows, int64_t length) {
  const int64_t per_row = (length + FT_BLOCK_TOKENS - 1) / FT_BLOCK_TOKENS;
  if (per_row == 0) return (ft_token_blocks){0, 0, 8, 0};
  const int64_t size = ((length + per_row - 1) / per_row + 7) / 8 * 8;
  return (ft_token_blocks){rows * per_row, per_row, size, length};
}

static inline ft_token_blocks ft_cut_tokens(int64_t rows, int64_t length) {
  return length < FT_JOINED_BELOW ? ft_even_blocks(1, rows * length) : ft_even_blocks(rows, length);
}

/* Block `index` is tokens *begin … *end - 1 of the flat list of tokens. */
static inline void ft_token_block(const ft_token_blocks *blocks, int64_t index, int64_t *begin, int64_t *end) {
  const int64_t row = index / blocks->per_row;
  const int64_t first = index % blocks->per_row * blocks->size;
  const int64_t last = first + blocks->size < blocks->row_length ? first + blocks->size : blocks->row_length;
  *begin = row * blocks->row_length + first;
  *end = row * blocks->row_length + last;
}

#endif
