/* Softmax cross-entropy of one token over its logits: what the loss ops share, bit for bit, whether the logits exist whole or in slices. */
#ifndef FULLTUNE_TOKEN_LOSS_H
#define FULLTUNE_TOKEN_LOSS_H

#include "elements.h"
#include "vector_math.h"

/* Elements whose exponentials are summed in f32 before the sum goes on in f64. */
#define SUM_BLOCK 4096

/* log Σ e^x */
static inline float log_sum_exp(const float *x, int64_t n) {
  const float top = ft_max(x, n);
  double sum = 0;
  for (int64_t start = 0; start < n; start += SUM_BLOCK) {
    const float *block = x + start;
    vf lanes[LANE_VECTORS] = {0};
    FT_EACH_LANE_VECTOR(part, j, rest, ft_min(SUM_BLOCK, n - start), {
      lanes[part] += v_first(v_exp(v_load_first(block + j, rest) - v_splat(top)), rest);
    });
    sum += (double)ft_sum_lane_vectors(lanes);
  }
  return (float)((double)top + log(sum));
}

/* lse − logit[label], in f64; NaN for a label outside the vocabulary. */
static inline double token_loss(const float *logits, int64_t vocabulary, int64_t label, float lse) {
  return label < vocabulary ? (double)lse - (double)logits[label] : (double)NAN;
}

/* dlogits = (e^(logit − lse) − onehot) · factor; may overwrite logits. */
static inline void token_dlogits(const float *logits, float *dlogits, int64_t vocabulary, int64_t label, float lse, float factor) {
  const float hit = label < vocabulary ? (v_exp(v_splat(logits[label] - lse))[0] - 1.0f) * factor : 0;
  FT_EACH_VECTOR(i, n, 0, vocabulary, {
    v_store_first(dlogits + i, v_exp(v_load_first(logits + i, n) - v_splat(lse)) * v_splat(factor), n);
  });
  if (label < vocabulary) dlogits[label] = hit;
}

#endif
