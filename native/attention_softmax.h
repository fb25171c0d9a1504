/* What happens to scores between the products: exponentials and their sums forward, probabilities and their gradients backward. */
#ifndef FULLTUNE_ATTENTION_SOFTMAX_H
#define FULLTUNE_ATTENTION_SOFTMAX_H

#include "attention_block.h"
#include "vector_math.h"

#define LOWEST (-1e30f)   /* bound of a query that has seen nothing */
#define SLACK 5.0f        /* how far scores may pass the bound that is subtracted before exp */

/*
 * One step of the online softmax for a strip of queries: scores → exp(scores − bound); sums and bounds go on, `rescale` is what earlier
 * blocks shrink by. The bound of a query is its maximum when it was last raised: less than SLACK below the true one, so that few
 * blocks shrink anything.
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
    const vf before = bound[v] * v_splat(V_LOG2_E);
    const vi raised = top > bound[v] + v_splat(SLACK);
    v_store(bounds + j + v * VF_LANES, v_select(raised, top, bound[v]));
    bound[v] = v_load(bounds + j + v * VF_LANES) * v_splat(V_LOG2_E);
    const vf factor = v_exp2(before - bound[v]);
    sum[v] = v_load(sums + j + v * VF_LANES) * factor;
    v_store(rescale + j + v * VF_LANES, factor);
    for (int i = 0; i < VF_LANES; i++) changed |= raised[i] != 0;
  }
  for (int64_t s = 0; s < seen; s++) {
    for (int v = 0; v < TILE_VECTORS; v++) {
      float *const at = strip + s * BLOCK + v * VF_LANES;
      vf p = v_exp2(v_fma(v_load(at), v_splat(V_LOG2_E), -bound[v]));
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

/* A strip of scores, dp → P, dS (both [keys, queries]); P = exp(scores − lse), dS = P · (dP − D). */
VF_INLINE void probabilities_as(const block *b, int64_t j, bool masked, float *scores, float *dp, const float *lse, const float *dots) {
  for (const int64_t end = j + TILE_COLUMNS; j < end; j += VF_LANES) {
    const int64_t seen = seen_keys(b, j + VF_LANES - 1);
    const vf l = v_load(lse + j) * v_splat(V_LOG2_E), dot = v_load(dots + j);
    const window w = window_of(b, j);
    for (int64_t s = 0; s < seen; s++) {
      float *const at = scores + s * BLOCK + j, *const dp_at = dp + s * BLOCK + j;
      vf p = v_exp2(v_fma(v_load(at), v_splat(V_LOG2_E), -l)), ds = p * (v_load(dp_at) - dot);
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

#endif
