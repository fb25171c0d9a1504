/*
 * rmsnorm and layernorm, their gradients, and column_sum, the gradient of a bias. Activations may have 16 bits; sums and statistics are f32.
 * A row is read once for its sums and once more, from the cache, for what is stored.
 */
#include "token_sum.h"

/* The kernel `name` of rows that are independent of each other, as many bytes per element moved (of f32). */
#define ROW_KERNEL(name, bytes)                                                                                    \
  static void name##_rows(const ft_call *call, int64_t from, int64_t to) {                                         \
    if (ft_past_cache(call, 0, call->in[1].count)) FT_BY_DTYPE(call->in[0].dtype, name##_as, call, from, to, true); \
    else FT_BY_DTYPE(call->in[0].dtype, name##_as, call, from, to, false);                                          \
  }                                                                                                                \
  static void name(const ft_call *call) {                                                                          \
    const int64_t width = call->in[1].count;                                                                       \
    ft_for_rows(call, call->in[0].count / width, width * (bytes), name##_rows);                                     \
  }

#define TOKEN_TERMS(name)                                                                                          \
  static void name##_terms(const ft_call *call, int64_t token, int64_t column, int64_t count, float *sums) {       \
    FT_BY_DTYPE(call->in[0].dtype, name##_terms_as, call, token, column, count, sums);                              \
  }

/* --- rmsnorm: x [...,M·W], weight [W] → y, rstd f32 [...,M]. attrs: epsilon --- */

VF_INLINE void rmsnorm_as(const ft_call *call, int64_t from, int64_t to, bool past_cache, int dtype) {
  const char *x = call->in[0].data;
  const float *weight = ft_floats(&call->in[1]), epsilon = (float)call->attrs[0];
  const int64_t width = call->in[1].count;
  for (int64_t row = from; row < to; row++) {
    const int64_t at = row * width;
    vf squares[LANE_VECTORS] = {0};
    FT_EACH_LANE_VECTOR(part, j, n, width, {
      const vf value = v_load_first_as(x, at + j, dtype, n);
      squares[part] += value * value;
    });
    const float rstd = 1.0f / sqrtf(ft_sum_lane_vectors(squares) / (float)width + epsilon);
    ft_floats(&call->out[1])[row] = rstd;
    const vf scale = v_splat(rstd);
    FT_EACH_VECTOR(j, n, 0, width, {
      ft_ask(x, at + width + j, past_cache);
      ft_put(call->out[0].data, at + j, dtype, v_load_first_as(x, at + j, dtype, n) * scale * v_load_first(weight + j, n), n, past_cache);
    });
  }
  ft_stores_done(past_cache);
}
ROW_KERNEL(rmsnorm, 8)

/* x, weight, rstd, dy → dx = rstd · (dy·w − x · rstd² · Σ(dy·w·x) / W) */
VF_INLINE void rmsnorm_backward_as(const ft_call *call, int64_t from, int64_t to, bool past_cache, int dtype) {
  const char *x = call->in[0].data, *dy = call->in[3].data;
  const float *weight = ft_floats(&call->in[1]), *rstd = ft_floats(&call->in[2]);
  const int64_t width = call->in[1].count;
  for (int64_t row = from; row < to; row++) {
    const int64_t at = row * width;
    vf products[LANE_VECTORS] = {0};
    FT_EACH_LANE_VECTOR(part, j, n, width, {
      products[part] += v_load_first_as(dy, at + j, dtype, n) * v_load_first(weight + j, n) * v_load_first_as(x, at + j, dtype, n);
    });
    const vf scale = v_splat(rstd[row]);
    const vf back = v_splat(rstd[row] * rstd[row] * (ft_sum_lane_vectors(products) / (float)width));
    FT_EACH_VECTOR(j, n, 0, width, {
      ft_ask(x, at + width + j, past_cache);
      ft_ask(dy, at + width + j, past_cache);
      const vf pull = v_load_first_as(dy, at + j, dtype, n) * v_load_first(weight + j, n) - v_load_first_as(x, at + j, dtype, n) * back;
      ft_put(call->out[0].data, at + j, dtype, scale * pull, n, past_cache);
    });
  }
  ft_stores_done(past_cache);
}
ROW_KERNEL(rmsnorm_backward, 12)

/* x, rstd, dy [B,T,·], (c f32 [W]) → dweight f32 [W] = Σ x·rstd·dy over tokens and groups. attrs: width, accumulate */
VF_INLINE void rmsnorm_terms_as(const ft_call *call, int64_t token, int64_t column, int64_t count, float *sums, int dtype) {
  const int64_t width = call->out[0].count, all = ft_width(&call->in[0]), groups = all / width;
  const float *rstd = ft_floats(&call->in[1]) + token * groups;
  for (int64_t group = 0; group < groups; group++) {
    const int64_t at = token * all + group * width + column;
    const vf scale = v_splat(rstd[group]);
    FT_EACH_VECTOR(j, n, 0, count, {
      const vf term = v_load_first_as(call->in[0].data, at + j, dtype, n) * scale * v_load_first_as(call->in[2].data, at + j, dtype, n);
      v_store_first(sums + j, v_load_first(sums + j, n) + term, n);
    });
  }
}
TOKEN_TERMS(rmsnorm)

static void rmsnorm_weight_gradient(const ft_call *call) {
  ft_sum_tokens(call, call->attrs[1] != 0, rmsnorm_terms);
}

/* --- layernorm: x [...,W], weight [W], bias [W] → y, mean f32 [...], rstd f32 [...]. attrs: epsilon --- */

VF_INLINE void layernorm_as(const ft_call *call, int64_t from, int64_t to, bool past_cache, int dtype) {
  const char *x = call->in[0].data;
  const float *weight = ft_floats(&call->in[1]), *bias = ft_floats(&call->in[2]), epsilon = (float)call->attrs[0];
  const int64_t width = call->in[1].count;
  for (int64_t row = from; row < to; row++) {
    const int64_t at = row * width;
    vf sums[LANE_VECTORS] = {0}, squares[LANE_VECTORS] = {0};
    FT_EACH_LANE_VECTOR(part, j, n, width, { sums[part] += v_load_first_as(x, at + j, dtype, n); });
    const float mean = ft_sum_lane_vectors(sums) / (float)width;
    const vf center = v_splat(mean);
    FT_EACH_LANE_VECTOR(part, j, n, width, {
      const vf deviation = v_first(v_load_first_as(x, at + j, dtype, n) - center, n);
      squares[part] += deviation * deviation;
    });
    const float rstd = 1.0f / sqrtf(ft_sum_lane_vectors(squares) / (float)width + epsilon);
    ft_floats(&call->out[1])[row] = mean;
    ft_floats(&call->out[2])[row] = rstd;
    const vf scale = v_splat(rstd);
    FT_EACH_VECTOR(j, n, 0, width, {
      ft_ask(x, at + width + j, past_cache);
      const vf y = (v_load_first_as(x, at + j, dtype, n) - center) * scale * v_load_first(weight + j, n) + v_load_first(bias + j, n);
      ft_put(call->out[0].data, at + j, dtype, y, n, past_cache);
    });
  }
  ft_stores_done(past_cache);
}
ROW_KERNEL(layernorm, 8)

/* x, weight, mean, rstd, dy → dx = rstd · (g − Σg/W − x̂ · Σ(g·x̂)/W), g = dy·w, x̂ = (x − mean)·rstd */
VF_INLINE void layernorm_backward_as(const ft_call *call, int64_t from, int64_t to, bool past_cache, int dtype) {
  const char *x = call->in[0].data, *dy = call->in[4].data;
  const float *weight = ft_floats(&call->in[1]), *means = ft_floats(&call->in[2]), *rstd = ft_floats(&call->in[3]);
  const int64_t width = call->in[1].count;
  for (int64_t row = from; row < to; row++) {
    const int64_t at = row * width;
    const vf mean = v_splat(means[row]), scale = v_splat(rstd[row]);
    vf sums[LANE_VECTORS] = {0}, products[LANE_VECTORS] = {0};
    FT_EACH_LANE_VECTOR(part, j, n, width, {
      const vf g = v_load_first_as(dy, at + j, dtype, n) * v_load_first(weight + j, n);
      sums[part] += g;
      products[part] += g * ((v_load_first_as(x, at + j, dtype, n) - mean) * scale);
    });
    const vf mean_g = v_splat(ft_sum_lane_vectors(sums) / (float)width), mean_product = v_splat(ft_sum_lane_vectors(products) / (float)width);
    FT_EACH_VECTOR(j, n, 0, width, {
      ft_ask(x, at + width + j, past_cache);
      ft_ask(dy, at + width + j, past_cache);
      const vf g = v_load_first_as(dy, at + j, dtype, n) * v_load_first(weight + j, n);
      const vf dx = scale * (g - mean_g - (v_load_first_as(x, at + j, dtype, n) - mean) * scale * mean_product);
      ft_put(call->out[0].data, at + j, dtype, dx, n, past_cache);
    });
  }
  ft_stores_done(past_cache);
}
ROW_KERNEL(layernorm_backward, 12)

/* x, mean, rstd, dy [B,T,·], (c f32 [W]) → dweight f32 [W] = Σ x̂·dy over tokens. attrs: accumulate */
VF_INLINE void layernorm_terms_as(const ft_call *call, int64_t token, int64_t column, int64_t count, float *sums, int dtype) {
  const int64_t at = token * ft_width(&call->in[0]) + column;
  const vf mean = v_splat(ft_floats(&call->in[1])[token]), scale = v_splat(ft_floats(&call->in[2])[token]);
  FT_EACH_VECTOR(j, n, 0, count, {
    const vf normal = (v_load_first_as(call->in[0].data, at + j, dtype, n) - mean) * scale;
    v_store_first(sums + j, v_load_first(sums + j, n) + normal * v_load_first_as(call->in[3].data, at + j, dtype, n), n);
  });
}
TOKEN_TERMS(layernorm)

static void layernorm_weight_gradient(const ft_call *call) {
  ft_sum_tokens(call, call->attrs[0] != 0, layernorm_terms);
}

/* --- column_sum: x [B,T,M], (c f32 [M]) → y f32 [M]. attrs: accumulate --- */

VF_INLINE void column_terms_as(const ft_call *call, int64_t token, int64_t column, int64_t count, float *sums, int dtype) {
  const int64_t at = token * ft_width(&call->in[0]) + column;
  FT_EACH_VECTOR(j, n, 0, count, { v_store_first(sums + j, v_load_first(sums + j, n) + v_load_first_as(call->in[0].data, at + j, dtype, n), n); });
}
TOKEN_TERMS(column)

static void column_sum(const ft_call *call) {
  ft_sum_tokens(call, call->attrs[0] != 0, column_terms);
}

extern const ft_entry FT_NAME(norm_entries)[];
const ft_entry FT_NAME(norm_entries)[] = {
    {"rmsnorm", rmsnorm, NULL},
    {"rmsnorm_backward", rmsnorm_backward, NULL},
    {"rmsnorm_weight_gradient", rmsnorm_weight_gradient, ft_token_sums_workspace},
    {"layernorm", layernorm, NULL},
    {"layernorm_backward", layernorm_backward, NULL},
    {"layernorm_weight_gradient", layernorm_weight_gradient, ft_token_sums_workspace},
    {"column_sum", column_sum, ft_token_sums_workspace},
    {NULL, NULL, NULL},
};
