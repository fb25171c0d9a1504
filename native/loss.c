/* cross_entropy, cross_entropy_backward */
#include "token_loss.h"

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
      sum += weight * token_loss(logits + token * vocabulary, vocabulary, label, lse[token]);
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
    const float factor = weight * ft_floats(&call->in[4])[token / length];
    token_dlogits(logits, dlogits, vocabulary, label, ft_floats(&call->in[2])[token], factor);
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
