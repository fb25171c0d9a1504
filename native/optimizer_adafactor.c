/*
 * adafactor (Shazeer & Stern 2018; as transformers' Adafactor without parameter scaling and relative steps). The gradient of a matrix is
 * read three times: for the means of its squares, for the norm of the update, and for the update; no value of its size is made.
 */
#include "optimizer.h"

#define EPSILON 1e-30
#define DECAY_RATE (-0.8)
/* Rows of a task and of a partial sum: so many that there are at most 256 partial sums, but no fewer than 64. */
#define LEAST_ROWS 64
#define MOST_BLOCKS 256
/* Elements of a task and of a partial sum, for vectors. */
#define BLOCK 4096

typedef struct {
  int64_t rows, columns, block_rows, blocks;
} cut;

static cut cut_of(const ft_call *call) {
  const ft_tensor *p = &call->in[0];
  cut c = {.rows = 1, .columns = p->count, .block_rows = BLOCK, .blocks = ft_ceil_div(p->count, BLOCK)};
  if (call->attrs[2] == 0) return c;
  c.rows = p->shape[0];
  c.columns = p->shape[1];
  c.block_rows = LEAST_ROWS * ft_ceil_div(c.rows, (int64_t)LEAST_ROWS * MOST_BLOCKS);
  c.blocks = ft_ceil_div(c.rows, c.block_rows);
  return c;
}

/* What the tasks share. */
typedef struct {
  const ft_call *call;
  cut cut;
  const float *gradient;
  float gradient_scale, rate;
  float beta2, rest2; /* of the second moment, by the step */
  float factor;       /* learning rate over max(1, rms of the update) */
  double *squares;    /* [blocks]: Σ of the update's squares */
  float *row_factors; /* [rows], matrices only: the row's Σ of squares, then √(mean(r) / r) */
  float *column_factors; /* [columns]: 1 / √c */
  float *column_sums;    /* [blocks, columns] */
} state;

static int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

/* --- matrices --- */

/* Σ of squares of each row of a block, and of each column within it. */
static void sum_block(void *context, int64_t block, int thread) {
  (void)thread;
  const state *s = context;
  const int64_t width = s->cut.columns;
  const vf scale = v_splat(s->gradient_scale);
  float *sums = s->column_sums + block * width;
  memset(sums, 0, (size_t)width * sizeof *sums);
  FT_EACH_ROWS(row, rows, block * s->cut.block_rows, ft_min(s->cut.rows, (block + 1) * s->cut.block_rows), {
    const float *gradient = s->gradient + row * width;
    vf lanes[ROWS_ABREAST][LANE_VECTORS] = {0};
    FT_EACH_LANE_VECTOR(part, j, n, 0, width, {
      vf column = v_load_first(sums + j, n);
      for (int r = 0; r < rows; r++) {
        const vf g = v_load_first(gradient + r * width + j, n) * scale, square = g * g;
        lanes[r][part] += square;
        column += square;
      }
      v_store_first(sums + j, column, n);
    });
    for (int r = 0; r < rows; r++) s->row_factors[row + r] = ft_sum_lane_vectors(lanes[r]);
  });
}

/* Columns of a task that adds up the sums of all blocks. */
#define COLUMN_CHUNK 256

static void finish_columns(void *context, int64_t chunk, int thread) {
  (void)thread;
  const state *s = context;
  const int64_t from = chunk * COLUMN_CHUNK, n = ft_min(COLUMN_CHUNK, s->cut.columns - from);
  const float *old = ft_floats(&s->call->in[6]) + from;
  float *moment = ft_floats(&s->call->out[2]) + from, *factors = s->column_factors + from;
  double sums[COLUMN_CHUNK] = {0};
  for (int64_t block = 0; block < s->cut.blocks; block++) {
    const float *partial = s->column_sums + block * s->cut.columns + from;
    for (int64_t j = 0; j < n; j++) sums[j] += (double)partial[j];
  }
  for (int64_t j = 0; j < n; j++) {
    const float value = s->beta2 * old[j] + s->rest2 * (float)(sums[j] / (double)s->cut.rows + EPSILON);
    moment[j] = value;
    factors[j] = 1.0f / sqrtf(value);
  }
}

static void finish_rows(const state *s) {
  const float *old = ft_floats(&s->call->in[5]);
  float *moment = ft_floats(&s->call->out[1]);
  double sum = 0;
  for (int64_t row = 0; row < s->cut.rows; row++) {
    const float value = s->beta2 * old[row] + s->rest2 * (float)((double)s->row_factors[row] / (double)s->cut.columns + EPSILON);
    moment[row] = value;
    sum += (double)value;
  }
  const float mean = (float)(sum / (double)s->cut.rows);
  for (int64_t row = 0; row < s->cut.rows; row++) s->row_factors[row] = 1.0f / sqrtf(moment[row] / mean);
}

/* Σ of the squares of a block's update. */
static void square_block(void *context, int64_t block, int thread) {
  (void)thread;
  const state *s = context;
  const int64_t width = s->cut.columns;
  const vf scale = v_splat(s->gradient_scale);
  double sum = 0;
  FT_EACH_ROWS(row, rows, block * s->cut.block_rows, ft_min(s->cut.rows, (block + 1) * s->cut.block_rows), {
    const float *gradient = s->gradient + row * width;
    vf lanes[ROWS_ABREAST][LANE_VECTORS] = {0};
    FT_EACH_LANE_VECTOR(part, j, n, 0, width, {
      const vf column = v_load_first(s->column_factors + j, n);
      for (int r = 0; r < rows; r++) {
        const vf u = v_load_first(gradient + r * width + j, n) * scale * (v_splat(s->row_factors[row + r]) * column);
        lanes[r][part] += u * u;
      }
    });
    for (int r = 0; r < rows; r++) sum += (double)ft_sum_lane_vectors(lanes[r]);
  });
  s->squares[block] = sum;
}

/* --- vectors --- */

static void moment_block(void *context, int64_t block, int thread) {
  (void)thread;
  const state *s = context;
  const int64_t from = block * BLOCK, n = ft_min(BLOCK, s->cut.columns - from);
  const float *gradient = s->gradient + from, *old = ft_floats(&s->call->in[5]) + from;
  const float scale = s->gradient_scale, beta2 = s->beta2, rest2 = s->rest2;
  float *moment = ft_floats(&s->call->out[1]) + from;
  double sum = 0;
  for (int64_t start = 0; start < n; start += PART) {
    const int64_t end = ft_min(n, start + PART);
    float u[PART];
    FT_ELEMENTWISE
    for (int64_t i = start; i < end; i++) {
      const float g = gradient[i] * scale;
      const float value = beta2 * old[i] + rest2 * (g * g + (float)EPSILON);
      moment[i] = value;
      u[i - start] = g / sqrtf(value);
    }
    sum += (double)ft_sum_of_squares(u, end - start);
  }
  s->squares[block] = sum;
}

/* --- the update itself --- */

/* One row of a matrix or a stretch of a vector: `at` counts elements of the parameter. */
typedef struct {
  const float *gradient;
  const float *divisors; /* vectors: the second moments; matrices: NULL */
  const float *column_factors;
  float *m; /* NULL without a first moment */
  const float *m_in;
  float row_factor, gradient_scale, factor, kept, beta1, rest1;
  int64_t row_start;
} row_rule;

VF_INLINE void update_elements(const row_rule *rule, const float *p_in, float *p_out, int64_t at, int64_t n, bool factored, bool has_moment) {
  const float *gradient = rule->gradient + at;
  const float *columns = factored ? rule->column_factors + (at - rule->row_start) : NULL, *moments = factored ? NULL : rule->divisors + at;
  const float *m_in = has_moment ? rule->m_in + at : NULL;
  float *m_out = has_moment ? rule->m + at : NULL;
  const float scale = rule->gradient_scale, row_factor = rule->row_factor, factor = rule->factor, kept = rule->kept;
  const float beta1 = rule->beta1, rest1 = rule->rest1;
  FT_ELEMENTWISE
  for (int64_t i = 0; i < n; i++) {
    const float g = gradient[i] * scale;
    float u = factor * (factored ? g * (row_factor * columns[i]) : g / sqrtf(moments[i]));
    if (has_moment) {
      u = beta1 * m_in[i] + rest1 * u;
      m_out[i] = u;
    }
    p_out[i] = p_in[i] * kept - u;
  }
}

VF_INLINE void update_matrix(const void *rule, const float *old, float *new, int64_t at, int64_t n) { update_elements(rule, old, new, at, n, true, false); }
VF_INLINE void update_matrix_moment(const void *rule, const float *old, float *new, int64_t at, int64_t n) {
  update_elements(rule, old, new, at, n, true, true);
}
VF_INLINE void update_vector(const void *rule, const float *old, float *new, int64_t at, int64_t n) { update_elements(rule, old, new, at, n, false, false); }
VF_INLINE void update_vector_moment(const void *rule, const float *old, float *new, int64_t at, int64_t n) {
  update_elements(rule, old, new, at, n, false, true);
}

static void update_task(void *context, int64_t block, int thread) {
  (void)thread;
  const state *s = context;
  const ft_call *call = s->call;
  const bool factored = call->attrs[2] != 0, has_moment = call->attrs[0] > 0;
  row_rule rule = {
      .gradient = s->gradient,
      .divisors = factored ? NULL : ft_floats(&call->out[1]),
      .column_factors = s->column_factors,
      .m_in = has_moment ? ft_floats(&call->in[call->n_in - 1]) : NULL,
      .m = has_moment ? ft_floats(&call->out[call->n_out - 1]) : NULL,
      .gradient_scale = s->gradient_scale,
      .factor = s->factor,
      .kept = (float)(1 - (double)s->rate * call->attrs[1]),
      .beta1 = (float)call->attrs[0],
      .rest1 = (float)(1 - call->attrs[0]),
  };
  const ft_range range = {0, {call->attrs[3], ft_ints(&call->in[3])[0]}, {rule.gradient, rule.m_in}};
  if (!factored) {
    const int64_t from = block * BLOCK, to = ft_min(s->cut.columns, from + BLOCK);
    if (has_moment) ft_update_range(call, &range, from, to, update_vector_moment, &rule);
    else ft_update_range(call, &range, from, to, update_vector, &rule);
    return;
  }
  const int64_t last = ft_min(s->cut.rows, (block + 1) * s->cut.block_rows);
  for (int64_t row = block * s->cut.block_rows; row < last; row++) {
    const int64_t from = row * s->cut.columns, to = from + s->cut.columns;
    rule.row_start = from;
    rule.row_factor = s->row_factors[row];
    if (has_moment) ft_update_range(call, &range, from, to, update_matrix_moment, &rule);
    else ft_update_range(call, &range, from, to, update_matrix, &rule);
  }
}

/* parameter f32 or bf16 [P], gradient f32 [P], learningRate f32 [1], step i32 [1], gradientScale f32 [1], second moments f32 (matrix: [rows],
   [columns]; vector: [P]), (first moment f32 [P]) → parameter' over 0, the moments over 5 and on. attrs: beta1, weightDecay, factored, seed */
static void adafactor(const ft_call *call) {
  state s = {.call = call, .cut = cut_of(call), .gradient = ft_floats(&call->in[1])};
  const bool factored = call->attrs[2] != 0;
  const double beta2 = 1 - pow((double)ft_ints(&call->in[3])[0], DECAY_RATE);
  s.rate = ft_floats(&call->in[2])[0];
  s.gradient_scale = ft_floats(&call->in[4])[0];
  s.beta2 = (float)beta2;
  s.rest2 = (float)(1 - beta2);
  s.squares = (double *)(void *)call->workspace;
  if (factored) {
    char *place = call->workspace + aligned(8 * s.cut.blocks);
    s.row_factors = (float *)(void *)place;
    s.column_factors = (float *)(void *)(place += aligned(4 * s.cut.rows));
    s.column_sums = (float *)(void *)(place + aligned(4 * s.cut.columns));
    ft_parallel(call->pool, s.cut.blocks, sum_block, &s);
    ft_parallel(call->pool, ft_ceil_div(s.cut.columns, COLUMN_CHUNK), finish_columns, &s);
    finish_rows(&s);
    ft_parallel(call->pool, s.cut.blocks, square_block, &s);
  } else {
    ft_parallel(call->pool, s.cut.blocks, moment_block, &s);
  }
  double sum = 0;
  for (int64_t block = 0; block < s.cut.blocks; block++) sum += s.squares[block];
  const double rms = sqrt(sum / (double)call->in[0].count);
  s.factor = (float)((double)s.rate / (rms <= 1 ? 1 : rms)); /* a norm that is NaN stays visible */
  ft_parallel(call->pool, s.cut.blocks, update_task, &s);
}

/* an f64 per block; for matrices also a factor per row and per column, and a sum per block and column */
static int64_t adafactor_workspace(const ft_call *call, int threads) {
  (void)threads;
  const cut c = cut_of(call);
  if (call->attrs[2] == 0) return 8 * c.blocks;
  return aligned(8 * c.blocks) + aligned(4 * c.rows) + aligned(4 * c.columns) + 4 * c.blocks * c.columns;
}

extern const ft_entry FT_NAME(optimizer_adafactor_entries)[];
const ft_entry FT_NAME(optimizer_adafactor_entries)[] = {
    {"adafactor", adafactor, adafactor_workspace},
    {NULL, NULL, NULL},
};
