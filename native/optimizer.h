/*
 * What the updates share: going over a range of a parameter, f32 or bf16, and rounding new bf16 values up or down at random. The random bits
 * are a hash of seed, step and element index alone (src/ops/stochastic-rounding.ts draws the same), so that it does not matter which thread
 * or which node of a range computes an element.
 */
#ifndef FULLTUNE_OPTIMIZER_H
#define FULLTUNE_OPTIMIZER_H

#include "elements.h"

/* Elements of a block of eight-bit codes, and of a partial sum. */
#define PART 256
/* Elements of a bf16 parameter that are expanded at a time: few, so that the processor reads the next ones while it rounds these. */
#define EXPANDED 128

/* Not inlined: gcc would unroll it for every caller. */
#define FT_OWN static __attribute__((noinline, unused))

/* The finaliser of splitmix64. */
VF_INLINE uint64_t ft_mix(uint64_t z) {
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

typedef struct {
  double seed;
  int32_t step;
} ft_rounding;

/* The key of 2^32 elements that share the upper half of their index: randomBits(seed, step, index / 2^32) of src/base/random.ts. */
VF_INLINE uint64_t ft_rounding_key(const ft_rounding *rounding, int64_t index) {
  const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
  const uint64_t a = ft_mix((uint64_t)rounding->seed + golden);
  const uint64_t b = ft_mix(a ^ (uint64_t)(int64_t)rounding->step * UINT64_C(0xd1342543de82ef95));
  return ft_mix(b + (uint64_t)(index >> 32) * golden);
}

/* x, of which bf16 takes the high half, after random bits below it were added: those of the hash of `element`. */
VF_INLINE vu ft_rounded_at_random(vf x, vu element, vu second) {
  vu h = (element ^ (element >> 16)) * UINT32_C(0x7feb352d);
  h = (h ^ (h >> 15) ^ second) * UINT32_C(0x846ca68b);
  return (vu)x + ((h ^ (h >> 16)) & 0xffff);
}

/* Rounds at random. NaN stays NaN; infinities and what bf16 holds exactly stay as they are. */
FT_OWN void ft_round_bf16(uint16_t *to, const float *from, int64_t n, uint64_t key, int64_t index) {
  const vu first = (vu)v_splat_int((int32_t)((uint32_t)index + (uint32_t)key)), second = (vu)v_splat_int((int32_t)(key >> 32));
  vf offset[2] = {(vf)v_lane_index(), (vf)(v_lane_index() + VF_LANES)};
  if (V_CROSSED(FT_BF16)) v_cross(offset);
  vu elements[2] = {first + (vu)offset[0], first + (vu)offset[1]};
  int64_t i = 0;
  for (; i + 2 * VF_LANES <= n; i += 2 * VF_LANES) {
    vf x[2];
    vu y[2];
    v_load_two_beside(from + i, FT_BF16, x);
    for (int v = 0; v < 2; v++) y[v] = ft_rounded_at_random(x[v], elements[v], second);
    v_store_two_rounded(to + i, x, y, false);
    for (int v = 0; v < 2; v++) elements[v] += 2 * VF_LANES;
  }
  FT_EACH_VECTOR(j, count, i, n, {
    const vf x = v_load_first(from + j, count);
    const vu element = first + (vu)v_splat_int((int32_t)j) + (vu)v_lane_index();
    v_store_bits(to + j, v_high_halves(v_quiet_nan_or(x, ft_rounded_at_random(x, element, second))), count);
  });
}

FT_OWN void ft_expand_bf16(float *to, const uint16_t *from, int64_t n) {
  int64_t i = 0;
  for (; i + 2 * VF_LANES <= n; i += 2 * VF_LANES) {
    vf x[2];
    v_load_two_as(from, i, FT_BF16, x);
    if (V_CROSSED(FT_BF16)) v_cross(x);
    for (int v = 0; v < 2; v++) v_store(to + i + v * VF_LANES, x[v]);
  }
  FT_EACH_VECTOR(j, count, i, n, { v_store_first(to + j, v_load_first_as(from, j, FT_BF16, count), count); });
}

/* What AdamW needs of a step, the same for all elements: in f64 until the last moment, as torch.optim.AdamW computes it. */
typedef struct {
  float gradient_scale, beta1, beta2, rest1, rest2, decay, step_size, root_scale, epsilon;
} ft_adam;

/* Attributes 0 to 3 are beta1, beta2, epsilon, weightDecay; inputs `scalars` … are learningRate f32 [1], step i32 [1], gradientScale f32 [1]. */
VF_INLINE ft_adam ft_adam_of(const ft_call *call, int scalars) {
  const double b1 = call->attrs[0], b2 = call->attrs[1];
  const double rate = (double)ft_floats(&call->in[scalars])[0], step = (double)ft_ints(&call->in[scalars + 1])[0];
  return (ft_adam){
      .gradient_scale = ft_floats(&call->in[scalars + 2])[0],
      .beta1 = (float)b1,
      .beta2 = (float)b2,
      .rest1 = (float)(1 - b1),
      .rest2 = (float)(1 - b2),
      .decay = (float)(1 - rate * call->attrs[3]),
      .step_size = (float)(rate / (1 - pow(b1, step))),
      .root_scale = (float)(1 / sqrt(1 - pow(b2, step))),
      .epsilon = (float)call->attrs[2],
  };
}

/*
 * Computes new values of `n` elements of the parameter: `old` and `new` (perhaps the same) begin at element `at` of the range, gradient and
 * state are the rule's own business.
 */
typedef void (*ft_update)(const void *rule, const float *old, float *new, int64_t at, int64_t n);

/* Where the range begins in the parameter, how bf16 is rounded, and what is read beside the parameter: arrays of the range, or NULL. */
typedef struct {
  int64_t first;
  ft_rounding rounding;
  const float *beside[3];
} ft_range;

/* Asks for the `n` elements from `at` on of what is read: while a part is rounded memory would have nothing to do. */
VF_INLINE void ft_ask_range(const ft_range *range, const uint16_t *parameter, int64_t at, int64_t n) {
  for (int64_t i = at; i < at + n; i += 32) __builtin_prefetch(parameter + i, 0, 3);
  for (int k = 0; k < 3 && range->beside[k] != NULL; k++) {
    for (int64_t i = at; i < at + n; i += 16) __builtin_prefetch(range->beside[k] + i, 0, 3);
  }
}

/* Elements `from` … `to` - 1 of the range: those of input and output 0 from `range->first` on; of bf16 `part` at a time, a constant. */
VF_INLINE void ft_update_parts(const ft_call *call, const ft_range *range, int part, int64_t from, int64_t to, ft_update update, const void *rule) {
  const int64_t first = range->first;
  if (call->in[0].dtype == FT_F32) {
    update(rule, ft_floats(&call->in[0]) + first + from, ft_floats(&call->out[0]) + first + from, from, to - from);
    return;
  }
  const uint16_t *in = (const uint16_t *)(const void *)call->in[0].data;
  uint16_t *out = (uint16_t *)(void *)call->out[0].data;
  while (from < to) {
    const int64_t index = first + from;
    const int64_t n = ft_min(to - from, part - index % part); /* never across a multiple of 2^32 */
    float expanded[PART];
    ft_expand_bf16(expanded, in + index, n);
    update(rule, expanded, expanded, from, n);
    ft_ask_range(range, in + first, from + n, ft_min(part, to - from - n));
    ft_round_bf16(out + index, expanded, n, ft_rounding_key(&range->rounding, index), index);
    from += n;
  }
}
VF_INLINE void ft_update_range(const ft_call *call, const ft_range *range, int64_t from, int64_t to, ft_update update, const void *rule) {
  ft_update_parts(call, range, EXPANDED, from, to, update, rule);
}

#endif
