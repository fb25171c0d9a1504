/* embedding, embedding_backward */
#include "elements.h"

static void fill_with_nan(const ft_tensor *y, int64_t from, int64_t count) {
  for (int64_t i = from; i < from + count; i++) {
    if (y->dtype == FT_F32) ft_floats(y)[i] = NAN;
    else ((uint16_t *)(void *)y->data)[i] = y->dtype == FT_BF16 ? 0x7fc0 : 0x7e00;
  }
}

/* ids i32 [B,T], weight [V,D] → y [B,T,D]. An id outside the table gives a row of NaN: loud, and no crash. */
static void embedding_rows(const ft_call *call, int64_t from, int64_t to) {
  const int32_t *ids = ft_ints(&call->in[0]);
  const int64_t vocabulary = call->in[1].shape[0], width = call->in[1].shape[1], bytes = width * ft_element_bytes(&call->in[1]);
  for (int64_t token = from; token < to; token++) {
    const int64_t id = ids[token];
    if (id >= 0 && id < vocabulary) memcpy(call->out[0].data + token * bytes, call->in[1].data + id * bytes, (size_t)bytes);
    else fill_with_nan(&call->out[0], token * width, width);
  }
}

static void embedding(const ft_call *call) { ft_for_rows(call, call->in[0].count, ft_width(&call->in[1]) * 8, embedding_rows); }

enum { FROM_ZERO, ACCUMULATE, MERGE };

#define COLUMN_CHUNK 64

/* to += elements at … at + n - 1 of x */
VF_INLINE void add_as(float *to, const void *x, int64_t at, int64_t n, int dtype) {
  FT_EACH_VECTOR(j, rest, 0, n, { v_store_first(to + j, v_load_first(to + j, rest) + v_load_first_as(x, at + j, dtype, rest), rest); });
}
static void add_elements(float *to, const ft_tensor *x, int64_t at, int64_t n) { FT_BY_DTYPE(x->dtype, add_as, to, x->data, at, n); }

static void zero_elements(const ft_call *call, int64_t from, int64_t to) {
  memset(ft_floats(&call->out[0]) + from, 0, (size_t)(to - from) * sizeof(float));
}

/* What −0 + 0 gives: merging adds a zero to every row that has no token. */
static void add_zero(const ft_call *call, int64_t from, int64_t to) {
  float *dw = ft_floats(&call->out[0]);
  for (int64_t i = from; i < to; i++) dw[i] += 0.0f;
}

/* Adds the tokens in order to the rows of dw; each task a range of columns. */
static void add_columns(void *context, int64_t task, int thread) {
  (void)thread;
  const ft_call *call = context;
  const int32_t *ids = ft_ints(&call->in[0]);
  const ft_tensor *dy = &call->in[1];
  float *dw = ft_floats(&call->out[0]);
  const int64_t vocabulary = call->out[0].shape[0], width = call->out[0].shape[1];
  const int64_t column = task * COLUMN_CHUNK, count = ft_min(COLUMN_CHUNK, width - column);
  for (int64_t token = 0; token < call->in[0].count; token++) {
    const int64_t id = ids[token];
    if (id < 0 || id >= vocabulary) continue;
    add_elements(dw + id * width + column, dy, token * width + column, count);
  }
}

/* Tokens by id, then by position: a bottom-up merge sort of id · 2^32 + token. Returns where the result lies. */
static const int64_t *sort_tokens(const int32_t *ids, int64_t count, int64_t *keys, int64_t *other) {
  for (int64_t i = 0; i < count; i++) keys[i] = (int64_t)ids[i] * ((int64_t)1 << 32) + i;
  for (int64_t run = 1; run < count; run *= 2) {
    for (int64_t start = 0; start < count; start += 2 * run) {
      const int64_t middle = ft_min(count, start + run), end = ft_min(count, start + 2 * run);
      int64_t left = start, right = middle;
      for (int64_t i = start; i < end; i++) {
        other[i] = left < middle && (right >= end || keys[left] < keys[right]) ? keys[left++] : keys[right++];
      }
    }
    int64_t *swap = keys;
    keys = other;
    other = swap;
  }
  return keys;
}

typedef struct {
  const ft_call *call;
  const int64_t *sorted;
} merge_job;

/* Sums each id's tokens from zero, in order, and adds the sum to its row; each task a range of columns. */
static void merge_columns(void *context, int64_t task, int thread) {
  (void)thread;
  const merge_job *job = context;
  const ft_tensor *dy = &job->call->in[1];
  float *dw = ft_floats(&job->call->out[0]);
  const int64_t vocabulary = job->call->out[0].shape[0], width = job->call->out[0].shape[1];
  const int64_t column = task * COLUMN_CHUNK, count = ft_min(COLUMN_CHUNK, width - column);
  const int64_t tokens = job->call->in[0].count;
  for (int64_t i = 0; i < tokens;) {
    const int64_t id = job->sorted[i] >> 32;
    float sums[COLUMN_CHUNK] = {0};
    for (; i < tokens && job->sorted[i] >> 32 == id; i++) add_elements(sums, dy, (job->sorted[i] & 0xffffffff) * width + column, count);
    if (id < 0 || id >= vocabulary) continue;
    float *to = dw + id * width + column;
    for (int64_t j = 0; j < count; j++) to[j] += sums[j];
  }
}

/* ids i32 [B,T], dy [B,T,D], (dw f32 [V,D]) → dw f32 [V,D]. attrs: vocabulary, mode (see src/ops/embedding.ts) */
static void embedding_backward(const ft_call *call) {
  const int mode = (int)call->attrs[1];
  const int64_t chunks = ft_ceil_div(call->out[0].shape[1], COLUMN_CHUNK);
  if (mode == MERGE) {
    int64_t *keys = (int64_t *)(void *)call->workspace;
    merge_job job = {call, sort_tokens(ft_ints(&call->in[0]), call->in[0].count, keys, keys + call->in[0].count)};
    ft_for_rows(call, call->out[0].count, 8, add_zero);
    ft_parallel(call->pool, chunks, merge_columns, &job);
  } else {
    if (mode == FROM_ZERO) ft_for_rows(call, call->out[0].count, 4, zero_elements);
    ft_parallel(call->pool, chunks, add_columns, (void *)(uintptr_t)call);
  }
}

/* mode 2: 16 · B·T bytes (two lists of i64 keys); else 0 */
static int64_t embedding_backward_workspace(const ft_call *call, int threads) {
  (void)threads;
  return (int)call->attrs[1] == MERGE ? 16 * call->in[0].count : 0;
}

extern const ft_entry FT_NAME(embedding_entries)[];
const ft_entry FT_NAME(embedding_entries)[] = {
    {"embedding", embedding, NULL},
    {"embedding_backward", embedding_backward, embedding_backward_workspace},
    {NULL, NULL, NULL},
};
