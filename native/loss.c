/* cross_entropy, cross_entropy_backward */
#include "exponential.h"
#include "rows.h"

/* Elements whose exponentials are summed in f32 before the sum goes on in f64. */
#define SUM_BLOCK 4096

/* log Σ e^x */
static float log_sum_exp(const float *x, int64_t n) {
  const float top = ft_max(x, n);
  double sum = 0;
  for (int64_t start = 0; start < n; start += SUM_BLOCK) {
    const int64_t end = ft_min(n, start + SUM_BLOCK);
    float lanes[LANES] = {0};
    int64_t i = start;
    for (; i + LANES <= end; i += LANES) {
      for (int j = 0; j < LANES; j++) lanes[j] += ft_exp(x[i + j] - top);
    }
    for (int j = 0; i < end; i++, j++) lanes[j] += ft_exp(x[i] - top);
    sum += (double)ft_sum_lanes(lanes);
  }
  return (float)((double)top + log(sum));
}

/* logits [B,T,V], labels i32 [B,T], lossWeight f32 [1] → rowLoss f32 [B], lse f32 [B,T] */
static void lse_tokens(const ft_call *call, int64_t from, int64_t to) {
  const int64_t vocabulary = ft_width(&call->in[0]);
  const float *logits = ft_floats(&call->in[0]);
  float *lse = ft_floats(&call->out[1]);
  for (int64_t token = from; token < to; token++) lse[token] = log_sum_exp(logits + token * vocabulary, vocabulary);
}

static void cross_entropy(const ft_call *call) {
  const int64_t rows = call->in[0].shape[0], length = call->in[0].shape[1], vocabulary = call->in[0].shape[2];
  ft_for_rows(call, rows * length, vocabulary * 8, lse_tokens);
  const float *logits = ft_floats(&call->in[0]), *lse = ft_floats(&call->out[1]);
  const int32_t *labels = ft_ints(&call->in[1]);
  const double weight = (double)ft_floats(&call->in[2])[0];
  for (int64_t row = 0; row < rows; row++) {
    double sum = 0;
    for (int64_t token = row * length; token < (row + 1) * length; token++) {
      const int64_t label = labels[token];
      if (label < 0) continue;
      /* weighted one by one: a row without labels gives 0 whatever the weight (1 / 0 when an update has none) */
      sum += label < vocabulary ? weight * ((double)lse[token] - (double)logits[token * vocabulary + label]) : (double)NAN;
    }
    ft_floats(&call->out[0])[row] = (float)sum;
  }
}

/* logits, labels, lse, lossWeight, dRowLoss f32 [B] → dlogits = (e^(logit − lse) − onehot) · lossWeight · dRowLoss; may overwrite logits */
static void dlogits_tokens(const ft_call *call, int64_t from, int64_t to) {
  const int64_t length = call->in[0].shape[1], vocabulary = call->in[0].shape[2];
  const int32_t *labels = ft_ints(&call->in[1]);
  const float weight = ft_floats(&call->in[3])[0];
  for (int64_t token = from; token < to; token++) {
    const float *logits = ft_floats(&call->in[0]) + token * vocabulary;
    float *dlogits = ft_floats(&call->out[0]) + token * vocabulary;
    const int64_t label = labels[token];
    if (label < 0) {
      memset(dlogits, 0, (size_t)vocabulary * sizeof *dlogits);
      continue;
    }
    const float lse = ft_floats(&call->in[2])[token];
    const float factor = weight * ft_floats(&call->in[4])[token / length];
    const float hit = label < vocabulary ? (ft_exp(logits[label] - lse) - 1.0f) * factor : 0;
    FT_ELEMENTWISE
    for (int64_t i = 0; i < vocabulary; i++) dlogits[i] = ft_exp(logits[i] - lse) * factor;
    if (label < vocabulary) dlogits[label] = hit;
  }
}

static void cross_entropy_backward(const ft_call *call) {
  ft_for_rows(call, call->in[1].count, ft_width(&call->in[0]) * 8, dlogits_tokens);
}

extern const ft_entry FT_NAME(loss_entries)[];
const ft_entry FT_NAME(loss_entries)[] = {
    {"cross_entropy", cross_entropy, NULL},
    {"cross_entropy_backward", cross_entropy_backward, NULL},
    {NULL, NULL, NULL},
};
