/*
 * Blocks of attention: BLOCK queries by BLOCK keys of one head, in buffers of whole blocks, zero beyond the matrix.
 *
 * Scores are kept transposed, keys down and queries along the vector lanes, so that maximum and sum over keys need no sum across
 * lanes, and every product reads its operands as they lie:
 *   scores = K · Qᵀ, dP = V · dOᵀ     keys × queries, over the head width (`score`)
 *   O = P · V, dQ = dS · K            queries × width, over keys (`over_keys`)
 *   dV = Pᵀ · dO, dK = dSᵀ · Q        keys × width, over queries (`over_queries`)
 */
#ifndef FULLTUNE_ATTENTION_BLOCK_H
#define FULLTUNE_ATTENTION_BLOCK_H

#include "tile.h"

/* `workspaceBytes` in src/devices/cpu/workspace.ts knows these numbers too. They hold for every target. */
#define BLOCK 96          /* queries, keys: a multiple of every TILE_ROWS and TILE_COLUMNS */
#define LINE 64           /* bytes that come from memory together */
#define WIDTH_MULTIPLE 16 /* rows of buffers are padded to whole vectors of any target */

typedef struct {
  const ft_tensor *q, *k, *v;
  const int32_t *starts; /* or NULL: 0 everywhere */
  int64_t rows, queries, keys; /* B, T, and the key positions of a row */
  int64_t offset;              /* query t stands at position offset + t */
  int64_t heads, kv_heads, width, padded, room; /* padded: width in whole vectors; room: in whole vectors of any target */
  float scale;
  int64_t thread_floats;
  float *threads; /* workspace */
} heads_of;

VF_INLINE heads_of describe(const ft_call *call) {
  const ft_tensor *q = &call->in[0], *k = &call->in[1];
  heads_of a = {.q = q, .k = k, .v = &call->in[2], .rows = q->shape[0], .queries = q->shape[1], .keys = k->shape[1]};
  a.heads = (int64_t)call->attrs[0];
  a.kv_heads = (int64_t)call->attrs[1];
  a.width = (int64_t)call->attrs[2];
  a.scale = (float)call->attrs[3];
  a.padded = round_up(a.width, VF_LANES);
  a.room = round_up(a.width, WIDTH_MULTIPLE);
  a.threads = (float *)call->workspace;
  return a;
}

/* `count` rows of one head times `scale` into a block of BLOCK rows of `padded` floats; zeros around. Element `first` begins row 0. */
VF_INLINE void load_rows_as(float *to, int64_t width, int64_t padded, const void *from, int64_t first, int64_t stride, int64_t count,
                            float scale, int dtype) {
  const vf factor = v_splat(scale);
  const int64_t whole = width / VF_LANES * VF_LANES;
  for (int64_t i = 0; i < count; i++, first += stride, to += padded) {
    for (int64_t d = 0; d < whole; d += VF_LANES) v_store(to + d, v_load_as(from, first + d, dtype) * factor);
    if (whole < width) v_store(to + whole, v_load_first_as(from, first + whole, dtype, width - whole) * factor);
  }
  memset(to, 0, (size_t)((BLOCK - count) * padded) * 4);
}
static void load_rows(const heads_of *a, float *to, const ft_tensor *from, int64_t first, int64_t stride, int64_t count, float scale) {
  switch (from->dtype) {
    case FT_BF16: load_rows_as(to, a->width, a->padded, from->data, first, stride, count, scale, FT_BF16); break;
    case FT_F16: load_rows_as(to, a->width, a->padded, from->data, first, stride, count, scale, FT_F16); break;
    default: load_rows_as(to, a->width, a->padded, from->data, first, stride, count, scale, FT_F32);
  }
}
static void load_queries(const heads_of *a, float *to, const ft_tensor *from, int64_t row, int64_t head, int64_t query, int64_t count,
                         float scale) {
  const int64_t stride = a->heads * a->width;
  load_rows(a, to, from, (row * a->queries + query) * stride + head * a->width, stride, count, scale);
}
static void load_keys(const heads_of *a, float *to, const ft_tensor *from, int64_t row, int64_t head, int64_t key, int64_t count) {
  const int64_t stride = a->kv_heads * a->width, group = a->heads / a->kv_heads;
  load_rows(a, to, from, (row * a->keys + key) * stride + head / group * a->width, stride, count, 1.0f);
}

/* Rows of `padded` floats times one factor each (or one for all) into rows of one head; + what is there already where `add` is set. */
VF_INLINE void store_rows_as(void *to, int64_t first, int64_t stride, const float *from, int64_t width, int64_t padded, int64_t count,
                             const float *factors, int64_t factor_step, bool add, int dtype) {
  const int64_t whole = width / VF_LANES * VF_LANES, rest = width - whole;
  for (int64_t i = 0; i < count; i++, first += stride, from += padded) {
    const vf factor = v_splat(factors[i * factor_step]);
    for (int64_t d = 0; d < whole; d += VF_LANES) {
      const vf x = v_load(from + d) * factor;
      v_store_as(to, first + d, dtype, add ? v_load_as(to, first + d, dtype) + x : x);
    }
    if (rest > 0) {
      const vf x = v_load(from + whole) * factor;
      v_store_first_as(to, first + whole, dtype, add ? v_load_first_as(to, first + whole, dtype, rest) + x : x, rest);
    }
  }
}
static void store_queries(const heads_of *a, const ft_tensor *to, int64_t row, int64_t head, int64_t query, const float *from, int64_t count,
                          const float *factors, int64_t factor_step, bool add) {
  const int64_t stride = a->heads * a->width, first = (row * a->queries + query) * stride + head * a->width;
  switch (to->dtype) { /* only f32 is added to: sums are not rounded on the way */
    case FT_BF16: store_rows_as(to->data, first, stride, from, a->width, a->padded, count, factors, factor_step, false, FT_BF16); break;
    case FT_F16: store_rows_as(to->data, first, stride, from, a->width, a->padded, count, factors, factor_step, false, FT_F16); break;
    default: store_rows_as(to->data, first, stride, from, a->width, a->padded, count, factors, factor_step, add, FT_F32);
  }
}

/*
 * Begins to bring rows begin … end - 1 of one head from memory: they lie far apart, and the loop that reads them waits
 * for few at a time.
 */
static void fetch_rows(const heads_of *a, const ft_tensor *from, int64_t first, int64_t stride, int64_t begin, int64_t end) {
  const int64_t size = from->dtype == FT_F32 ? 4 : 2;
  for (int64_t i = begin; i < end; i++) {
    const char *const at = from->data + (first + i * stride) * size;
    for (int64_t byte = 0; byte < a->width * size; byte += LINE) __builtin_prefetch(at + byte, 0, 2);
  }
}
/* Rows begin … end - 1 of those that load_queries and load_keys would read from token `query` or `key` on. */
static void fetch_queries(const heads_of *a, const ft_tensor *from, int64_t row, int64_t head, int64_t query, int64_t begin, int64_t end) {
  const int64_t stride = a->heads * a->width;
  fetch_rows(a, from, (row * a->queries + query) * stride + head * a->width, stride, begin, least(end, a->queries - query));
}
static void fetch_keys(const heads_of *a, const ft_tensor *from, int64_t row, int64_t head, int64_t key, int64_t begin, int64_t end) {
  const int64_t stride = a->kv_heads * a->width, group = a->heads / a->kv_heads;
  fetch_rows(a, from, (row * a->keys + key) * stride + head / group * a->width, stride, begin, least(end, a->keys - key));
}

/* A block of rows as panels of tile columns, for the products over the head width. */
static void pack_queries(const heads_of *a, float *panels, const float *rows) {
  for (int64_t i = 0; i < BLOCK; i += TILE_COLUMNS) {
    pack_rows(panels + i * a->width, TILE_COLUMNS, rows, i * a->padded, a->padded, FT_F32, BLOCK - i, a->width);
  }
}

/* Queries first … first + queries - 1 against keys key … key + keys - 1, all as positions. */
typedef struct {
  int64_t query, queries, key, keys;
  bool masked; /* some pair is not seen */
  const int32_t *starts; /* BLOCK of them, or NULL */
} block;

/* How many keys of the block the queries up to number `last` of the block may see, documents aside. */
static int64_t seen_keys(const block *b, int64_t last) {
  return most(0, least(b->keys, b->query + least(last, b->queries - 1) - b->key + 1));
}
/* Which keys of the block a vector of its queries sees: numbers low … high. */
typedef struct {
  vi low, high;
} window;

VF_INLINE window window_of(const block *b, int64_t first) {
  vi lanes;
  for (int i = 0; i < VF_LANES; i++) lanes[i] = i;
  const vi low = b->starts == NULL ? v_splat_int(0) : v_load_int(b->starts + first) - v_splat_int((int32_t)b->key);
  return (window){.low = low, .high = lanes + v_splat_int((int32_t)(b->query + first - b->key))};
}
/* -1 where the query sees key number s, else 0. */
VF_INLINE vi sees(window w, int64_t s) {
  const vi key = v_splat_int((int32_t)s);
  return (key <= w.high) & (key >= w.low);
}

/* A panel of queries, from j on, of scores [keys, queries] = keys · query panels; tiles that no query may see are left as they are. */
static void score_strip(const block *b, int64_t j, int64_t width, int64_t padded, const float *keys, const float *queries, float *scores) {
  const int64_t seen = seen_keys(b, j + TILE_COLUMNS - 1);
  for (int64_t i = 0; i < seen; i += TILE_ROWS) {
    tile_product(TILE_ROWS, TILE_VECTORS, width, keys + i * padded, padded, 1, queries + j * width, TILE_COLUMNS,
                 scores + i * BLOCK + j, BLOCK, false);
  }
}

/* c [TILE_ROWS, padded] = or += a · b, two vectors of columns at a time, then one if one is left. */
#define STRIP(name, a_row, a_k)                                                                                           \
  static void name(int64_t depth, int64_t padded, const float *a, const float *b, float *c, bool accumulate) {            \
    int64_t d = 0;                                                                                                        \
    for (; d + TILE_COLUMNS <= padded; d += TILE_COLUMNS) {                                                               \
      tile_product(TILE_ROWS, TILE_VECTORS, depth, a, a_row, a_k, b + d, padded, c + d, padded, accumulate);              \
    }                                                                                                                     \
    if (d < padded) tile_product(TILE_ROWS, 1, depth, a, a_row, a_k, b + d, padded, c + d, padded, accumulate);           \
  }
STRIP(over_keys_strip, 1, BLOCK)
STRIP(over_queries_strip, BLOCK, 1)

/* result [queries, padded] = or += Σ over keys of weights [keys, queries] · values [keys, padded]. */
static void over_keys(const block *b, int64_t padded, const float *weights, const float *values, float *result, bool accumulate) {
  for (int64_t i = 0; i < b->queries; i += TILE_ROWS) {
    over_keys_strip(seen_keys(b, i + TILE_ROWS - 1), padded, weights + i, values, result + i * padded, accumulate);
  }
}
/* result [keys, padded] += Σ over queries of weights [keys, queries] · values [queries, padded]. */
static void over_queries(const block *b, int64_t padded, const float *weights, const float *values, float *result) {
  for (int64_t i = 0; i < b->keys; i += TILE_ROWS) {
    const int64_t first = most(0, b->key + i - b->query);
    if (first >= b->queries) continue;
    over_queries_strip(b->queries - first, padded, weights + i * BLOCK + first, values + first * padded, result + i * padded, true);
  }
}

/* What the queries of a block see: their document starts (padded), the first and last of these. */
typedef struct {
  int32_t starts[BLOCK];
  int64_t first, last;
} sight;

static sight look(const heads_of *a, int64_t row, int64_t query, int64_t queries) {
  sight s = {.starts = {0}, .first = 0, .last = 0};
  for (int64_t i = 0; i < queries && a->starts != NULL; i++) {
    const int32_t start = a->starts[row * a->queries + query + i];
    s.starts[i] = start;
    s.first = i == 0 ? start : least(s.first, start);
    s.last = most(s.last, start);
  }
  return s;
}
static block block_of(const heads_of *a, const sight *s, int64_t query, int64_t queries, int64_t key) {
  block b = {.query = a->offset + query, .queries = queries, .key = key, .starts = a->starts == NULL ? NULL : s->starts};
  b.keys = least(BLOCK, least(a->keys, b.query + queries) - key);
  b.masked = b.key + b.keys - 1 > b.query || s->last > b.key;
  return b;
}

#endif
