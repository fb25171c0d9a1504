/*
 * rmsnorm and layernorm, their gradients, and column_sum, the gradient of a bias. Activations may have 16 bits: then each pass over a
 * row converts it piece by piece. Sums and statistics are f32.
 */
#include "pieces.h"
#include "token_sum.h"

/* Pieces `begin` … `begin` + `n` - 1 of a row of `width` elements of the tensor. */
#define PIECES(tensor, width, begin, n)                                                            \
  for (int64_t begin = 0, step_ = ft_piece(tensor, width), n; n = ft_min(step_, (width) - begin), begin < (width); begin += step_)

/* --- rmsnorm: x [...,M·W], weight [W] → y, rstd f32 [...,M]. attrs: epsilon --- */

static void rmsnorm_rows(const ft_call *call, int64_t from, int64_t to) {
  const ft_tensor *x = &call->in[0], *y = &call->out[0];
  const float *weight = ft_floats(&call->in[1]);
  float *rstd = ft_floats(&call->out[1]), x_buffer[PIECE], y_buffer[PIECE];
  const int64_t width = call->in[1].count;
  const float epsilon = (float)call->attrs[0];
  for (int64_t row = from; row < to; row++) {
    float lanes[LANES] = {0};
    PIECES(x, width, begin, n) ft_add_squares(lanes, ft_read(x, row * width + begin, n, x_buffer), n);
    const float scale = 1.0f / sqrtf(ft_sum_lanes(lanes) / (float)width + epsilon);
    rstd[row] = scale;
    PIECES(x, width, begin, n) {
      const float *from_x = ft_read(x, row * width + begin, n, x_buffer), *w = weight + begin;
      float *to_y = ft_place(y, row * width + begin, y_buffer);
      FT_ELEMENTWISE
      for (int64_t j = 0; j < n; j++) to_y[j] = from_x[j] * scale * w[j];
      ft_store(y, row * width + begin, n, to_y);
    }
  }
}

static void rmsnorm(const ft_call *call) {
  const int64_t width = call->in[1].count;
  ft_for_rows(call, call->in[0].count / width, width * 8, rmsnorm_rows);
}

/* lanes += dy·w·x */
static inline void add_products(float lanes[LANES], const float *dy, const float *weight, const float *x, int64_t n) {
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    for (int j = 0; j < LANES; j++) lanes[j] += dy[i + j] * weight[i + j] * x[i + j];
  }
  for (int j = 0; i < n; i++, j++) lanes[j] += dy[i] * weight[i] * x[i];
}

/* x, weight, rstd, dy → dx = rstd · (dy·w − x · rstd² · Σ(dy·w·x) / W) */
static void rmsnorm_backward_rows(const ft_call *call, int64_t from, int64_t to) {
  const ft_tensor *x = &call->in[0], *dy = &call->in[3], *dx = &call->out[0];
  const float *weight = ft_floats(&call->in[1]), *rstd = ft_floats(&call->in[2]);
  const int64_t width = call->in[1].count;
  float x_buffer[PIECE], dy_buffer[PIECE], dx_buffer[PIECE];
  for (int64_t row = from; row < to; row++) {
    float lanes[LANES] = {0};
    PIECES(x, width, begin, n) {
      const int64_t at = row * width + begin;
      add_products(lanes, ft_read(dy, at, n, dy_buffer), weight + begin, ft_read(x, at, n, x_buffer), n);
    }
    const float scale = rstd[row];
    const float back = scale * scale * (ft_sum_lanes(lanes) / (float)width);
    PIECES(x, width, begin, n) {
      const int64_t at = row * width + begin;
      const float *x_row = ft_read(x, at, n, x_buffer), *dy_row = ft_read(dy, at, n, dy_buffer), *w = weight + begin;
      float *dx_row = ft_place(dx, at, dx_buffer);
      FT_ELEMENTWISE
      for (int64_t j = 0; j < n; j++) dx_row[j] = scale * (dy_row[j] * w[j] - x_row[j] * back);
      ft_store(dx, at, n, dx_row);
    }
  }
}

static void rmsnorm_backward(const ft_call *call) {
  const int64_t width = call->in[1].count;
  ft_for_rows(call, call->in[0].count / width, width * 12, rmsnorm_backward_rows);
}

/* x, rstd, dy [B,T,·], (c f32 [W]) → dweight f32 [W] = Σ x·rstd·dy over tokens and groups. attrs: width, accumulate */
static void rmsnorm_terms(const ft_call *call, int64_t token, int64_t column, int64_t count, float *sums) {
  const int64_t width = call->out[0].count, all = ft_width(&call->in[0]), groups = all / width;
  const float *rstd = ft_floats(&call->in[1]) + token * groups;
  float x_buffer[PIECE], dy_buffer[PIECE];
  for (int64_t group = 0; group < groups; group++) {
    const int64_t at = token * all + group * width + column;
    const float *x = ft_read(&call->in[0], at, count, x_buffer), *dy = ft_read(&call->in[2], at, count, dy_buffer);
    const float scale = rstd[group];
    FT_ELEMENTWISE
    for (int64_t j = 0; j < count; j++) sums[j] += x[j] * scale * dy[j];
  }
}

static void rmsnorm_weight_gradient(const ft_call *call) {
  ft_sum_tokens(call, &call->in[0], ft_floats(&call->out[0]), call->out[0].count, call->attrs[1] != 0, rmsnorm_terms);
}

/* --- layernorm: x [...,W], weight [W], bias [W] → y, mean f32 [...], rstd f32 [...]. attrs: epsilon --- */

/* lanes += (x − mean)² */
static inline void add_deviations(float lanes[LANES], const float *x, float mean, int64_t n) {
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    for (int j = 0; j < LANES; j++) lanes[j] += (x[i + j] - mean) * (x[i + j] - mean);
  }
  for (int j = 0; i < n; i++, j++) lanes[j] += (x[i] - mean) * (x[i] - mean);
}

static void layernorm_rows(const ft_call *call, int64_t from, int64_t to) {
  const ft_tensor *x = &call->in[0], *y = &call->out[0];
  const float *weight = ft_floats(&call->in[1]), *bias = ft_floats(&call->in[2]);
  float *means = ft_floats(&call->out[1]), *rstd = ft_floats(&call->out[2]);
  const int64_t width = call->in[1].count;
  const float epsilon = (float)call->attrs[0];
  float x_buffer[PIECE], y_buffer[PIECE];
  for (int64_t row = from; row < to; row++) {
    float sums[LANES] = {0}, squares[LANES] = {0};
    PIECES(x, width, begin, n) ft_add(sums, ft_read(x, row * width + begin, n, x_buffer), n);
    const float mean = ft_sum_lanes(sums) / (float)width;
    PIECES(x, width, begin, n) add_deviations(squares, ft_read(x, row * width + begin, n, x_buffer), mean, n);
    const float scale = 1.0f / sqrtf(ft_sum_lanes(squares) / (float)width + epsilon);
    means[row] = mean;
    rstd[row] = scale;
    PIECES(x, width, begin, n) {
      const float *x_row = ft_read(x, row * width + begin, n, x_buffer), *w = weight + begin, *b = bias + begin;
      float *y_row = ft_place(y, row * width + begin, y_buffer);
      FT_ELEMENTWISE
      for (int64_t j = 0; j < n; j++) y_row[j] = (x_row[j] - mean) * scale * w[j] + b[j];
      ft_store(y, row * width + begin, n, y_row);
    }
  }
}

static void layernorm(const ft_call *call) {
  const int64_t width = call->in[1].count;
  ft_for_rows(call, call->in[0].count / width, width * 8, layernorm_rows);
}

/* One row's statistics. */
typedef struct {
  float mean, scale;
} normal;

/* sum += g, product += g·x̂ */
static inline void add_pulls(float sum[LANES], float product[LANES], const float *dy, const float *weight, const float *x, normal of, int64_t n) {
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    for (int j = 0; j < LANES; j++) {
      const float g = dy[i + j] * weight[i + j];
      sum[j] += g;
      product[j] += g * ((x[i + j] - of.mean) * of.scale);
    }
  }
  for (int j = 0; i < n; i++, j++) {
    const float g = dy[i] * weight[i];
    sum[j] += g;
    product[j] += g * ((x[i] - of.mean) * of.scale);
  }
}

/* x, weight, mean, rstd, dy → dx = rstd · (g − Σg/W − x̂ · Σ(g·x̂)/W), g = dy·w, x̂ = (x − mean)·rstd */
static void layernorm_backward_rows(const ft_call *call, int64_t from, int64_t to) {
  const ft_tensor *x = &call->in[0], *dy = &call->in[4], *dx = &call->out[0];
  const float *weight = ft_floats(&call->in[1]), *means = ft_floats(&call->in[2]), *rstd = ft_floats(&call->in[3]);
  const int64_t width = call->in[1].count;
  float x_buffer[PIECE], dy_buffer[PIECE], dx_buffer[PIECE];
  for (int64_t row = from; row < to; row++) {
    const float mean = means[row], scale = rstd[row];
    float sum[LANES] = {0}, product[LANES] = {0};
    PIECES(x, width, begin, n) {
      const int64_t at = row * width + begin;
      add_pulls(sum, product, ft_read(dy, at, n, dy_buffer), weight + begin, ft_read(x, at, n, x_buffer), (normal){mean, scale}, n);
    }
    const float mean_g = ft_sum_lanes(sum) / (float)width, mean_product = ft_sum_lanes(product) / (float)width;
    PIECES(x, width, begin, n) {
      const int64_t at = row * width + begin;
      const float *x_row = ft_read(x, at, n, x_buffer), *dy_row = ft_read(dy, at, n, dy_buffer), *w = weight + begin;
      float *dx_row = ft_place(dx, at, dx_buffer);
      FT_ELEMENTWISE
      for (int64_t j = 0; j < n; j++) dx_row[j] = scale * (dy_row[j] * w[j] - mean_g - (x_row[j] - mean) * scale * mean_product);
      ft_store(dx, at, n, dx_row);
    }
  }
}

static void layernorm_backward(const ft_call *call) {
  const int64_t width = call->in[1].count;
  ft_for_rows(call, call->in[0].count / width, width * 12, layernorm_backward_rows);
}

/* x, mean, rstd, dy [B,T,·], (c f32 [W]) → dweight f32 [W] = Σ x̂·dy over tokens. attrs: accumulate */
static void layernorm_terms(const ft_call *call, int64_t token, int64_t column, int64_t count, float *sums) {
  const int64_t at = token * ft_width(&call->in[0]) + column;
  float x_buffer[PIECE], dy_buffer[PIECE];
  const float *x = ft_read(&call->in[0], at, count, x_buffer), *dy = ft_read(&call->in[3], at, count, dy_buffer);
  const float mean = ft_floats(&call->in[1])[token], scale = ft_floats(&call->in[2])[token];
  FT_ELEMENTWISE
  for (int64_t j = 0; j < count; j++) sums[j] += (x[j] - mean) * scale * dy[j];
}

static void layernorm_weight_gradient(const ft_call *call) {
  ft_sum_tokens(call, &call->in[0], ft_floats(&call->out[0]), call->out[0].count, call->attrs[0] != 0, layernorm_terms);
}

/* --- column_sum: x [B,T,M], (c f32 [M]) → y f32 [M]. attrs: accumulate --- */

static void column_terms(const ft_call *call, int64_t token, int64_t column, int64_t count, float *sums) {
  float buffer[PIECE];
  const float *x = ft_read(&call->in[0], token * ft_width(&call->in[0]) + column, count, buffer);
  FT_ELEMENTWISE
  for (int64_t j = 0; j < count; j++) sums[j] += x[j];
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
