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

/* The kernel `name` that sums a formula of inputs 0 and `second` (0: of input 0 alone) and of `counts` numbers per row, inputs 1 to `counts`, over tokens. */
#define TOKEN_KERNEL(name, second, counts, accumulate)                                                                               \
  VF_INLINE void name##_terms_as(const ft_call *call, int64_t first, int64_t rows, int64_t column, int64_t count, float *sums, int dtype) { \
    const ft_row row = {(second) == 0 ? 1 : 2, 0, {call->in[0].data, call->in[second].data}, {NULL}, column, count, 0, 0};                   \
    const float *numbers[MOST_NUMBERS] = {0};                                                                                        \
    for (int k = 0; k < (counts); k++) numbers[k] = ft_floats(&call->in[1 + k]);                                                      \
    ft_add_rows(sums, &row, numbers, counts, first, rows, call->out[0].count, dtype, name##_term);                                    \
  }                                                                                                                                  \
  static void name##_terms(const ft_call *call, int64_t first, int64_t rows, int64_t column, int64_t count, float *sums) {             \
    FT_BY_DTYPE(call->in[0].dtype, name##_terms_as, call, first, rows, column, count, sums);                                          \
  }                                                                                                                                  \
  static void name(const ft_call *call) { ft_sum_tokens(call, call->attrs[accumulate] != 0, name##_terms); }

/* FORMULA(name) { y[…] = …x[…]…w[…]…s[…]… }: arrays, columns and numbers of a row. */
#define FORMULA(name)                                                                                                       \
  VF_INLINE void name(__attribute__((unused)) const vf *x, __attribute__((unused)) const vf *w, __attribute__((unused)) const vf *s, vf *y)

/* --- rmsnorm: x [...,M·W], weight [W] → y, rstd f32 [...,M]. attrs: epsilon --- */

FORMULA(square) { y[0] = x[0] * x[0]; }
FORMULA(rmsnorm_formula) { y[0] = x[0] * s[0] * w[0]; }

VF_INLINE void rmsnorm_as(const ft_call *call, int64_t from, int64_t to, bool past_cache, int dtype) {
  const int64_t width = call->in[1].count;
  for (int64_t token = from; token < to; token++) {
    ft_row row = {1, 0, {call->in[0].data}, {ft_floats(&call->in[1])}, token * width, width, past_cache ? 2 : 0, 0};
    float squares;
    ft_sum_row(&squares, 1, &row, dtype, NULL, square);
    const float rstd = 1.0f / sqrtf(squares / (float)width + (float)call->attrs[0]);
    ft_floats(&call->out[1])[token] = rstd;
    row.columns = 1;
    ft_map_row(call->out[0].data, &row, dtype, past_cache, (vf[]){v_splat(rstd)}, rmsnorm_formula);
  }
  ft_stores_done(past_cache);
}
ROW_KERNEL(rmsnorm, 8)

/* x, weight, rstd, dy → dx = rstd · (dy·w − x · rstd² · Σ(dy·w·x) / W) */
FORMULA(pull_along) { y[0] = x[1] * w[0] * x[0]; }
FORMULA(rmsnorm_backward_formula) { y[0] = s[0] * (x[1] * w[0] - x[0] * s[1]); }

VF_INLINE void rmsnorm_backward_as(const ft_call *call, int64_t from, int64_t to, bool past_cache, int dtype) {
  const int64_t width = call->in[1].count;
  for (int64_t token = from; token < to; token++) {
    ft_row row = {2, 1, {call->in[0].data, call->in[3].data}, {ft_floats(&call->in[1])}, token * width, width, past_cache ? 2 : 0, 0};
    const float rstd = ft_floats(&call->in[2])[token];
    float products;
    ft_sum_row(&products, 1, &row, dtype, NULL, pull_along);
    ft_map_row(call->out[0].data, &row, dtype, past_cache, (vf[]){v_splat(rstd), v_splat(rstd * rstd * (products / (float)width))}, rmsnorm_backward_formula);
  }
  ft_stores_done(past_cache);
}
ROW_KERNEL(rmsnorm_backward, 12)

/* x, rstd, dy [B,T,·], (c f32 [W]) → dweight f32 [W] = Σ x·rstd·dy over tokens and groups. attrs: width, accumulate */
FORMULA(rmsnorm_weight_gradient_term) { y[0] = x[0] * s[0] * x[1]; }
TOKEN_KERNEL(rmsnorm_weight_gradient, 2, 1, 1)

/* --- layernorm: x [...,W], weight [W], bias [W] → y, mean f32 [...], rstd f32 [...]. attrs: epsilon --- */

FORMULA(itself) { y[0] = x[0]; }
FORMULA(deviation_squared) { y[0] = (x[0] - s[0]) * (x[0] - s[0]); }
FORMULA(layernorm_formula) { y[0] = (x[0] - s[0]) * s[1] * w[0] + w[1]; }

VF_INLINE void layernorm_as(const ft_call *call, int64_t from, int64_t to, bool past_cache, int dtype) {
  const int64_t width = call->in[1].count;
  for (int64_t token = from; token < to; token++) {
    ft_row row = {1, 0, {call->in[0].data}, {ft_floats(&call->in[1]), ft_floats(&call->in[2])}, token * width, width, past_cache ? 3 : 0, 0};
    float sum, squares;
    ft_sum_row(&sum, 1, &row, dtype, NULL, itself);
    const float mean = sum / (float)width;
    ft_sum_row(&squares, 1, &row, dtype, (vf[]){v_splat(mean)}, deviation_squared);
    const float rstd = 1.0f / sqrtf(squares / (float)width + (float)call->attrs[0]);
    ft_floats(&call->out[1])[token] = mean;
    ft_floats(&call->out[2])[token] = rstd;
    row.columns = 2;
    ft_map_row(call->out[0].data, &row, dtype, past_cache, (vf[]){v_splat(mean), v_splat(rstd)}, layernorm_formula);
  }
  ft_stores_done(past_cache);
}
ROW_KERNEL(layernorm, 8)

/* x, weight, mean, rstd, dy → dx = rstd · (g − Σg/W − x̂ · Σ(g·x̂)/W), g = dy·w, x̂ = (x − mean)·rstd */
FORMULA(pull_and_along) {
  y[0] = x[1] * w[0];
  y[1] = y[0] * ((x[0] - s[0]) * s[1]);
}
FORMULA(layernorm_backward_formula) { y[0] = s[1] * (x[1] * w[0] - s[2] - (x[0] - s[0]) * s[1] * s[3]); }

VF_INLINE void layernorm_backward_as(const ft_call *call, int64_t from, int64_t to, bool past_cache, int dtype) {
  const int64_t width = call->in[1].count;
  for (int64_t token = from; token < to; token++) {
    ft_row row = {2, 1, {call->in[0].data, call->in[4].data}, {ft_floats(&call->in[1])}, token * width, width, past_cache ? 2 : 0, 0};
    vf numbers[MOST_NUMBERS] = {v_splat(ft_floats(&call->in[2])[token]), v_splat(ft_floats(&call->in[3])[token])};
    float sums[2];
    ft_sum_row(sums, 2, &row, dtype, numbers, pull_and_along);
    for (int k = 0; k < 2; k++) numbers[2 + k] = v_splat(sums[k] / (float)width);
    ft_map_row(call->out[0].data, &row, dtype, past_cache, numbers, layernorm_backward_formula);
  }
  ft_stores_done(past_cache);
}
ROW_KERNEL(layernorm_backward, 12)

/* x, mean, rstd, dy [B,T,·], (c f32 [W]) → dweight f32 [W] = Σ x̂·dy over tokens. attrs: accumulate */
FORMULA(layernorm_weight_gradient_term) { y[0] = (x[0] - s[0]) * s[1] * x[1]; }
TOKEN_KERNEL(layernorm_weight_gradient, 3, 2, 0)

/* --- column_sum: x [B,T,M], (c f32 [M]) → y f32 [M]. attrs: accumulate --- */

FORMULA(column_sum_term) { y[0] = x[0]; }
TOKEN_KERNEL(column_sum, 0, 0, 0)

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
