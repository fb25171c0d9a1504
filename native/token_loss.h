/* Softmax cross-entropy of one token over its logits: what the loss ops share, bit for bit, whether the logits exist whole or in slices. */
#ifndef FULLTUNE_TOKEN_LOSS_H
#define FULLTUNE_TOKEN_LOSS_H

#include "elements.h"
#include "vector_math.h"

/* Elements whose exponentials are summed in f32 before the sum goes on in f64: few enough that the sum is nearer to the exact one than PyTorch's. */
#define SUM_BLOCK 1024

/* Vectors of which a greatest element is sought at a time: one after the other they would wait for each other. */
#define GREATEST_ABREAST 4

/* The greatest element; NaN is passed over. */
static inline float greatest(const float *x, int64_t n) {
  const vf lowest = v_splat(-INFINITY);
  vf top[GREATEST_ABREAST];
  for (int k = 0; k < GREATEST_ABREAST; k++) top[k] = lowest;
  int64_t i = 0;
  for (; i + GREATEST_ABREAST * VF_LANES <= n; i += GREATEST_ABREAST * VF_LANES) {
    for (int k = 0; k < GREATEST_ABREAST; k++) top[k] = v_greater(v_load(x + i + k * VF_LANES), top[k]);
  }
  FT_EACH_VECTOR(j, rest, i, n, { top[0] = v_greater(v_first_or(v_load_first(x + j, rest), rest, lowest), top[0]); });
  for (int k = 1; k < GREATEST_ABREAST; k++) top[0] = v_greater(top[k], top[0]);
  float most = -INFINITY;
  for (int lane = 0; lane < VF_LANES; lane++) most = top[0][lane] > most ? top[0][lane] : most;
  return most;
}

/* log Σ e^x. The elements after these are asked for, as they are the next token's: what the exponentials take memory can use. */
static inline float log_sum_exp(const float *x, int64_t n) {
  const float top = greatest(x, n);
  const vf offset = v_splat(top);
  double sum = 0;
  for (int64_t start = 0; start < n; start += SUM_BLOCK) {
    const float *block = x + start;
    vf lanes[LANE_VECTORS] = {0};
    FT_EACH_LANE_VECTOR(part, j, rest, 0, ft_min(SUM_BLOCK, n - start), {
      if (j % 16 == 0) __builtin_prefetch(block + n + j, 0, 2);
      lanes[part] += v_first(v_exp2((v_load_first(block + j, rest) - offset) * v_splat(V_LOG2_E)), rest); /* 1e-38 instead of 0 is nothing beside e^0 */
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
  const float hit = label < vocabulary ? (v_exp_share(v_splat(logits[label] - lse))[0] - 1.0f) * factor : 0;
  FT_EACH_VECTOR(i, n, 0, vocabulary, {
    if (i % 16 == 0) __builtin_prefetch(logits + vocabulary + i, 0, 2);
    v_store_first(dlogits + i, v_exp_share(v_load_first(logits + i, n) - v_splat(lse)) * v_splat(factor), n);
  });
  if (label < vocabulary) dlogits[label] = hit;
}

#endif
