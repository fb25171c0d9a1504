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
#define PANEL_ROWS 128    /* what BLOCK rows take in panels of rows, at most */
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
static void load_rows(const heads_of *a, float *to, const ft_tensor *from, int64_t first, int64_t stride, int64_t count, float scale) {
  const vf factor = v_splat(scale);
  for (int64_t i = 0; i < count; i++) {
    for (int64_t d = 0; d < a->padded; d += VF_LANES) {
      const int64_t n = least(VF_LANES, a->width - d), at = first + i * stride + d;
      const vf x = n == VF_LANES ? v_load_as(from->data, at, from->dtype) : v_load_first_as(from->data, at, from->dtype, n);
      v_store(to + i * a->padded + d, x * factor);
    }
  }
  memset(to + count * a->padded, 0, (size_t)((BLOCK - count) * a->padded) * 4);
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

/* A block of rows as panels of tile columns (queries) or of tile rows (keys), for the products over the head width. */
static void pack_queries(const heads_of *a, float *panels, const float *rows) {
  for (int64_t i = 0; i < BLOCK; i += TILE_COLUMNS) {
    pack_rows(panels + i * a->width, TILE_COLUMNS, rows, i * a->padded, a->padded, FT_F32, BLOCK - i, a->width);
  }
}
static void pack_keys(const heads_of *a, float *panels, const float *rows) {
  for (int64_t i = 0; i < BLOCK / TILE_ROWS; i++) {
    const int64_t first = i * TILE_ROWS;
    pack_rows(panels + i * ROW_PANEL * a->width, ROW_PANEL, rows, first * a->padded, a->padded, FT_F32, BLOCK - first, a->width);
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
/* -1 where query lane + … may see key number s of the block. */
VF_INLINE vi sees(const block *b, int64_t first, int64_t s) {
  vi positions;
  for (int i = 0; i < VF_LANES; i++) positions[i] = i;
  positions += v_splat_int((int32_t)(b->query + first));
  const vi key = v_splat_int((int32_t)(b->key + s));
  return b->starts == NULL ? positions >= key : (positions >= key) & (v_load_int(b->starts + first) <= key);
}

/* scores [keys, queries] = key panels · query panels; tiles that no query may see are left as they are. */
static void score(const block *b, int64_t width, const float *keys, const float *queries, float *scores) {
  for (int64_t j = 0; j < b->queries; j += TILE_COLUMNS) {
    const int64_t seen = seen_keys(b, j + TILE_COLUMNS - 1);
    for (int64_t i = 0; i * TILE_ROWS < seen; i++) {
      tile_product(TILE_ROWS, TILE_VECTORS, width, keys + i * ROW_PANEL * width, 1, ROW_PANEL, queries + j * width, TILE_COLUMNS,
                   scores + i * TILE_ROWS * BLOCK + j, BLOCK, false);
    }
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
