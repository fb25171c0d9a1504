/* Softmax cross-entropy of one token over its logits: what the loss ops share, bit for bit, whether the logits exist whole or in slices. */
#ifndef FULLTUNE_TOKEN_LOSS_H
#define FULLTUNE_TOKEN_LOSS_H

#include "elements.h"
#include "vector_math.h"

/* Elements whose exponentials are summed in f32 before the sum goes on in f64. */
#define SUM_BLOCK 4096

/* The greatest element; NaN is passed over. */
static inline float greatest(const float *x, int64_t n) {
  vf lanes[LANE_VECTORS];
  for (int part = 0; part < LANE_VECTORS; part++) lanes[part] = v_splat(-INFINITY);
  FT_EACH_LANE_VECTOR(part, j, rest, 0, n, {
    const vf next = rest == VF_LANES ? v_load(x + j) : v_select(v_lane_index() < v_splat_int((int32_t)rest), v_load_first(x + j, rest), lanes[part]);
    lanes[part] = v_select(next > lanes[part], next, lanes[part]);
  });
  float top = -INFINITY;
  for (int part = 0; part < LANE_VECTORS; part++) {
    for (int i = 0; i < VF_LANES; i++) top = lanes[part][i] > top ? lanes[part][i] : top;
  }
  return top;
}

/* log Σ e^x. The elements after these are asked for, as they are the next token's: what the exponentials take memory can use. */
static inline float log_sum_exp(const float *x, int64_t n) {
  const float top = greatest(x, n);
  const vf lowest = v_splat(V_EXP_LOW), offset = v_splat(top);
  double sum = 0;
  for (int64_t start = 0; start < n; start += SUM_BLOCK) {
    const float *block = x + start;
    vf lanes[LANE_VECTORS] = {0};
    FT_EACH_LANE_VECTOR(part, j, rest, 0, ft_min(SUM_BLOCK, n - start), {
      if (j % 16 == 0) __builtin_prefetch(block + n + j, 0, 2);
      lanes[part] += v_first(v_exp_inside(v_max(lowest, v_load_first(block + j, rest) - offset)), rest); /* 1e-38 instead of 0 is nothing beside e^0 */
    });
    sum += (double)ft_sum_lane_vectors(lanes);
  }
  return (float)((double)top + log(sum));
}

/* lse − logit[label], in f64; NaN for a label outside the vocabulary. */
static inline double token_loss(const float *logits, int64_t vocabulary, int64_t label, float lse) {
  return label < vocabulary ? (double)lse - (double)logits[label] : (double)NAN;
}

/* dlogits = (e^(logit − lse) − onehot) · factor; may overwrite logits. Asks for the next token's as log_sum_exp does. */
static inline void token_dlogits(const float *logits, float *dlogits, int64_t vocabulary, int64_t label, float lse, float factor) {
  const float hit = label < vocabulary ? (v_exp(v_splat(logits[label] - lse))[0] - 1.0f) * factor : 0;
  FT_EACH_VECTOR(i, n, 0, vocabulary, {
    if (i % 16 == 0) __builtin_prefetch(logits + vocabulary + i, 0, 2);
    v_store_first(dlogits + i, v_exp(v_load_first(logits + i, n) - v_splat(lse)) * v_splat(factor), n);
  });
  if (label < vocabulary) dlogits[label] = hit;
}

#endif
