/* Softmax cross-entropy of one token over its logits: what the loss ops share, bit for bit, whether the logits exist whole or in slices. */
#ifndef FULLTUNE_TOKEN_LOSS_H
#define FULLTUNE_TOKEN_LOSS_H

#include "exponential.h"
#include "rows.h"

/* Elements whose exponentials are summed in f32 before the sum goes on in f64. */
#define SUM_BLOCK 4096

/* log Σ e^x */
static inline float log_sum_exp(const float *x, int64_t n) {
  const float top = ft_max(x, n);
  double sum = 0;
  for (int64_t start = 0; start < n; start += SUM_BLOCK) {
    const int64_t end = ft_min(n, start + SUM_BLOCK);
    float lanes[LANES] = {0};
    int64_t i = start;
    for (; i + LANES <= end; i += LANES) {
      for (int j = 0; j < LANES; j++) lanes[j] += ft_exp_nonpositive(x[i + j] - top);
    }
    for (int j = 0; i < end; i++, j++) lanes[j] += ft_exp_nonpositive(x[i] - top);
    sum += (double)ft_sum_lanes(lanes);
  }
  return (float)((double)top + log(sum));
}

/* lse − logit[label], in f64; NaN for a label outside the vocabulary. */
static inline double token_loss(const float *logits, int64_t vocabulary, int64_t label, float lse) {
  return label < vocabulary ? (double)lse - (double)logits[label] : (double)NAN;
}

/* dlogits = (e^(logit − lse) − onehot) · factor; may overwrite logits. */
static inline void token_dlogits(const float *logits, float *dlogits, int64_t vocabulary, int64_t label, float lse, float factor) {
  const float hit = label < vocabulary ? (ft_exp_nonpositive(logits[label] - lse) - 1.0f) * factor : 0;
  FT_ELEMENTWISE
  for (int64_t i = 0; i < vocabulary; i++) dlogits[i] = ft_exp_nonpositive(logits[i] - lse) * factor;
  if (label < vocabulary) dlogits[label] = hit;
}

#endif
