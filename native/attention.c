/*
 * Causal attention with grouped key/value heads and document starts: tiled, no T × T tensor. Blocks of keys that no query of a block
 * may see are skipped.  (Milakov & Gimelshein 2018, online softmax; Dao et al. 2022, recomputation from the log-sum-exp.)
 */
#include <math.h>

#include "attention_block.h"

/* `workspaceBytes` in src/devices/cpu/workspace.ts knows these numbers too. They hold for every target. */
#define CHUNK 384         /* backward: keys of one task, while there are fewer than MOST_CHUNKS */
#define MOST_CHUNKS 4
#define PASS_TOKENS 1024  /* backward: as many rows at a time as make this many tokens */
#define FEW_QUERIES 16    /* of a cached call, below which tiles would be mostly padding */
#define SLACK 5.0f        /* how far scores may pass the bound that is subtracted before exp */

/* --- forward --- */

static int64_t forward_floats(const heads_of *a) { return 4 * BLOCK * a->room + BLOCK * BLOCK + 3 * BLOCK; }

/*
 * One step of the online softmax for a strip of queries: scores → exp(scores − bound); sums and bounds go on, `rescale` is what earlier blocks shrink by. The bound
 * of a query is its maximum when it was last raised: less than SLACK below the true one, so that few blocks shrink anything.
 */
VF_INLINE bool softmax_strip_as(const block *b, int64_t j, bool masked, float *scores, float *bounds, float *sums, float *rescale) {
  bool changed = false;
  const int64_t seen = seen_keys(b, j + TILE_COLUMNS - 1);
  float *const strip = scores + j;
  vf bound[TILE_VECTORS], sum[TILE_VECTORS];
  window w[TILE_VECTORS];
  for (int v = 0; v < TILE_VECTORS; v++) {
    bound[v] = v_load(bounds + j + v * VF_LANES);
    w[v] = window_of(b, j + v * VF_LANES);
    vf top = bound[v];
    for (int64_t s = 0; s < seen; s++) {
      float *const at = strip + s * BLOCK + v * VF_LANES;
      vf x = v_load(at);
      if (masked) x = v_select(sees(w[v], s), x, v_splat(-__builtin_inff()));
      top = v_max(x, top);
    }
    const vf before = bound[v] * v_splat(LOG2_E);
    const vi raised = top > bound[v] + v_splat(SLACK);
    v_store(bounds + j + v * VF_LANES, v_select(raised, top, bound[v]));
    bound[v] = v_load(bounds + j + v * VF_LANES) * v_splat(LOG2_E);
    const vf factor = exp2_above(before - bound[v]);
    sum[v] = v_load(sums + j + v * VF_LANES) * factor;
    v_store(rescale + j + v * VF_LANES, factor);
    for (int i = 0; i < VF_LANES; i++) changed |= raised[i] != 0;
  }
  for (int64_t s = 0; s < seen; s++) {
    for (int v = 0; v < TILE_VECTORS; v++) {
      float *const at = strip + s * BLOCK + v * VF_LANES;
      vf p = exp2_above(v_fma(v_load(at), v_splat(LOG2_E), -bound[v]));
      if (masked) p = v_select(sees(w[v], s), p, v_zero());
      v_store(at, p);
      sum[v] += p;
    }
  }
  for (int v = 0; v < TILE_VECTORS; v++) {
    v_store(sums + j + v * VF_LANES, sum[v]);
    for (int64_t s = seen; s < b->keys; s++) v_store(strip + s * BLOCK + v * VF_LANES, v_zero());
  }
  return changed;
}
static bool softmax_strip(const block *b, int64_t j, float *scores, float *bounds, float *sums, float *rescale) {
  if (b->masked) return softmax_strip_as(b, j, true, scores, bounds, sums, rescale);
  return softmax_strip_as(b, j, false, scores, bounds, sums, rescale);
}

typedef struct {
  heads_of a;
  const ft_tensor *o, *lse; /* lse or NULL */
} forward;

/* Task: one block of queries of one head of one row; the last ones, which see most keys, first. */
static void forward_task(void *context, int64_t task, int thread) {
  const forward *f = context;
  const heads_of *a = &f->a;
  const int64_t blocks = ceil_div(a->queries, BLOCK);
  const int64_t query = (blocks - 1 - task / (a->rows * a->heads)) * BLOCK, row = task / a->heads % a->rows, head = task % a->heads;
  const int64_t queries = least(BLOCK, a->queries - query);
  const int64_t size = BLOCK * a->room;
  float *const rows = a->threads + thread * a->thread_floats, *const packed_q = rows + size;
  float *const values = packed_q + size, *const result = values + size, *const scores = result + size;
  float *const maxima = scores + BLOCK * BLOCK, *const sums = maxima + BLOCK, *const rescale = sums + BLOCK;
  const sight s = look(a, row, query, queries);
  load_queries(a, rows, a->q, row, head, query, queries, a->scale);
  pack_queries(a, packed_q, rows);
  for (int64_t i = 0; i < BLOCK; i++) maxima[i] = -1e30f, sums[i] = 0.0f; /* finite: a query may see nothing of its first block */
  const int64_t end = least(a->keys, a->offset + query + queries);
  for (int64_t key = s.first; key < end; key += BLOCK) {
    const block b = block_of(a, &s, query, queries, key);
    load_keys(a, rows, a->k, row, head, key, b.keys);
    load_keys(a, values, a->v, row, head, key, b.keys);
    bool changed = false;
    for (int64_t j = 0; j < queries; j += TILE_COLUMNS) {
      score_strip(&b, j, a->width, a->padded, rows, packed_q, scores);
      fetch_keys(a, a->k, row, head, key + BLOCK, j, j + TILE_COLUMNS);
      fetch_keys(a, a->v, row, head, key + BLOCK, j, j + TILE_COLUMNS);
      changed |= softmax_strip(&b, j, scores, maxima, sums, rescale);
    }
    for (int64_t i = 0; changed && key > s.first && i < queries; i++) {
      for (int64_t d = i * a->padded; d < (i + 1) * a->padded; d += VF_LANES) v_store(result + d, v_load(result + d) * v_splat(rescale[i]));
    }
    over_keys(&b, a->padded, scores, values, result, key > s.first);
  }
  for (int64_t i = 0; i < queries; i++) {
    const int64_t at = (row * a->queries + query + i) * a->heads + head;
    const vf factor = v_splat(1.0f / sums[i]);
    for (int64_t d = 0; d < a->width; d += VF_LANES) {
      const vf o = v_load(result + i * a->padded + d) * factor;
      v_store_first_as(f->o->data, at * a->width + d, f->o->dtype, o, least(VF_LANES, a->width - d));
    }
    if (f->lse != NULL) ((float *)f->lse->data)[at] = maxima[i] + logf(sums[i]);
  }
}

static int64_t forward_bytes(const ft_call *call, int threads) {
  const heads_of a = describe(call);
  return 4 * threads * forward_floats(&a);
}

/*
 * o = softmax(scale · q · kᵀ over s in [documentStart[t], t]) · v, and lse = log Σ exp of the same.
 * q [B,T,H·K], k and v [B,T,G·K] (f32, bf16 or f16), documentStart i32 [B,T] → o [B,T,H·K] (f32, bf16 or f16), lse f32 [B,T,H].
 * attrs: heads, keyValueHeads, headWidth, scale.  2·B·H·T²·K flops; tasks are (block of queries, row, head).
 */
static void attention(const ft_call *call) {
  forward f = {.a = describe(call), .o = &call->out[0], .lse = &call->out[1]};
  f.a.starts = (const int32_t *)call->in[3].data;
  f.a.thread_floats = forward_floats(&f.a);
  ft_parallel(call->pool, ceil_div(f.a.queries, BLOCK) * f.a.rows * f.a.heads, forward_task, &f);
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
    const float rescale = v_exp_nonpositive(v_splat(maximum - highest))[0];
    maximum = highest;
    for (int64_t s = here; s < BLOCK + VF_LANES; s++) scores[s] = -__builtin_inff();
    vf total = v_zero();
    for (int64_t s = 0; s < here; s += VF_LANES) {
      const vf p = v_exp_nonpositive(v_load(scores + s) - v_splat(maximum));
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
  else ft_parallel(call->pool, ceil_div(f.a.queries, BLOCK) * f.a.rows * f.a.heads, forward_task, &f);
}

/* --- backward --- */

/*
 * Keys are cut into `chunks` by length; a task does one chunk of one head of one row, all queries in order. It alone writes its part
 * of dk and dv of the head, and its share of dq: chunk 0 to dq itself, the others to a part of their own. A second loop adds up.
 */
typedef struct {
  heads_of a;
  const ft_tensor *o, *lse, *dout, *dq, *dk, *dv;
  int64_t chunks, chunk, length; /* length: of a row in whole blocks */
  bool rounds;                   /* dq has 16 bits: chunk 0 has a part of its own too, for the sum over chunks to be f32 */
  int64_t row, pass_rows;        /* rows of this pass */
  float *parts;                  /* workspace, see part_of */
} backward;

static backward describe_backward(const ft_call *call) {
  backward w = {.a = describe(call), .o = &call->in[4], .lse = &call->in[5], .dout = &call->in[6]};
  w.dq = &call->out[0], w.dk = &call->out[1], w.dv = &call->out[2];
  const int64_t length = w.a.queries;
  w.length = round_up(length, BLOCK);
  w.chunk = round_up(ceil_div(length, least(MOST_CHUNKS, ceil_div(length, CHUNK))), BLOCK);
  w.chunks = ceil_div(length, w.chunk);
  w.rounds = w.chunks > 1 && w.dq->dtype != FT_F32;
  w.pass_rows = least(w.a.rows, ceil_div(PASS_TOKENS, length));
  w.a.thread_floats = 7 * BLOCK * w.a.room + 2 * BLOCK * BLOCK + 2 * BLOCK;
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
static float *part_of(const backward *w, int64_t row, int64_t head, int64_t part) {
  const int64_t token = part * w->length - w->chunk * part * (part - 1) / 2;
  return w->parts + ((row * w->a.heads + head) * head_tokens(w) + token) * w->a.room;
}

static float *first_part(const backward *w, int64_t row, int64_t head) { return part_of(w, row, head, 0) + sum_tokens(w) * w->a.room; }

/* A strip of scores, dp → P, dS (both [keys, queries]); P = exp(scores − lse), dS = P · (dP − D). */
VF_INLINE void probabilities_as(const block *b, int64_t j, bool masked, float *scores, float *dp, const float *lse, const float *dots) {
  for (const int64_t end = j + TILE_COLUMNS; j < end; j += VF_LANES) {
    const int64_t seen = seen_keys(b, j + VF_LANES - 1);
    const vf l = v_load(lse + j) * v_splat(LOG2_E), dot = v_load(dots + j);
    const window w = window_of(b, j);
    for (int64_t s = 0; s < seen; s++) {
      float *const at = scores + s * BLOCK + j, *const dp_at = dp + s * BLOCK + j;
      vf p = exp2_above(v_fma(v_load(at), v_splat(LOG2_E), -l)), ds = p * (v_load(dp_at) - dot);
      if (masked) {
        const vi mask = sees(w, s);
        p = v_select(mask, p, v_zero());
        ds = v_select(mask, ds, v_zero());
      }
      v_store(at, p);
      v_store(dp_at, ds);
    }
    for (int64_t s = seen; s < b->keys; s++) {
      v_store(scores + s * BLOCK + j, v_zero());
      v_store(dp + s * BLOCK + j, v_zero());
    }
  }
}

static void probabilities(const block *b, int64_t j, float *scores, float *dp, const float *lse, const float *dots) {
  if (b->masked) probabilities_as(b, j, true, scores, dp, lse, dots);
  else probabilities_as(b, j, false, scores, dp, lse, dots);
}

/* Task: one chunk of keys of one head of one row, the first chunks, which most queries see, first. */
static void backward_task(void *context, int64_t task, int thread) {
  const backward *w = context;
  const heads_of *a = &w->a;
  const int64_t chunk = task / (w->pass_rows * a->heads), pass_row = task / a->heads % w->pass_rows, head = task % a->heads;
  const int64_t row = w->row + pass_row, size = BLOCK * a->room;
  if (row >= a->rows) return;
  const int64_t chunk_begin = chunk * w->chunk, chunk_end = least(chunk_begin + w->chunk, a->queries);
  float *const q = a->threads + thread * a->thread_floats, *const dout = q + size;
  float *const packed_q = dout + size, *const packed_dout = packed_q + size, *const k = packed_dout + size, *const rows = k + size;
  float *const dq = rows + size, *const scores = dq + size, *const dp = scores + BLOCK * BLOCK;
  float *const lse = dp + BLOCK * BLOCK, *const dots = lse + BLOCK;
  float *const dk = part_of(w, pass_row, head, 0), *const dv = part_of(w, pass_row, head, 1);
  const size_t chunk_bytes = (size_t)((round_up(chunk_end, BLOCK) - chunk_begin) * a->padded) * 4;
  memset(dk + chunk_begin * a->padded, 0, chunk_bytes);
  memset(dv + chunk_begin * a->padded, 0, chunk_bytes);

  for (int64_t query = chunk_begin; query < a->queries; query += BLOCK) {
    const int64_t queries = least(BLOCK, a->queries - query);
    const sight s = look(a, row, query, queries);
    load_queries(a, q, a->q, row, head, query, queries, a->scale);
    load_queries(a, dout, w->dout, row, head, query, queries, 1.0f);
    load_queries(a, rows, w->o, row, head, query, queries, 1.0f);
    pack_queries(a, packed_q, q);
    pack_queries(a, packed_dout, dout);
    for (int64_t i = 0; i < BLOCK; i++) {
      vf dot = v_zero();
      for (int64_t d = 0; d < a->padded; d += VF_LANES) dot = v_fma(v_load(dout + i * a->padded + d), v_load(rows + i * a->padded + d), dot);
      dots[i] = v_sum(dot);
      lse[i] = i < queries ? ((const float *)w->lse->data)[(row * a->queries + query + i) * a->heads + head] : __builtin_inff();
    }
    memset(dq, 0, (size_t)(BLOCK * a->padded) * 4);
    /* Whole blocks, so that dk and dv are reached at multiples of BLOCK. */
    for (int64_t key = most(chunk_begin, s.first / BLOCK * BLOCK); key < least(chunk_end, query + queries); key += BLOCK) {
      const block b = block_of(a, &s, query, queries, key);
      load_keys(a, k, a->k, row, head, key, b.keys);
      load_keys(a, rows, a->v, row, head, key, b.keys);
      for (int64_t j = 0; j < queries; j += TILE_COLUMNS) {
        score_strip(&b, j, a->width, a->padded, k, packed_q, scores);
        fetch_keys(a, a->k, row, head, key + BLOCK, j, j + TILE_COLUMNS);
        fetch_keys(a, a->v, row, head, key + BLOCK, j, j + TILE_COLUMNS);
        score_strip(&b, j, a->width, a->padded, rows, packed_dout, dp);
        probabilities(&b, j, scores, dp, lse, dots);
      }
      over_queries(&b, a->padded, scores, dout, dv + key * a->padded);
      over_queries(&b, a->padded, dp, q, dk + key * a->padded);
      over_keys(&b, a->padded, dp, k, dq, true);
    }
    float *const parts = chunk > 0 ? part_of(w, pass_row, head, 1 + chunk) : w->rounds ? first_part(w, pass_row, head) : NULL;
    float *const part = parts == NULL ? NULL : parts + query * a->padded;
    for (int64_t i = 0; i < queries; i++) {
      const int64_t at = ((row * a->queries + query + i) * a->heads + head) * a->width;
      for (int64_t d = 0; d < a->padded; d += VF_LANES) {
        const vf x = v_load(dq + i * a->padded + d) * v_splat(a->scale);
        if (part != NULL) v_store(part + i * a->padded + d, x);
        else v_store_first_as(w->dq->data, at + d, w->dq->dtype, x, least(VF_LANES, a->width - d));
      }
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
  return 4 * (threads * w.a.thread_floats + parts_floats(&w));
}

/*
 * Gradients of attention: probabilities again from lse, then dS = P · (dP − D) with D = Σ do · o.
 * q, k, v, documentStart, o, lse as attention's, do [B,T,H·K] → dq [B,T,H·K], dk and dv [B,T,G·K], all f32, bf16 or f16.
 * attrs as attention.  5·B·H·T²·K flops; tasks are (chunk of keys, row, head).
 */
static void attention_backward(const ft_call *call) {
  backward w = describe_backward(call);
  w.a.starts = (const int32_t *)call->in[3].data;
  w.parts = w.a.threads + ft_threads(call->pool) * w.a.thread_floats;
  for (w.row = 0; w.row < w.a.rows; w.row += w.pass_rows) {
    if (ft_cancelled(call->pool)) return;
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
