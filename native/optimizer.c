/* adamw, sgd, and the gradient norm: sum_squares, global_norm */
#include "rows.h"

/* --- sum_squares: x → y f32 [1] --- */

#define BLOCK 4096
#define DOUBLE_LANES 8

/* Σ x² of blocks `from` … `to` - 1, each into its place in the workspace. */
static void sum_square_blocks(const ft_call *call, int64_t from, int64_t to) {
  double *sums = (double *)(void *)call->workspace;
  for (int64_t block = from; block < to; block++) {
    const float *x = ft_floats(&call->in[0]) + block * BLOCK;
    const int64_t n = ft_min(BLOCK, call->in[0].count - block * BLOCK);
    double lanes[DOUBLE_LANES] = {0};
    int64_t i = 0;
    for (; i + DOUBLE_LANES <= n; i += DOUBLE_LANES) {
      for (int j = 0; j < DOUBLE_LANES; j++) lanes[j] += (double)x[i + j] * (double)x[i + j];
    }
    for (int j = 0; i < n; i++, j++) lanes[j] += (double)x[i] * (double)x[i];
    for (int half = DOUBLE_LANES / 2; half >= 1; half /= 2) {
      for (int j = 0; j < half; j++) lanes[j] += lanes[j + half];
    }
    sums[block] = lanes[0];
  }
}

static void sum_squares(const ft_call *call) {
  const int64_t blocks = ft_ceil_div(call->in[0].count, BLOCK);
  ft_for_rows(call, blocks, BLOCK * 4, sum_square_blocks);
  double sum = 0;
  for (int64_t block = 0; block < blocks; block++) sum += ((const double *)(const void *)call->workspace)[block];
  ft_floats(&call->out[0])[0] = (float)sum;
}

/* 8 · ceil(count / 4096) bytes: one f64 per block */
static int64_t sum_squares_workspace(const ft_call *call, int threads) {
  (void)threads;
  return 8 * ft_ceil_div(call->in[0].count, BLOCK);
}

/* s_0 f32 [1], …, (lossScale f32 [1]) → norm f32 [1] = √Σ s / lossScale, factor f32 [1] = (maxNorm > 0 ? min(1, maxNorm / (norm + 1e-6)) : 1)
   / lossScale. attrs: maxNorm, scaled */
static void global_norm(const ft_call *call) {
  const bool scaled = call->attrs[1] != 0;
  const double loss_scale = scaled ? (double)ft_floats(&call->in[call->n_in - 1])[0] : 1;
  double sum = 0;
  for (int32_t i = 0; i < call->n_in - scaled; i++) sum += (double)ft_floats(&call->in[i])[0];
  const double norm = sqrt(sum) / loss_scale, limit = call->attrs[0];
  const double factor = limit / (norm + 1e-6);
  ft_floats(&call->out[0])[0] = (float)norm;
  ft_floats(&call->out[1])[0] = (float)((limit > 0 && !(factor > 1) ? factor : 1) / loss_scale); /* a norm that is NaN stays visible */
}

/* --- adamw (Loshchilov & Hutter 2019; as torch.optim.AdamW) --- */

/* parameter [P], gradient, m, v, learningRate f32 [1], step i32 [1], gradientScale f32 [1] → parameter', m', v', over 0, 2, 3. Where m and v are
   shorter, they belong to the elements from `first` on, and only these change. attrs: beta1, beta2, epsilon, weightDecay, first, seed */
static void adamw_elements(const ft_call *call, int64_t from, int64_t to) {
  const double rate = (double)ft_floats(&call->in[4])[0];
  const double step = (double)ft_ints(&call->in[5])[0];
  const double b1 = call->attrs[0], b2 = call->attrs[1];
  const float gradient_scale = ft_floats(&call->in[6])[0];
  const float beta1 = (float)b1, beta2 = (float)b2, rest1 = (float)(1 - b1), rest2 = (float)(1 - b2);
  const float decay = (float)(1 - rate * call->attrs[3]);
  const float step_size = (float)(rate / (1 - pow(b1, step)));
  const float root_scale = (float)(1 / sqrt(1 - pow(b2, step)));
  const float epsilon = (float)call->attrs[2];
  const int64_t first = (int64_t)call->attrs[4];
  const float *p_in = ft_floats(&call->in[0]) + first, *gradient = ft_floats(&call->in[1]) + first;
  const float *m_in = ft_floats(&call->in[2]), *v_in = ft_floats(&call->in[3]);
  float *p_out = ft_floats(&call->out[0]) + first, *m_out = ft_floats(&call->out[1]), *v_out = ft_floats(&call->out[2]);
  FT_ELEMENTWISE
  for (int64_t i = from; i < to; i++) {
    const float g = gradient[i] * gradient_scale;
    const float m = beta1 * m_in[i] + rest1 * g;
    const float v = beta2 * v_in[i] + rest2 * g * g;
    m_out[i] = m;
    v_out[i] = v;
    p_out[i] = p_in[i] * decay - step_size * m / (sqrtf(v) * root_scale + epsilon);
  }
}

static void adamw(const ft_call *call) { ft_for_rows(call, call->in[2].count, 28, adamw_elements); }

/* --- sgd (as torch.optim.SGD, no dampening, no Nesterov) --- */

/* parameter, gradient, (momentum f32), learningRate, gradientScale → parameter', (momentum'). Where the momentum is shorter, it belongs to the
   elements from `first` on, and only these change. attrs: momentum, weightDecay, first */
static void sgd_elements(const ft_call *call, int64_t from, int64_t to) {
  const bool has_momentum = call->n_in == 5;
  const ft_tensor *scalars = &call->in[has_momentum ? 3 : 2];
  const float rate = ft_floats(&scalars[0])[0], gradient_scale = ft_floats(&scalars[1])[0];
  const float momentum = (float)call->attrs[0], decay = (float)call->attrs[1];
  const int64_t first = (int64_t)call->attrs[2];
  const float *p_in = ft_floats(&call->in[0]) + first, *gradient = ft_floats(&call->in[1]) + first;
  float *p_out = ft_floats(&call->out[0]) + first;
  if (!has_momentum) {
    FT_ELEMENTWISE
    for (int64_t i = from; i < to; i++) p_out[i] = p_in[i] - rate * (gradient[i] * gradient_scale + decay * p_in[i]);
    return;
  }
  const float *m_in = ft_floats(&call->in[2]);
  float *m_out = ft_floats(&call->out[1]);
  FT_ELEMENTWISE
  for (int64_t i = from; i < to; i++) {
    const float m = momentum * m_in[i] + (gradient[i] * gradient_scale + decay * p_in[i]);
    m_out[i] = m;
    p_out[i] = p_in[i] - rate * m;
  }
}

static void sgd(const ft_call *call) { ft_for_rows(call, call->in[call->n_in == 5 ? 2 : 0].count, 20, sgd_elements); }

extern const ft_entry FT_NAME(optimizer_entries)[];
const ft_entry FT_NAME(optimizer_entries)[] = {
    {"sum_squares", sum_squares, sum_squares_workspace},
    {"global_norm", global_norm, NULL},
    {"adamw", adamw, NULL},
    {"sgd", sgd, NULL},
    {NULL, NULL, NULL},
};
