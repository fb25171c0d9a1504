/*
 * What the updates share: going over a range of a parameter, f32 or bf16, and rounding new bf16 values up or down at random. The random bits
 * are a hash of seed, step and element index alone (src/ops/stochastic-rounding.ts draws the same), so that it does not matter which thread
 * or which node of a range computes an element.
 */
#ifndef FULLTUNE_OPTIMIZER_H
#define FULLTUNE_OPTIMIZER_H

#include "elements.h"

/* Elements of a bf16 parameter that are expanded at a time, and of a block of eight-bit codes. */
#define PART 256

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

/* Adds random bits below the last bit of bf16 and cuts them off. NaN stays NaN; infinities and what bf16 holds exactly stay as they are. */
FT_OWN void ft_round_bf16(uint16_t *to, const float *from, int64_t n, uint64_t key, int64_t index) {
  const vu second = (vu)v_splat_int((int32_t)(key >> 32));
  vu element = (vu)v_splat_int((int32_t)((uint32_t)index + (uint32_t)key)) + (vu)v_lane_index();
  FT_EACH_VECTOR(i, count, 0, n, {
    vu h = (element ^ (element >> 16)) * UINT32_C(0x7feb352d);
    h = (h ^ (h >> 15) ^ second) * UINT32_C(0x846ca68b);
    h = (h ^ (h >> 16)) & 0xffff;
    const vf x = v_load_first(from + i, count);
    const vu rounded = (vu)x + h, quiet = (vu)x | 0x400000;
    v_store_bits(to + i, v_low_halves((vu)v_select(x != x, (vf)quiet, (vf)rounded) >> 16), count);
    element += VF_LANES;
  });
}

FT_OWN void ft_expand_bf16(float *to, const uint16_t *from, int64_t n) {
  FT_EACH_VECTOR(i, count, 0, n, { v_store_first(to + i, v_load_first_as(from, i, FT_BF16, count), count); });
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

/* Where the range begins in the parameter, and how bf16 is rounded. */
typedef struct {
  int64_t first;
  ft_rounding rounding;
} ft_range;

/* Elements `from` … `to` - 1 of the range: those of input and output 0 from `range->first` on. */
VF_INLINE void ft_update_range(const ft_call *call, const ft_range *range, int64_t from, int64_t to, ft_update update, const void *rule) {
  const int64_t first = range->first;
  if (call->in[0].dtype == FT_F32) {
    update(rule, ft_floats(&call->in[0]) + first + from, ft_floats(&call->out[0]) + first + from, from, to - from);
    return;
  }
  const uint16_t *in = (const uint16_t *)(const void *)call->in[0].data;
  uint16_t *out = (uint16_t *)(void *)call->out[0].data;
  while (from < to) {
    const int64_t index = first + from;
    const int64_t n = ft_min(to - from, PART - index % PART); /* never across a multiple of 2^32 */
    float part[PART];
    ft_expand_bf16(part, in + index, n);
    update(rule, part, part, from, n);
    ft_round_bf16(out + index, part, n, ft_rounding_key(&range->rounding, index), index);
    from += n;
  }
}

#endif
