/*
 * Causal attention with grouped key/value heads and document starts: tiled, no T × T tensor. Blocks of keys that no query of a block
 * may see are skipped.  (Milakov & Gimelshein 2018, online softmax; Dao et al. 2022, recomputation from the log-sum-exp.)
 */
#include <math.h>

#include "attention_softmax.h"
#include "elements.h"

/* `workspaceBytes` in src/devices/cpu/workspace.ts knows these numbers too. They hold for every target. */
#define SHARERS 4         /* forward: blocks of queries at most that a task takes through the same keys */
#define STRETCH 384       /* backward: keys at a time, a multiple of BLOCK; and of one task, while there are fewer than MOST_CHUNKS */
#define MOST_CHUNKS 4
#define PASS_TOKENS 1024  /* backward: as many rows at a time as make this many tokens */
#define FEW_QUERIES 16    /* of a cached call, below which tiles would be mostly padding */

/* --- forward --- */

static int64_t forward_floats(const heads_of *a) {
  return BLOCK * a->room * (2 + 2 * SHARERS) + BLOCK * BLOCK + BLOCK * (1 + 2 * SHARERS);
}

typedef struct {
  heads_of a;
  const ft_tensor *o, *lse; /* lse or NULL */
  int64_t sharers;
} forward;

/* One block of queries of one head on its way through the keys. */
typedef struct {
  int64_t head, query, queries, first, end; /* keys first … end - 1, in whole blocks but for the last */
  sight sight;
  float *packed_q, *result, *bounds, *sums;
} traveller;

static void begin_travel(const heads_of *a, traveller *t, int64_t row, float *rows) {
  t->queries = least(BLOCK, a->queries - t->query);
  t->sight = look(a, row, t->query, t->queries);
  t->first = t->sight.first / BLOCK * BLOCK;
  t->end = least(a->keys, a->offset + t->query + t->queries);
  load_queries(a, rows, a->q, row, t->head, t->query, t->queries, a->scale);
  pack_queries(a, t->packed_q, rows);
  for (int64_t i = 0; i < BLOCK; i++) t->bounds[i] = LOWEST, t->sums[i] = 0.0f; /* finite: a query may see nothing of its first block */
}

/* `fetch`: bring the next block of keys and values nearer meanwhile; after the last block, what end_travel writes. */
static void travel(const forward *f, const traveller *t, int64_t row, int64_t key, const float *keys, const float *values, float *scores,
                   float *rescale, bool fetch) {
  const heads_of *a = &f->a;
  const bool last = key + BLOCK >= t->end;
  const block b = block_of(a, &t->sight, t->query, t->queries, key);
  bool changed = false;
  for (int64_t j = 0; j < t->queries; j += TILE_COLUMNS) {
    score_strip(&b, j, a->width, a->padded, keys, t->packed_q, scores);
    if (fetch) fetch_keys(a, a->k, row, t->head, key + BLOCK, j, j + TILE_COLUMNS);
    if (fetch) fetch_keys(a, a->v, row, t->head, key + BLOCK, j, j + TILE_COLUMNS);
    if (last) fetch_queries(a, f->o, row, t->head, t->query, j, j + TILE_COLUMNS);
    changed |= softmax_strip(&b, j, scores, t->bounds, t->sums, rescale);
  }
  for (int64_t i = 0; changed && key > t->first && i < t->queries; i++) {
    if (rescale[i] == 1.0f) continue;
    float *const result = t->result + i * a->padded;
    for (int64_t d = 0; d < a->padded; d += VF_LANES) v_store(result + d, v_load(result + d) * v_splat(rescale[i]));
  }
  over_keys(&b, a->padded, scores, values, t->result, key > t->first);
}

static void end_travel(const forward *f, const traveller *t, int64_t row) {
  const heads_of *a = &f->a;
  float factors[BLOCK];
  for (int64_t i = 0; i < t->queries; i++) {
    const bool seen = t->bounds[i] > LOWEST && t->sums[i] > 0; /* else scores are -inf or NaN */
    factors[i] = seen ? 1.0f / t->sums[i] : __builtin_nanf("");
    if (f->lse == NULL) continue;
    float *const lse = (float *)f->lse->data + (row * a->queries + t->query + i) * a->heads + t->head;
    *lse = t->bounds[i] > LOWEST ? t->bounds[i] + logf(t->sums[i]) : -__builtin_inff();
  }
  store_queries(a, f->o, row, t->head, t->query, t->result, t->queries, factors, 1, false);
}

/*
 * Task: a few blocks of queries of the heads that read one key/value head of one row, so that keys and values are loaded once for all.
 * The last blocks, which see most keys, come first.
 */
static void forward_task(void *context, int64_t task, int thread) {
  const forward *f = context;
  const heads_of *a = &f->a;
  const int64_t group = a->heads / a->kv_heads, blocks = ceil_div(a->queries, BLOCK), size = BLOCK * a->room;
  const int64_t row = task / a->kv_heads % a->rows, kv_head = task % a->kv_heads;
  const int64_t unit = task / (a->rows * a->kv_heads) * f->sharers, count = least(f->sharers, blocks * group - unit);
  float *const keys = a->threads + thread * a->thread_floats, *const values = keys + size, *const scores = values + size;
  float *const rescale = scores + BLOCK * BLOCK, *const own = rescale + BLOCK;
  traveller all[SHARERS];
  int64_t first = a->keys, end = 0;
  for (int64_t i = 0; i < count; i++) {
    traveller *const t = &all[i];
    t->head = kv_head * group + (unit + i) % group;
    t->query = (blocks - 1 - (unit + i) / group) * BLOCK;
    fetch_queries(a, a->q, row, t->head, t->query, 0, BLOCK);
  }
  for (int64_t i = 0; i < count; i++) {
    traveller *const t = &all[i];
    t->packed_q = own + i * 2 * (size + BLOCK), t->result = t->packed_q + size;
    t->bounds = t->result + size, t->sums = t->bounds + BLOCK;
    begin_travel(a, t, row, keys);
    first = least(first, t->first), end = most(end, t->end);
  }
  fetch_keys(a, a->k, row, all[0].head, first, 0, BLOCK);
  fetch_keys(a, a->v, row, all[0].head, first, 0, BLOCK);
  for (int64_t key = first; key < end; key += BLOCK) {
    const int64_t loaded = least(BLOCK, least(a->keys, end) - key);
    load_keys(a, keys, a->k, row, all[0].head, key, loaded);
    load_keys(a, values, a->v, row, all[0].head, key, loaded);
    bool fetch = key + BLOCK < end;
    for (int64_t i = 0; i < count; i++) {
      if (key < all[i].first || key >= all[i].end) continue;
      travel(f, &all[i], row, key, keys, values, scores, rescale, fetch);
      fetch = false;
    }
  }
  for (int64_t i = 0; i < count; i++) end_travel(f, &all[i], row);
}

/* How many blocks share a task changes no bits, so that it may depend on the number of threads. */
static void forward_tasks(const ft_call *call, forward *f) {
  const heads_of *a = &f->a;
  const int64_t units = ceil_div(a->queries, BLOCK) * (a->heads / a->kv_heads), all = units * a->rows * a->kv_heads;
  f->sharers = most(1, least(SHARERS, all / (8 * ft_threads(call->pool))));
  ft_parallel(call->pool, ceil_div(units, f->sharers) * a->rows * a->kv_heads, forward_task, f);
}

static int64_t forward_bytes(const ft_call *call, int threads) {
  const heads_of a = describe(call);
  return 4 * threads * forward_floats(&a);
}

/*
 * o = softmax(scale · q · kᵀ over s in [documentStart[t], t]) · v, and lse = log Σ exp of the same.
 * q [B,T,H·K], k and v [B,T,G·K] (f32, bf16 or f16), documentStart i32 [B,T] → o [B,T,H·K] (f32, bf16 or f16), lse f32 [B,T,H].
 * attrs: heads, keyValueHeads, headWidth, scale.  2·B·H·T²·K flops; tasks are (blocks of queries, row, key/value head).
 */
static void attention(const ft_call *call) {
  forward f = {.a = describe(call), .o = &call->out[0], .lse = &call->out[1]};
  f.a.starts = (const int32_t *)call->in[3].data;
  f.a.thread_floats = forward_floats(&f.a);
  forward_tasks(call, &f);
}

/* Task: one query of one head of one row. */
static void cached_task(void *context, int64_t task, int thread) {
  const forward *f = context;
  const heads_of *a = &f->a;
  const int64_t head = task % a->heads, query = task / a->heads % a->queries, row = task / a->heads / a->queries;
  const int64_t stride = a->kv_heads * a->width, group = a->heads / a->kv_heads;
  const int64_t first = row * a->keys * stride + head / group * a->width, keys = least(a->keys, a->offset + query + 1);
  float *const q = a->threads + thread * a->thread_floats, *const result = q + BLOCK * a->room;
  load_queries(a, q, a->q, row, head, query, 1, a->scale);
  memset(result, 0, (size_t)a->padded * 4);
  float maximum = -1e30f, sum = 0.0f;
  for (int64_t key = 0; key < keys; key += BLOCK) {
    float scores[BLOCK + VF_LANES];
    const int64_t here = least(BLOCK, keys - key);
    float highest = maximum;
    for (int64_t s = 0; s < here; s++) {
      vf dot = v_zero();
      for (int64_t d = 0; d < a->width; d += VF_LANES) {
        const vf k = v_load_first_as(a->k->data, first + (key + s) * stride + d, a->k->dtype, least(VF_LANES, a->width - d));
        dot = v_fma(v_load(q + d), k, dot);
      }
      scores[s] = v_sum(dot);
      if (scores[s] > highest) highest = scores[s];
    }
    const float rescale = v_exp(v_splat(maximum - highest))[0];
    maximum = highest;
    for (int64_t s = here; s < BLOCK + VF_LANES; s++) scores[s] = -__builtin_inff();
    vf total = v_zero();
    for (int64_t s = 0; s < here; s += VF_LANES) {
      const vf p = v_exp(v_load(scores + s) - v_splat(maximum));
      v_store(scores + s, p);
      total += p;
    }
    sum = sum * rescale + v_sum(total);
    for (int64_t d = 0; d < a->width; d += VF_LANES) {
      vf o = v_load(result + d) * v_splat(rescale);
      for (int64_t s = 0; s < here; s++) {
        const vf v = v_load_first_as(a->v->data, first + (key + s) * stride + d, a->v->dtype, least(VF_LANES, a->width - d));
        o = v_fma(v_splat(scores[s]), v, o);
      }
      v_store(result + d, o);
    }
  }
  const int64_t at = ((row * a->queries + query) * a->heads + head) * a->width;
  for (int64_t d = 0; d < a->width; d += VF_LANES) {
    v_store_first_as(f->o->data, at + d, f->o->dtype, v_load(result + d) * v_splat(1.0f / sum), least(VF_LANES, a->width - d));
  }
}

/*
 * Attention of new tokens to a cache that already holds them: query t, at position cacheLength + t, sees slots s <= cacheLength + t.
 * q [B,T,H·K], kCache and vCache [B,C,G·K] (f32, bf16 or f16), cacheLength i32 [1] → o [B,T,H·K].  attrs as attention.
 * 4·B·H·T·cacheLength·K flops; tasks are (row, query, head), or as attention's where there are many queries.
 */
static void attention_cached(const ft_call *call) {
  forward f = {.a = describe(call), .o = &call->out[0]};
  f.a.offset = *(const int32_t *)call->in[3].data;
  f.a.thread_floats = forward_floats(&f.a);
  if (f.a.queries < FEW_QUERIES) ft_parallel(call->pool, f.a.rows * f.a.queries * f.a.heads, cached_task, &f);
  else forward_tasks(call, &f);
}

/* --- backward --- */

/*
 * Keys are cut into `chunks` by length; a task does one chunk of one head of one row, all queries in order. It alone writes its part
 * of dk and dv of the head, and its share of dq: chunk 0 to dq itself, the others to a part of their own. A second loop adds up.
 */
typedef struct {
  heads_of a;
  const ft_tensor *o, *lse, *dout, *dq, *dk, *dv;
  int64_t chunks, chunk, stretch, length; /* length: of a row in whole blocks */
  bool rounds;                   /* dq has 16 bits: chunk 0 has a part of its own too, for the sum over chunks to be f32 */
  int64_t row, pass_rows;        /* rows of this pass */
  float *dots;                   /* workspace: D of [row, head, token] */
  float *parts;                  /* workspace, see part_of */
} backward;

static backward describe_backward(const ft_call *call) {
  backward w = {.a = describe(call), .o = &call->in[4], .lse = &call->in[5], .dout = &call->in[6]};
  w.dq = &call->out[0], w.dk = &call->out[1], w.dv = &call->out[2];
  const int64_t length = w.a.queries;
  w.length = round_up(length, BLOCK);
  w.chunk = round_up(ceil_div(length, least(MOST_CHUNKS, ceil_div(length, STRETCH))), BLOCK);
  w.stretch = round_up(ceil_div(w.chunk, ceil_div(w.chunk, STRETCH)), BLOCK);
  w.chunks = ceil_div(length, w.chunk);
  w.rounds = w.chunks > 1 && w.dq->dtype != FT_F32;
  w.pass_rows = least(w.a.rows, ceil_div(PASS_TOKENS, length));
  w.a.thread_floats = (5 * BLOCK + 2 * STRETCH) * w.a.room + 2 * BLOCK * BLOCK + 2 * BLOCK;
  return w;
}
/*
 * Workspace of a head: dk, dv, and of dq the part of every chunk c but the first, which begins at token c · chunk:
 * [row, head, tokens of all parts, width]. Part 0 is dk, 1 dv, 1 + c that of chunk c; part_of gives where its token 0 lies or would lie.
 * Where dq is rounded, chunk 0's part comes last (first_part).
 */
static int64_t sum_tokens(const backward *w) { return (w->chunks + 1) * w->length - w->chunk * w->chunks * (w->chunks - 1) / 2; }
static int64_t head_tokens(const backward *w) { return sum_tokens(w) + (w->rounds ? w->length : 0); }
static int64_t parts_floats(const backward *w) { return w->pass_rows * w->a.heads * head_tokens(w) * w->a.room; }
static int64_t dots_floats(const backward *w) { return w->pass_rows * w->a.heads * w->length; }
static float *part_of(const backward *w, int64_t row, int64_t head, int64_t part) {
  const int64_t token = part * w->length - w->chunk * part * (part - 1) / 2;
  return w->parts + ((row * w->a.heads + head) * head_tokens(w) + token) * w->a.room;
}

static float *first_part(const backward *w, int64_t row, int64_t head) { return part_of(w, row, head, 0) + sum_tokens(w) * w->a.room; }

/* Task: D of one block of tokens of one row, all heads. */
static void dots_task(void *context, int64_t task, int thread) {
  (void)thread;
  const backward *w = context;
  const heads_of *a = &w->a;
  const int64_t blocks = w->length / BLOCK, pass_row = task / blocks, begin = task % blocks * BLOCK, row = w->row + pass_row;
  if (row >= a->rows) return;
  for (int64_t t = begin; t < least(begin + BLOCK, a->queries); t++) {
    for (int64_t head = 0; head < a->heads; head++) {
      const int64_t at = ((row * a->queries + t) * a->heads + head) * a->width;
      vf dot[LANE_VECTORS] = {0};
      FT_EACH_LANE_VECTOR(part, d, n, 0, a->width, {
        dot[part] = v_fma(v_load_first_as(w->dout->data, at + d, w->dout->dtype, n), v_load_first_as(w->o->data, at + d, w->o->dtype, n), dot[part]);
      });
      w->dots[(pass_row * a->heads + head) * w->length + t] = ft_sum_lane_vectors(dot);
    }
  }
}

/* dq · scale of a block of queries and a stretch of keys to where it is kept: `part` (the block's first row), else dq itself. */
static void keep_dq(const backward *w, const float *dq, float *part, int64_t row, int64_t head, int64_t query, int64_t queries, bool add) {
  const heads_of *a = &w->a;
  if (part == NULL) store_queries(a, w->dq, row, head, query, dq, queries, &a->scale, 0, add);
  else store_rows_as(part, 0, a->padded, dq, a->padded, a->padded, queries, &a->scale, 0, add, FT_F32);
}

/* Task: one chunk of keys of one head of one row, the first chunks, which most queries see, first; in stretches that stay in the cache. */
static void backward_task(void *context, int64_t task, int thread) {
  const backward *w = context;
  const heads_of *a = &w->a;
  const int64_t chunk = task / (w->pass_rows * a->heads), pass_row = task / a->heads % w->pass_rows, head = task % a->heads;
  const int64_t row = w->row + pass_row, size = BLOCK * a->room;
  if (row >= a->rows) return;
  const int64_t chunk_begin = chunk * w->chunk, chunk_end = least(chunk_begin + w->chunk, a->queries);
  float *const q = a->threads + thread * a->thread_floats, *const dout = q + size;
  float *const packed_q = dout + size, *const packed_dout = packed_q + size, *const dq = packed_dout + size;
  float *const scores = dq + size, *const dp = scores + BLOCK * BLOCK, *const lse = dp + BLOCK * BLOCK, *const dots = lse + BLOCK;
  float *const keys = dots + BLOCK, *const values = keys + STRETCH * a->room;
  float *const dk = part_of(w, pass_row, head, 0), *const dv = part_of(w, pass_row, head, 1);
  float *const parts = chunk > 0 ? part_of(w, pass_row, head, 1 + chunk) : w->rounds ? first_part(w, pass_row, head) : NULL;

  for (int64_t begin = chunk_begin; begin < chunk_end; begin += w->stretch) {
    const int64_t end = least(begin + w->stretch, chunk_end);
    for (int64_t key = begin; key < end; key += BLOCK) {
      const int64_t count = least(BLOCK, end - key);
      fetch_keys(a, a->k, row, head, key, 0, count);
      fetch_keys(a, a->v, row, head, key, 0, count);
      load_keys(a, keys + (key - begin) * a->padded, a->k, row, head, key, count);
      load_keys(a, values + (key - begin) * a->padded, a->v, row, head, key, count);
    }
    const size_t bytes = (size_t)((round_up(end, BLOCK) - begin) * a->padded) * 4;
    memset(dk + begin * a->padded, 0, bytes);
    memset(dv + begin * a->padded, 0, bytes);
    for (int64_t query = begin; query < a->queries; query += BLOCK) {
      const int64_t queries = least(BLOCK, a->queries - query);
      const sight s = look(a, row, query, queries);
      float *const part = parts == NULL ? NULL : parts + query * a->padded;
      const int64_t first = most(begin, s.first / BLOCK * BLOCK), last = least(end, query + queries);
      if (first >= last && begin > chunk_begin) continue;
      memset(dq, 0, (size_t)(BLOCK * a->padded) * 4);
      if (first < last) {
        if (query == begin) fetch_queries(a, a->q, row, head, query, 0, BLOCK);
        if (query == begin) fetch_queries(a, w->dout, row, head, query, 0, BLOCK);
        load_queries(a, q, a->q, row, head, query, queries, a->scale);
        load_queries(a, dout, w->dout, row, head, query, queries, 1.0f);
        pack_queries(a, packed_q, q);
        pack_queries(a, packed_dout, dout);
        memcpy(dots, w->dots + (pass_row * a->heads + head) * w->length + query, (size_t)queries * 4);
        for (int64_t i = queries; i < BLOCK; i++) dots[i] = 0.0f;
        for (int64_t i = 0; i < BLOCK; i++) {
          lse[i] = i < queries ? ((const float *)w->lse->data)[(row * a->queries + query + i) * a->heads + head] : __builtin_inff();
        }
      }
      for (int64_t key = first; key < last; key += BLOCK) {
        const block b = block_of(a, &s, query, queries, key);
        const float *const k = keys + (key - begin) * a->padded, *const v = values + (key - begin) * a->padded;
        for (int64_t j = 0; j < queries; j += TILE_COLUMNS) {
          score_strip(&b, j, a->width, a->padded, k, packed_q, scores);
          score_strip(&b, j, a->width, a->padded, v, packed_dout, dp);
          if (key == first) {
            fetch_queries(a, a->q, row, head, query + BLOCK, j, j + TILE_COLUMNS);
            fetch_queries(a, w->dout, row, head, query + BLOCK, j, j + TILE_COLUMNS);
            if (part == NULL) fetch_queries(a, w->dq, row, head, query, j, j + TILE_COLUMNS);
          }
          probabilities(&b, j, scores, dp, lse, dots);
        }
        over_queries(&b, a->padded, scores, dout, dv + key * a->padded);
        over_queries(&b, a->padded, dp, q, dk + key * a->padded);
        over_keys(&b, a->padded, dp, k, dq, true);
      }
      keep_dq(w, dq, part, row, head, query, queries, begin > chunk_begin);
    }
  }
}

/* Task: one block of tokens of one row and key/value head: dk and dv over its query heads in order; dq over chunks in order. */
static void add_up(void *context, int64_t task, int thread) {
  (void)thread;
  const backward *w = context;
  const heads_of *a = &w->a;
  const int64_t blocks = w->length / BLOCK, group = a->heads / a->kv_heads;
  const int64_t pass_row = task / (blocks * a->kv_heads), kv_head = task / blocks % a->kv_heads, begin = task % blocks * BLOCK;
  const int64_t row = w->row + pass_row;
  if (row >= a->rows) return;
  const int64_t count = least(BLOCK, a->queries - begin), head_floats = head_tokens(w) * a->room;
  for (int64_t which = 0; which < 2; which++) {
    const ft_tensor *const out = which == 0 ? w->dk : w->dv;
    const float *const first = part_of(w, pass_row, kv_head * group, which) + begin * a->padded;
    for (int64_t t = 0; t < count; t++) {
      const int64_t at = ((row * a->queries + begin + t) * a->kv_heads + kv_head) * a->width;
      for (int64_t d = 0; d < a->width; d += VF_LANES) {
        const float *const from = first + t * a->padded + d;
        vf sum = v_load(from);
        for (int64_t h = 1; h < group; h++) sum += v_load(from + h * head_floats);
        v_store_first_as(out->data, at + d, out->dtype, sum, least(VF_LANES, a->width - d));
      }
    }
  }
  for (int64_t head = kv_head * group; w->chunks > 1 && head < (kv_head + 1) * group; head++) {
    const float *const first = w->rounds ? first_part(w, pass_row, head) + begin * a->padded : NULL;
    const float *others[MOST_CHUNKS];
    int64_t used = 1; /* chunks that have a part of these queries, which stand before no key of the block's own chunk */
    for (; used < w->chunks && used * w->chunk <= begin; used++) others[used] = part_of(w, pass_row, head, 1 + used) + begin * a->padded;
    if (used == 1 && first == NULL) continue;
    for (int64_t t = 0; t < count; t++) {
      const int64_t at = ((row * a->queries + begin + t) * a->heads + head) * a->width;
      for (int64_t d = 0; d < a->width; d += VF_LANES) {
        const int64_t n = least(VF_LANES, a->width - d), in = t * a->padded + d;
        vf sum = first != NULL ? v_load(first + in) : v_load_first((const float *)w->dq->data + at + d, n);
        for (int64_t c = 1; c < used; c++) sum += v_load(others[c] + in);
        v_store_first_as(w->dq->data, at + d, w->dq->dtype, sum, n);
      }
    }
  }
}

static int64_t backward_bytes(const ft_call *call, int threads) {
  const backward w = describe_backward(call);
  return 4 * (threads * w.a.thread_floats + dots_floats(&w) + parts_floats(&w));
}

/*
 * Gradients of attention: probabilities again from lse, then dS = P · (dP − D) with D = Σ do · o.
 * q, k, v, documentStart, o, lse as attention's, do [B,T,H·K] → dq [B,T,H·K], dk and dv [B,T,G·K], all f32, bf16 or f16.
 * attrs as attention.  5·B·H·T²·K flops; tasks are (chunk of keys, row, head).
 */
static void attention_backward(const ft_call *call) {
  backward w = describe_backward(call);
  w.a.starts = (const int32_t *)call->in[3].data;
  w.dots = w.a.threads + ft_threads(call->pool) * w.a.thread_floats;
  w.parts = w.dots + dots_floats(&w);
  for (w.row = 0; w.row < w.a.rows; w.row += w.pass_rows) {
    if (ft_cancelled(call->pool)) return;
    ft_parallel(call->pool, w.pass_rows * (w.length / BLOCK), dots_task, &w);
    ft_parallel(call->pool, w.chunks * w.pass_rows * w.a.heads, backward_task, &w);
    ft_parallel(call->pool, w.pass_rows * w.a.kv_heads * (w.length / BLOCK), add_up, &w);
  }
}

const ft_entry FT_NAME(attention_entries)[] = {
    {"attention", attention, forward_bytes},
    {"attention_cached", attention_cached, forward_bytes},
    {"attention_backward", attention_backward, backward_bytes},
    {NULL, NULL, NULL},
};
