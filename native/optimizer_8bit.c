/*
 * adamw_8bit: AdamW whose moments are eight-bit codes in blocks of 256, each with the greatest magnitude as its scale (Dettmers et al. 2022).
 * A block is expanded on the stack, updated in f32 and encoded again. src/ops/dynamic-code.ts says what the codes mean.
 */
#include "optimizer.h"

#define DECADES 7
/* The code of 0 in the signed table; that of q magnitudes up is 127 + q, down 127 - q. There is no -1. */
#define SIGNED_ZERO 127

/* The value of each code; made anew in each call's workspace. */
typedef struct {
  float signed_code[256];
  float unsigned_code[256];
} code_tables;

#define TABLE_BYTES ((int64_t)sizeof(code_tables))

#define DECADE(i) ((i) == 0 ? 1e-6 : (i) == 1 ? 1e-5 : (i) == 2 ? 1e-4 : (i) == 3 ? 1e-3 : (i) == 4 ? 1e-2 : (i) == 5 ? 1e-1 : 1.0)

/* 0, the middles of the pieces of all decades, 1: the i-th decade, [0.1, 1] · 10^(i - 6), is cut into `pieces` · 2^i. */
static void make_magnitudes(float *to, int pieces) {
  *to++ = 0;
  for (int i = 0; i < DECADES; i++, pieces *= 2) {
    for (int j = 0; j < pieces; j++) *to++ = (float)(DECADE(i) * (0.1 + 0.9 * (j + 0.5) / pieces));
  }
  *to = 1;
}

static void make_tables(code_tables *tables) {
  make_magnitudes(tables->signed_code + SIGNED_ZERO, 1);
  for (int q = 1; q <= SIGNED_ZERO; q++) tables->signed_code[SIGNED_ZERO - q] = -tables->signed_code[SIGNED_ZERO + q];
  make_magnitudes(tables->unsigned_code, 2);
}

/*
 * How many magnitudes above 0 the one is that is nearest to `a` in [0, 1], plus `pieces` - 1 unless that is 0. In the i-th decade, r =
 * a / (0.9 · 10^(i - 6)) + 8/9 runs from 1 to 2, and a piece is 1 / n wide, n = `pieces` · 2^i: the answer is the whole part of n · r. A value
 * between the last piece of a decade and the first of the next belongs to the nearer one, as EDGE says. Exact but for rounding: within
 * 1.5e-5 of a piece from the midpoint of two values either is taken. `pieces` is a constant where it is inlined.
 */
#define EDGE(i) ((float)(DECADE(i) * (1 + 0.9 / (pieces * (1 << (i))))))
#define RATE(i) ((float)(1 / (0.9 * DECADE(i))))
#define ENTER(i)                               \
  do {                                         \
    const bool inside = a > EDGE(i - 1);       \
    rate = inside ? RATE(i) : rate;            \
    n = inside ? (float)(pieces * (1 << i)) : n; \
  } while (0)
VF_INLINE int32_t nearest(float a, int pieces) {
  const float least = (float)(1e-6 * (0.1 + 0.45 / pieces) / 2), most = (float)(1 - 0.225 / (64 * pieces));
  float rate = RATE(0), n = a > least ? (float)pieces : 0.0f;
  ENTER(1);
  ENTER(2);
  ENTER(3);
  ENTER(4);
  ENTER(5);
  ENTER(6);
  const float r = a * rate + (float)(8.0 / 9), below2 = r < 0x1.fffffep0f ? r : 0x1.fffffep0f;
  return (int32_t)(n * below2) + (a > most ? 1 : 0);
}

static float as_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* The greatest |x| of a block, or the NaN or infinity in it: as integers, magnitudes of floats are in order and NaN comes last. */
VF_INLINE float greatest(const float *x) {
  int32_t most = 0;
  for (int i = 0; i < PART; i++) {
    int32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    bits &= 0x7fffffff;
    most = bits > most ? bits : most;
  }
  return as_float((uint32_t)most);
}

VF_INLINE bool is_finite(float x) { return x - x == 0; }

/* What is the same for all blocks. */
typedef struct {
  const code_tables *tables;
  const float *gradient;
  const uint8_t *m_codes, *v_codes;
  const float *m_scales, *v_scales;
  uint8_t *m_codes_out, *v_codes_out;
  float *m_scales_out, *v_scales_out;
  double *sums; /* of the group at hand: Σ error², Σ m² */
  ft_adam adam;
} block_rule;

/* The values of a block's codes. */
VF_INLINE void decode(float *to, const float *values, const uint8_t *codes) {
  for (int i = 0; i < PART; i += 8) {
    uint64_t eight;
    memcpy(&eight, codes + i, sizeof eight);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) to[i + j] = values[eight >> 8 * j & 255];
  }
}

/* Codes and scale of the first moment, and what the codes lose. */
VF_INLINE void encode_first(const block_rule *rule, const float *m, uint8_t *codes, float *scale_out) {
  const float scale = greatest(m), inverse = scale > 0 ? 1 / scale : 0;
  const float *values = rule->tables->signed_code;
  *scale_out = scale;
  if (!is_finite(scale)) {
    memset(codes, 255, PART);
    rule->sums[0] = rule->sums[1] = (double)(scale - scale);
    return;
  }
  int32_t steps[PART];
  float error[PART];
  for (int i = 0; i < PART; i++) steps[i] = nearest(fabsf(m[i] * inverse), 1);
  for (int i = 0; i < PART; i++) {
    const int32_t down = steps[i] > SIGNED_ZERO ? SIGNED_ZERO : steps[i];
    steps[i] = m[i] < 0 ? SIGNED_ZERO - down : SIGNED_ZERO + steps[i];
  }
  for (int i = 0; i < PART; i++) codes[i] = (uint8_t)steps[i];
  float back[PART];
  decode(back, values, codes);
  for (int i = 0; i < PART; i++) error[i] = m[i] - back[i] * scale;
  rule->sums[0] += (double)ft_sum_of_squares(error, PART);
  rule->sums[1] += (double)ft_sum_of_squares(m, PART);
}

VF_INLINE void encode_second(const float *v, uint8_t *codes, float *scale_out) {
  const float scale = greatest(v), inverse = scale > 0 ? 1 / scale : 0;
  *scale_out = scale;
  if (!is_finite(scale)) {
    memset(codes, 255, PART);
    return;
  }
  int32_t steps[PART];
  for (int i = 0; i < PART; i++) steps[i] = nearest(v[i] * inverse, 2) - 1;
  for (int i = 0; i < PART; i++) codes[i] = (uint8_t)(steps[i] < 0 ? 0 : steps[i]);
}

/* The operands of one block of 256 elements. */
typedef struct {
  const float *p_in, *gradient;
  const uint8_t *m_codes, *v_codes;
  float *p_out;
  uint8_t *m_codes_out, *v_codes_out;
} block;

static __attribute__((noinline)) void update_block(const block_rule *rules, const block *operands, int64_t index) {
  const block_rule rule = *rules;
  const block b = *operands;
  const float m_scale = rule.m_scales[index], v_scale = rule.v_scales[index];
  float m[PART], v[PART];
  decode(m, rule.tables->signed_code, b.m_codes);
  decode(v, rule.tables->unsigned_code, b.v_codes);
  FT_ELEMENTWISE
  for (int i = 0; i < PART; i++) {
    const float g = b.gradient[i] * rule.adam.gradient_scale;
    m[i] = rule.adam.beta1 * (m[i] * m_scale) + rule.adam.rest1 * g;
    v[i] = rule.adam.beta2 * (v[i] * v_scale) + rule.adam.rest2 * g * g;
    b.p_out[i] = b.p_in[i] * rule.adam.decay - rule.adam.step_size * m[i] / (sqrtf(v[i]) * rule.adam.root_scale + rule.adam.epsilon);
  }
  encode_first(&rule, m, b.m_codes_out, &rule.m_scales_out[index]);
  encode_second(v, b.v_codes_out, &rule.v_scales_out[index]);
}

/* The last block of a tensor, filled up with zeros. */
static void update_rest(const block_rule *rule, const block *rest, int64_t index, int64_t n) {
  float p[PART] = {0}, gradient[PART] = {0};
  uint8_t m_codes[PART], v_codes[PART] = {0};
  memset(m_codes, SIGNED_ZERO, PART);
  memcpy(p, rest->p_in, (size_t)n * sizeof *p);
  memcpy(gradient, rest->gradient, (size_t)n * sizeof *gradient);
  memcpy(m_codes, rest->m_codes, (size_t)n);
  memcpy(v_codes, rest->v_codes, (size_t)n);
  const block whole = {.p_in = p, .p_out = p, .gradient = gradient, .m_codes = m_codes, .v_codes = v_codes, .m_codes_out = m_codes, .v_codes_out = v_codes};
  update_block(rule, &whole, index);
  memcpy(rest->p_out, p, (size_t)n * sizeof *p);
  memcpy(rest->m_codes_out, m_codes, (size_t)n);
  memcpy(rest->v_codes_out, v_codes, (size_t)n);
}

/* `at` is a multiple of 256. */
static void update_part(const void *context, const float *p_in, float *p_out, int64_t at, int64_t n) {
  const block_rule *rule = context;
  const block operands = {
      .p_in = p_in,
      .p_out = p_out,
      .gradient = rule->gradient + at,
      .m_codes = rule->m_codes + at,
      .v_codes = rule->v_codes + at,
      .m_codes_out = rule->m_codes_out + at,
      .v_codes_out = rule->v_codes_out + at,
  };
  if (n == PART) update_block(rule, &operands, at / PART);
  else update_rest(rule, &operands, at / PART, n);
}

/* Elements of a task, and of a partial sum. */
#define GROUP (16 * PART)

static code_tables *tables_of(const ft_call *call) { return (code_tables *)(void *)call->workspace; }

static double *group_sums(const ft_call *call) { return (double *)(void *)(call->workspace + TABLE_BYTES); }

static void update_group(void *context, int64_t group, int thread) {
  (void)thread;
  const ft_call *call = context;
  const ft_range range = {(int64_t)call->attrs[4], {call->attrs[5], ft_ints(&call->in[7])[0]}, {NULL}};
  const block_rule rule = {
      .tables = tables_of(call),
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
      .adam = ft_adam_of(call, 6),
  };
  rule.sums[0] = rule.sums[1] = 0;
  const int64_t to = ft_min(call->in[2].count, (group + 1) * GROUP);
  for (int64_t from = group * GROUP; from < to; from += PART) ft_update_parts(call, &range, PART, from, ft_min(to, from + PART), update_part, &rule);
}

/* parameter f32 or bf16 [P], gradient f32 [P], m codes u8 [count], m scales f32 [blocks], v codes u8, v scales f32, learningRate f32 [1],
   step i32 [1], gradientScale f32 [1] → parameter', m codes', m scales', v codes', v scales', over 0, 2, 3, 4, 5; Σ error², Σ m'² f32 [2].
   attrs: beta1, beta2, epsilon, weightDecay, first (a multiple of 256), seed */
static void adamw_8bit(const ft_call *call) {
  make_tables(tables_of(call));
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

/* two tables of 256 f32, and two f64 per 4096 elements */
static int64_t adamw_8bit_workspace(const ft_call *call, int threads) {
  (void)threads;
  return TABLE_BYTES + 16 * ft_ceil_div(call->in[2].count, GROUP);
}

extern const ft_entry FT_NAME(optimizer_8bit_entries)[];
const ft_entry FT_NAME(optimizer_8bit_entries)[] = {
    {"adamw_8bit", adamw_8bit, adamw_8bit_workspace},
    {NULL, NULL, NULL},
};
