/* rmsnorm and layernorm, their gradients, and column_sum, the gradient of a bias */
#include "token_sum.h"

/* --- rmsnorm: x [...,M·W], weight [W] → y, rstd f32 [...,M]. attrs: epsilon --- */

static void rmsnorm_rows(const ft_call *call, int64_t from, int64_t to) {
  const float *x = ft_floats(&call->in[0]), *weight = ft_floats(&call->in[1]);
  float *y = ft_floats(&call->out[0]), *rstd = ft_floats(&call->out[1]);
  const int64_t width = call->in[1].count;
  const float epsilon = (float)call->attrs[0];
  for (int64_t row = from; row < to; row++) {
    const float *from_x = x + row * width;
    float *to_y = y + row * width;
    const float scale = 1.0f / sqrtf(ft_sum_of_squares(from_x, width) / (float)width + epsilon);
    rstd[row] = scale;
    FT_ELEMENTWISE
    for (int64_t j = 0; j < width; j++) to_y[j] = from_x[j] * scale * weight[j];
  }
}

static void rmsnorm(const ft_call *call) {
  const int64_t width = call->in[1].count;
  ft_for_rows(call, call->in[0].count / width, width * 8, rmsnorm_rows);
}

/* x, weight, rstd, dy → dx = rstd · (dy·w − x · rstd² · Σ(dy·w·x) / W) */
static void rmsnorm_backward_rows(const ft_call *call, int64_t from, int64_t to) {
  const float *x = ft_floats(&call->in[0]), *weight = ft_floats(&call->in[1]);
  const float *rstd = ft_floats(&call->in[2]), *dy = ft_floats(&call->in[3]);
  float *dx = ft_floats(&call->out[0]);
  const int64_t width = call->in[1].count;
  for (int64_t row = from; row < to; row++) {
    const float *x_row = x + row * width, *dy_row = dy + row * width;
    float *dx_row = dx + row * width;
    float lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
      for (int j = 0; j < LANES; j++) lanes[j] += dy_row[i + j] * weight[i + j] * x_row[i + j];
    }
    for (int j = 0; i < width; i++, j++) lanes[j] += dy_row[i] * weight[i] * x_row[i];
    const float scale = rstd[row];
    const float back = scale * scale * (ft_sum_lanes(lanes) / (float)width);
    FT_ELEMENTWISE
    for (int64_t j = 0; j < width; j++) dx_row[j] = scale * (dy_row[j] * weight[j] - x_row[j] * back);
  }
}

static void rmsnorm_backward(const ft_call *call) {
  const int64_t width = call->in[1].count;
  ft_for_rows(call, call->in[0].count / width, width * 12, rmsnorm_backward_rows);
}

/* x, rstd, dy [B,T,·], (c f32 [W]) → dweight f32 [W] = Σ x·rstd·dy over tokens and groups. attrs: width, accumulate */
static void rmsnorm_terms(const ft_call *call, int64_t token, int64_t column, int64_t count, float *sums) {
  const int64_t width = call->out[0].count, all = ft_width(&call->in[0]), groups = all / width;
  const float *x = ft_floats(&call->in[0]) + token * all + column, *rstd = ft_floats(&call->in[1]) + token * groups;
  const float *dy = ft_floats(&call->in[2]) + token * all + column;
  for (int64_t group = 0; group < groups; group++, x += width, dy += width) {
    const float scale = rstd[group];
    if (count == COLUMNS) {
      for (int j = 0; j < COLUMNS; j++) sums[j] += x[j] * scale * dy[j];
    } else {
      for (int64_t j = 0; j < count; j++) sums[j] += x[j] * scale * dy[j];
    }
  }
}

static void rmsnorm_weight_gradient(const ft_call *call) {
  ft_sum_tokens(call, &call->in[0], ft_floats(&call->out[0]), call->out[0].count, call->attrs[1] != 0, rmsnorm_terms);
}

/* --- layernorm: x [...,W], weight [W], bias [W] → y, mean f32 [...], rstd f32 [...]. attrs: epsilon --- */

static void layernorm_rows(const ft_call *call, int64_t from, int64_t to) {
  const float *x = ft_floats(&call->in[0]), *weight = ft_floats(&call->in[1]), *bias = ft_floats(&call->in[2]);
  float *y = ft_floats(&call->out[0]), *means = ft_floats(&call->out[1]), *rstd = ft_floats(&call->out[2]);
  const int64_t width = call->in[1].count;
  const float epsilon = (float)call->attrs[0];
  for (int64_t row = from; row < to; row++) {
    const float *x_row = x + row * width;
    float *y_row = y + row * width;
    const float mean = ft_sum(x_row, width) / (float)width;
    float lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
      for (int j = 0; j < LANES; j++) lanes[j] += (x_row[i + j] - mean) * (x_row[i + j] - mean);
    }
    for (int j = 0; i < width; i++, j++) lanes[j] += (x_row[i] - mean) * (x_row[i] - mean);
    const float scale = 1.0f / sqrtf(ft_sum_lanes(lanes) / (float)width + epsilon);
    means[row] = mean;
    rstd[row] = scale;
    FT_ELEMENTWISE
    for (int64_t j = 0; j < width; j++) y_row[j] = (x_row[j] - mean) * scale * weight[j] + bias[j];
  }
}

static void layernorm(const ft_call *call) {
  const int64_t width = call->in[1].count;
  ft_for_rows(call, call->in[0].count / width, width * 8, layernorm_rows);
}

/* x, weight, mean, rstd, dy → dx = rstd · (g − Σg/W − x̂ · Σ(g·x̂)/W), g = dy·w, x̂ = (x − mean)·rstd */
static void layernorm_backward_rows(const ft_call *call, int64_t from, int64_t to) {
  const float *x = ft_floats(&call->in[0]), *weight = ft_floats(&call->in[1]), *means = ft_floats(&call->in[2]);
  const float *rstd = ft_floats(&call->in[3]), *dy = ft_floats(&call->in[4]);
  float *dx = ft_floats(&call->out[0]);
  const int64_t width = call->in[1].count;
  for (int64_t row = from; row < to; row++) {
    const float *x_row = x + row * width, *dy_row = dy + row * width;
    float *dx_row = dx + row * width;
    const float mean = means[row], scale = rstd[row];
    float sum[LANES] = {0}, product[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
      for (int j = 0; j < LANES; j++) {
        const float g = dy_row[i + j] * weight[i + j];
        sum[j] += g;
        product[j] += g * ((x_row[i + j] - mean) * scale);
      }
    }
    for (int j = 0; i < width; i++, j++) {
      const float g = dy_row[i] * weight[i];
      sum[j] += g;
      product[j] += g * ((x_row[i] - mean) * scale);
    }
    const float mean_g = ft_sum_lanes(sum) / (float)width, mean_product = ft_sum_lanes(product) / (float)width;
    FT_ELEMENTWISE
    for (int64_t j = 0; j < width; j++) {
      dx_row[j] = scale * (dy_row[j] * weight[j] - mean_g - (x_row[j] - mean) * scale * mean_product);
    }
  }
}

static void layernorm_backward(const ft_call *call) {
  const int64_t width = call->in[1].count;
  ft_for_rows(call, call->in[0].count / width, width * 12, layernorm_backward_rows);
}

/* x, mean, rstd, dy [B,T,·], (c f32 [W]) → dweight f32 [W] = Σ x̂·dy over tokens. attrs: accumulate */
static void layernorm_terms(const ft_call *call, int64_t token, int64_t column, int64_t count, float *sums) {
  const int64_t width = ft_width(&call->in[0]);
  const float *x = ft_floats(&call->in[0]) + token * width + column, *dy = ft_floats(&call->in[3]) + token * width + column;
  const float mean = ft_floats(&call->in[1])[token], scale = ft_floats(&call->in[2])[token];
  if (count == COLUMNS) {
    for (int j = 0; j < COLUMNS; j++) sums[j] += (x[j] - mean) * scale * dy[j];
  } else {
    for (int64_t j = 0; j < count; j++) sums[j] += (x[j] - mean) * scale * dy[j];
  }
}

static void layernorm_weight_gradient(const ft_call *call) {
  ft_sum_tokens(call, &call->in[0], ft_floats(&call->out[0]), call->out[0].count, call->attrs[0] != 0, layernorm_terms);
}

/* --- column_sum: x [B,T,M], (c f32 [M]) → y f32 [M]. attrs: accumulate --- */

static void column_terms(const ft_call *call, int64_t token, int64_t column, int64_t count, float *sums) {
  const float *x = ft_floats(&call->in[0]) + token * ft_width(&call->in[0]) + column;
  if (count == COLUMNS) {
    for (int j = 0; j < COLUMNS; j++) sums[j] += x[j];
  } else {
    for (int64_t j = 0; j < count; j++) sums[j] += x[j];
  }
}

static void column_sum(const ft_call *call) {
  ft_sum_tokens(call, &call->in[0], ft_floats(&call->out[0]), call->out[0].count, call->attrs[0] != 0, column_terms);
}

extern const ft_entry FT_NAME(norm_entries)[];
const ft_entry FT_NAME(norm_entries)[] = {
    {"rmsnorm", rmsnorm, NULL},
    {"rmsnorm_backward", rmsnorm_backward, NULL},
    {"rmsnorm_weight_gradient", rmsnorm_weight_gradient, NULL},
    {"layernorm", layernorm, NULL},
    {"layernorm_backward", layernorm_backward, NULL},
    {"layernorm_weight_gradient", layernorm_weight_gradient, NULL},
    {"column_sum", column_sum, NULL},
    {NULL, NULL, NULL},
};
