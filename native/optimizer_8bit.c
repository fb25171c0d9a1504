/*
 * adamw_8bit: AdamW whose moments are eight-bit codes in blocks of 256, each with the greatest magnitude as its scale (Dettmers et al. 2022).
 * A block is expanded on the stack, updated in f32 and encoded again. The tables of the codes are made anew in each call's workspace.
 */
#include "optimizer.h"

#define DECADES 7
/* A cell of the search holds all floats with one exponent and one value of the upper 7 bits of the mantissa: at most one midpoint lies in it. */
#define CELL_SHIFT 16
#define FIRST_CELL ((127 - 23) << 7) /* 2^-23, below every midpoint */
#define CELLS ((127 << 7) - FIRST_CELL + 1)

/* Magnitudes in ascending order: 0, the middles, 1. */
typedef struct {
  float value[256];
  /* The midpoint to the next magnitude: from there on, that one is nearer. Infinite for the greatest. */
  float midpoint[256];
  /* How many midpoints lie below a cell's floats. */
  uint8_t start[CELLS];
} code_table;

#define TABLE_BYTES ((int64_t)(sizeof(code_table) + 63) / 64 * 64)

static float as_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* The i-th of 7 decades, up to 1e-6 … 1, is cut into `pieces` · 2^i equal ones. src/ops/dynamic-code.ts is the same in TypeScript. */
static void make_table(code_table *table, int pieces) {
  static const double scales[DECADES] = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1};
  int count = 1;
  table->value[0] = 0;
  for (int i = 0; i < DECADES; i++, pieces *= 2) {
    for (int j = 0; j < pieces; j++) table->value[count++] = (float)(scales[i] * (0.1 + 0.9 * (j + 0.5) / pieces));
  }
  table->value[count++] = 1;
  for (int i = 0; i + 1 < count; i++) table->midpoint[i] = (float)(((double)table->value[i] + (double)table->value[i + 1]) / 2);
  for (int i = count - 1; i < 256; i++) table->midpoint[i] = INFINITY;
  int below = 0;
  for (int cell = 0; cell < CELLS; cell++) {
    const float least = as_float((uint32_t)(FIRST_CELL + cell) << CELL_SHIFT);
    while (table->midpoint[below] < least) below++;
    table->start[cell] = (uint8_t)below;
  }
}

/* nearest[i] = the index of the magnitude that is nearest to |x[i]| / scale, at a tie the lesser one; all x are finite. */
FT_INLINE void find_nearest(const code_table *table, const float *x, int64_t n, float scale, uint8_t *nearest) {
  float magnitude[PART];
  int32_t cell[PART];
  const float divisor = scale > 0 ? scale : 1.0f;
  for (int64_t i = 0; i < n; i++) {
    const float a = fabsf(x[i]) / divisor;
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    const int32_t index = (int32_t)(bits >> CELL_SHIFT) - FIRST_CELL;
    magnitude[i] = a;
    cell[i] = index < 0 ? 0 : index;
  }
  for (int64_t i = 0; i < n; i++) {
    const uint8_t start = table->start[cell[i]];
    nearest[i] = (uint8_t)(start + (table->midpoint[start] < magnitude[i]));
  }
}

/* The greatest |x|, or the NaN or infinity that is in x: as integers, magnitudes of floats are in order and NaN comes last. */
FT_INLINE float greatest(const float *x, int64_t n) {
  int32_t most = 0;
  for (int64_t i = 0; i < n; i++) {
    int32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    bits &= 0x7fffffff;
    most = bits > most ? bits : most;
  }
  return as_float((uint32_t)most);
}

FT_INLINE bool is_finite(float x) { return x - x == 0; }

/* What is the same for all blocks. */
typedef struct {
  const code_table *signed_code, *unsigned_code;
  const float *gradient;
  const uint8_t *m_codes, *v_codes;
  const float *m_scales, *v_scales;
  uint8_t *m_codes_out, *v_codes_out;
  float *m_scales_out, *v_scales_out;
  double *sums; /* of the group at hand: Σ error², Σ m² */
  float gradient_scale, beta1, beta2, rest1, rest2, decay, step_size, root_scale, epsilon;
} block_rule;

/* The code of 0 is 127; that of q magnitudes up 127 + q, down 127 - q. There is no -1. */
#define SIGNED_ZERO 127

/* Codes and scale of the first moment, and what the codes lose. */
FT_INLINE void encode_first(const block_rule *rule, const float *m, int64_t at, int64_t n) {
  const float scale = greatest(m, n);
  uint8_t *codes = rule->m_codes_out + at, nearest[PART];
  float error[PART];
  rule->m_scales_out[at / PART] = scale;
  if (!is_finite(scale)) {
    memset(codes, 255, (size_t)n);
    rule->sums[0] = rule->sums[1] = (double)(scale - scale);
    return;
  }
  find_nearest(rule->signed_code, m, n, scale, nearest);
  for (int64_t i = 0; i < n; i++) {
    const uint8_t steps = m[i] < 0 && nearest[i] > SIGNED_ZERO ? SIGNED_ZERO : nearest[i];
    codes[i] = (uint8_t)(m[i] < 0 ? SIGNED_ZERO - steps : SIGNED_ZERO + steps);
    error[i] = fabsf(m[i]) - rule->signed_code->value[steps] * scale;
  }
  rule->sums[0] += (double)ft_sum_of_squares(error, n);
  rule->sums[1] += (double)ft_sum_of_squares(m, n);
}

FT_INLINE void encode_second(const block_rule *rule, const float *v, int64_t at, int64_t n) {
  const float scale = greatest(v, n);
  rule->v_scales_out[at / PART] = scale;
  if (is_finite(scale)) {
    find_nearest(rule->unsigned_code, v, n, scale, rule->v_codes_out + at);
  } else {
    memset(rule->v_codes_out + at, 255, (size_t)n);
  }
}

/* One block: `at` is a multiple of 256. */
FT_INLINE void update_block(const void *context, const float *p_in, float *p_out, int64_t at, int64_t n) {
  const block_rule rule = *(const block_rule *)context;
  const float *gradient = rule.gradient + at, m_scale = rule.m_scales[at / PART], v_scale = rule.v_scales[at / PART];
  const uint8_t *m_codes = rule.m_codes + at, *v_codes = rule.v_codes + at;
  float m[PART], v[PART];
  for (int64_t i = 0; i < n; i++) {
    const int steps = m_codes[i] - SIGNED_ZERO;
    const float magnitude = rule.signed_code->value[steps < 0 ? -steps : steps];
    m[i] = (steps < 0 ? -magnitude : magnitude) * m_scale;
    v[i] = rule.unsigned_code->value[v_codes[i]] * v_scale;
  }
  FT_ELEMENTWISE
  for (int64_t i = 0; i < n; i++) {
    const float g = gradient[i] * rule.gradient_scale;
    m[i] = rule.beta1 * m[i] + rule.rest1 * g;
    v[i] = rule.beta2 * v[i] + rule.rest2 * g * g;
    p_out[i] = p_in[i] * rule.decay - rule.step_size * m[i] / (sqrtf(v[i]) * rule.root_scale + rule.epsilon);
  }
  encode_first(&rule, m, at, n);
  encode_second(&rule, v, at, n);
}

/* Elements of a task, and of a partial sum. */
#define GROUP (16 * PART)

static const code_table *table_of(const ft_call *call, int index) {
  return (const code_table *)(const void *)(call->workspace + index * TABLE_BYTES);
}

static double *group_sums(const ft_call *call) { return (double *)(void *)(call->workspace + 2 * TABLE_BYTES); }

static void update_group(void *context, int64_t group, int thread) {
  (void)thread;
  const ft_call *call = context;
  const double rate = (double)ft_floats(&call->in[6])[0];
  const int32_t step = ft_ints(&call->in[7])[0];
  const double b1 = call->attrs[0], b2 = call->attrs[1];
  const ft_range range = {(int64_t)call->attrs[4], {call->attrs[5], step}};
  const block_rule rule = {
      .signed_code = table_of(call, 0),
      .unsigned_code = table_of(call, 1),
      .gradient = ft_floats(&call->in[1]) + range.first,
      .m_codes = (const uint8_t *)call->in[2].data,
      .m_scales = ft_floats(&call->in[3]),
      .v_codes = (const uint8_t *)call->in[4].data,
      .v_scales = ft_floats(&call->in[5]),
      .m_codes_out = (uint8_t *)call->out[1].data,
      .m_scales_out = ft_floats(&call->out[2]),
      .v_codes_out = (uint8_t *)call->out[3].data,
      .v_scales_out = ft_floats(&call->out[4]),
      .sums = group_sums(call) + 2 * group,
      .gradient_scale = ft_floats(&call->in[8])[0],
      .beta1 = (float)b1,
      .beta2 = (float)b2,
      .rest1 = (float)(1 - b1),
      .rest2 = (float)(1 - b2),
      .decay = (float)(1 - rate * call->attrs[3]),
      .step_size = (float)(rate / (1 - pow(b1, (double)step))),
      .root_scale = (float)(1 / sqrt(1 - pow(b2, (double)step))),
      .epsilon = (float)call->attrs[2],
  };
  rule.sums[0] = rule.sums[1] = 0;
  const int64_t to = ft_min(call->in[2].count, (group + 1) * GROUP);
  for (int64_t from = group * GROUP; from < to; from += PART) ft_update_range(call, &range, from, ft_min(to, from + PART), update_block, &rule);
}

/* parameter f32 or bf16 [P], gradient f32 [P], m codes u8 [count], m scales f32 [blocks], v codes u8, v scales f32, learningRate f32 [1],
   step i32 [1], gradientScale f32 [1] → parameter', m codes', m scales', v codes', v scales', over 0, 2, 3, 4, 5; Σ error², Σ m'² f32 [2].
   attrs: beta1, beta2, epsilon, weightDecay, first (a multiple of 256), seed */
static void adamw_8bit(const ft_call *call) {
  make_table((code_table *)(void *)call->workspace, 1);
  make_table((code_table *)(void *)(call->workspace + TABLE_BYTES), 2);
  const int64_t groups = ft_ceil_div(call->in[2].count, GROUP);
  ft_parallel(call->pool, groups, update_group, (void *)(uintptr_t)call);
  double error = 0, whole = 0;
  for (int64_t group = 0; group < groups; group++) {
    error += group_sums(call)[2 * group];
    whole += group_sums(call)[2 * group + 1];
  }
  ft_floats(&call->out[5])[0] = (float)error;
  ft_floats(&call->out[5])[1] = (float)whole;
}

/* two tables of 5,056 bytes, and two f64 per 4096 elements */
static int64_t adamw_8bit_workspace(const ft_call *call, int threads) {
  (void)threads;
  return 2 * TABLE_BYTES + 16 * ft_ceil_div(call->in[2].count, GROUP);
}

extern const ft_entry FT_NAME(optimizer_8bit_entries)[];
const ft_entry FT_NAME(optimizer_8bit_entries)[] = {
    {"adamw_8bit", adamw_8bit, adamw_8bit_workspace},
    {NULL, NULL, NULL},
};
