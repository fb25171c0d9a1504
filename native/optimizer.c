/* adamw, sgd, lion, and the gradient norm: sum_squares, global_norm */
#include "optimizer.h"

/* --- sum_squares: x → y f32 [1] --- */

#define BLOCK 4096
#define DOUBLE_LANES 16
#define PAGE 4096 /* bytes; where the processor's own guesses end */

/* Σ x² of blocks `from` … `to` - 1, each into its place in the workspace. */
static void sum_square_blocks(const ft_call *call, int64_t from, int64_t to) {
  double *sums = (double *)(void *)call->workspace;
  for (int64_t block = from; block < to; block++) {
    const float *x = ft_floats(&call->in[0]) + block * BLOCK;
    const int64_t n = ft_min(BLOCK, call->in[0].count - block * BLOCK);
    union {
      vd vector[DOUBLE_LANES / VD_LANES];
      double lane[DOUBLE_LANES];
    } sum = {.lane = {0}};
    int64_t i = 0;
    for (; i + DOUBLE_LANES <= n; i += DOUBLE_LANES) {
      __builtin_prefetch((const char *)(x + i) + PAGE, 0, 3);
      for (int j = 0; j < DOUBLE_LANES / VD_LANES; j++) {
        const vd wide = vd_load(x + i + j * VD_LANES);
        sum.vector[j] += wide * wide;
      }
    }
    for (int j = 0; i < n; i++, j++) sum.lane[j] += (double)x[i] * (double)x[i];
    for (int half = DOUBLE_LANES / 2; half >= 1; half /= 2) {
      for (int j = 0; j < half; j++) sum.lane[j] += sum.lane[j + half];
    }
    sums[block] = sum.lane[0];
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

typedef struct {
  const float *gradient, *m_in, *v_in;
  float *m_out, *v_out;
  ft_adam adam;
} adamw_rule;

VF_INLINE void adamw_update(const void *context, const float *p_in, float *p_out, int64_t at, int64_t n) {
  const adamw_rule rule = *(const adamw_rule *)context;
  const float *gradient = rule.gradient + at, *m_in = rule.m_in + at, *v_in = rule.v_in + at;
  float *m_out = rule.m_out + at, *v_out = rule.v_out + at;
  FT_ELEMENTWISE
  for (int64_t i = 0; i < n; i++) {
    const float g = gradient[i] * rule.adam.gradient_scale;
    const float m = rule.adam.beta1 * m_in[i] + rule.adam.rest1 * g;
    const float v = rule.adam.beta2 * v_in[i] + rule.adam.rest2 * g * g;
    m_out[i] = m;
    v_out[i] = v;
    p_out[i] = p_in[i] * rule.adam.decay - rule.adam.step_size * m / (sqrtf(v) * rule.adam.root_scale + rule.adam.epsilon);
  }
}

/* parameter f32 or bf16 [P], gradient f32 [P], m, v f32 [count], learningRate f32 [1], step i32 [1], gradientScale f32 [1] → parameter', m',
   v', over 0, 2, 3. attrs: beta1, beta2, epsilon, weightDecay, first, seed */
static void adamw_elements(const ft_call *call, int64_t from, int64_t to) {
  const int64_t first = (int64_t)call->attrs[4];
  const adamw_rule rule = {
      .gradient = ft_floats(&call->in[1]) + first,
      .m_in = ft_floats(&call->in[2]),
      .v_in = ft_floats(&call->in[3]),
      .m_out = ft_floats(&call->out[1]),
      .v_out = ft_floats(&call->out[2]),
      .adam = ft_adam_of(call, 4),
  };
  const ft_range range = {first, {call->attrs[5], ft_ints(&call->in[5])[0]}, {rule.gradient, rule.m_in, rule.v_in}};
  ft_update_range(call, &range, from, to, adamw_update, &rule);
}

static void adamw(const ft_call *call) { ft_for_rows(call, call->in[2].count, 28, adamw_elements); }

/* --- sgd (as torch.optim.SGD, no dampening, no Nesterov) --- */

typedef struct {
  const float *gradient, *m_in;
  float *m_out;
  float rate, gradient_scale, momentum, decay;
} sgd_rule;

VF_INLINE void sgd_plain(const void *context, const float *p_in, float *p_out, int64_t at, int64_t n) {
  const sgd_rule rule = *(const sgd_rule *)context;
  const float *gradient = rule.gradient + at;
  FT_ELEMENTWISE
  for (int64_t i = 0; i < n; i++) p_out[i] = p_in[i] - rule.rate * (gradient[i] * rule.gradient_scale + rule.decay * p_in[i]);
}

VF_INLINE void sgd_momentum(const void *context, const float *p_in, float *p_out, int64_t at, int64_t n) {
  const sgd_rule rule = *(const sgd_rule *)context;
  const float *gradient = rule.gradient + at, *m_in = rule.m_in + at;
  float *m_out = rule.m_out + at;
  FT_ELEMENTWISE
  for (int64_t i = 0; i < n; i++) {
    const float m = rule.momentum * m_in[i] + (gradient[i] * rule.gradient_scale + rule.decay * p_in[i]);
    m_out[i] = m;
    p_out[i] = p_in[i] - rule.rate * m;
  }
}

/* parameter, gradient, learningRate, step, gradientScale, (momentum f32) → parameter', (momentum', over 5). attrs: momentum, weightDecay,
   first, seed */
static void sgd_elements(const ft_call *call, int64_t from, int64_t to) {
  const bool has_momentum = call->n_in == 6;
  const int64_t first = (int64_t)call->attrs[2];
  const sgd_rule rule = {
      .gradient = ft_floats(&call->in[1]) + first,
      .m_in = has_momentum ? ft_floats(&call->in[5]) : NULL,
      .m_out = has_momentum ? ft_floats(&call->out[1]) : NULL,
      .rate = ft_floats(&call->in[2])[0],
      .gradient_scale = ft_floats(&call->in[4])[0],
      .momentum = (float)call->attrs[0],
      .decay = (float)call->attrs[1],
  };
  const ft_range range = {first, {call->attrs[3], ft_ints(&call->in[3])[0]}, {rule.gradient, rule.m_in}};
  if (has_momentum) {
    ft_update_range(call, &range, from, to, sgd_momentum, &rule);
  } else {
    ft_update_range(call, &range, from, to, sgd_plain, &rule);
  }
}

static void sgd(const ft_call *call) { ft_for_rows(call, call->in[call->n_in == 6 ? 5 : 0].count, 20, sgd_elements); }

/* --- lion (Chen et al. 2023) --- */

typedef struct {
  const float *gradient, *m_in;
  float *m_out;
  float gradient_scale, beta1, beta2, rest1, rest2, decay, rate;
} lion_rule;

VF_INLINE void lion_update(const void *context, const float *p_in, float *p_out, int64_t at, int64_t n) {
  const lion_rule rule = *(const lion_rule *)context;
  const float *gradient = rule.gradient + at, *m_in = rule.m_in + at;
  float *m_out = rule.m_out + at;
  FT_ELEMENTWISE
  for (int64_t i = 0; i < n; i++) {
    const float g = gradient[i] * rule.gradient_scale;
    const float direction = rule.beta1 * m_in[i] + rule.rest1 * g;
    const float sign = direction > 0 ? 1.0f : direction < 0 ? -1.0f : direction; /* 0 and NaN are their own */
    m_out[i] = rule.beta2 * m_in[i] + rule.rest2 * g;
    p_out[i] = p_in[i] * rule.decay - rule.rate * sign;
  }
}

/* parameter, gradient, m f32, learningRate, step, gradientScale → parameter', m', over 0, 2. attrs: beta1, beta2, weightDecay, first, seed */
static void lion_elements(const ft_call *call, int64_t from, int64_t to) {
  const double rate = (double)ft_floats(&call->in[3])[0];
  const double b1 = call->attrs[0], b2 = call->attrs[1];
  const int64_t first = (int64_t)call->attrs[3];
  const lion_rule rule = {
      .gradient = ft_floats(&call->in[1]) + first,
      .m_in = ft_floats(&call->in[2]),
      .m_out = ft_floats(&call->out[1]),
      .gradient_scale = ft_floats(&call->in[5])[0],
      .beta1 = (float)b1,
      .beta2 = (float)b2,
      .rest1 = (float)(1 - b1),
      .rest2 = (float)(1 - b2),
      .decay = (float)(1 - rate * call->attrs[2]),
      .rate = (float)rate,
  };
  const ft_range range = {first, {call->attrs[4], ft_ints(&call->in[4])[0]}, {rule.gradient, rule.m_in}};
  ft_update_range(call, &range, from, to, lion_update, &rule);
}

static void lion(const ft_call *call) { ft_for_rows(call, call->in[2].count, 20, lion_elements); }

extern const ft_entry FT_NAME(optimizer_entries)[];
const ft_entry FT_NAME(optimizer_entries)[] = {
    {"sum_squares", sum_squares, sum_squares_workspace},
    {"global_norm", global_norm, NULL},
    {"adamw", adamw, NULL},
    {"sgd", sgd, NULL},
    {"lion", lion, NULL},
    {NULL, NULL, NULL},
};
