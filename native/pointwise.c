/* swiglu, gelu, their gradients, add, scale: one element at a time, so that outputs may overwrite inputs. Activations may have 16 bits. */
#include "elements.h"
#include "vector_math.h"

#define MOST_INPUTS 3
#define MOST_OUTPUTS 2

/* A vector of each output from one of each input; `number` is a further input of one element. */
typedef void formula(const vf *x, vf number, vf *y);

/* Vectors side by side: the chain of operations of one is too long to fill the processor. */
#define ABREAST 2

VF_INLINE void elements_as(const ft_call *call, int64_t from, int64_t to, int inputs, int outputs, formula *compute, bool past_cache, int dtype) {
  const vf number = call->n_in > inputs ? v_splat(ft_floats(&call->in[inputs])[0]) : v_zero();
  vf x[ABREAST][MOST_INPUTS], y[ABREAST][MOST_OUTPUTS];
  for (; from + ABREAST * VF_LANES <= to; from += ABREAST * VF_LANES) {
    for (int v = 0; v < ABREAST; v++) {
      for (int k = 0; k < inputs; k++) x[v][k] = v_load_as(call->in[k].data, from + v * VF_LANES, dtype);
      compute(x[v], number, y[v]);
    }
    for (int v = 0; v < ABREAST; v++) {
      for (int k = 0; k < outputs; k++) ft_put(call->out[k].data, from + v * VF_LANES, dtype, y[v][k], VF_LANES, past_cache);
    }
  }
  FT_EACH_VECTOR(i, n, from, to, {
    for (int k = 0; k < inputs; k++) x[0][k] = v_load_first_as(call->in[k].data, i, dtype, n);
    compute(x[0], number, y[0]);
    for (int k = 0; k < outputs; k++) ft_put(call->out[k].data, i, dtype, y[0][k], n, past_cache);
  });
  ft_stores_done(past_cache);
}

VF_INLINE void elements(const ft_call *call, int64_t from, int64_t to, int inputs, int outputs, formula *compute) {
  bool past_cache = (to - from) % VF_LANES == 0;
  for (int k = 0; k < outputs; k++) past_cache = past_cache && ft_past_cache(call, k, LANES);
  if (past_cache) FT_BY_DTYPE(call->in[0].dtype, elements_as, call, from, to, inputs, outputs, compute, true);
  else FT_BY_DTYPE(call->in[0].dtype, elements_as, call, from, to, inputs, outputs, compute, false);
}

/* POINTWISE(name, inputs, outputs) { y[…] = …x[…]… } is the kernel `name` of that formula. */
#define POINTWISE(name, inputs, outputs)                                                                                                     \
  VF_INLINE formula name##_formula;                                                                                                          \
  static void name##_elements(const ft_call *call, int64_t from, int64_t to) { elements(call, from, to, inputs, outputs, name##_formula); }   \
  static void name(const ft_call *call) { ft_for_rows(call, call->in[0].count, ((inputs) + (outputs)) * 4, name##_elements); }                \
  VF_INLINE void name##_formula(const vf *x, __attribute__((unused)) vf number, vf *y)

/* gate, up → gate·σ(gate)·up (Shazeer 2020) */
POINTWISE(swiglu, 2, 1) { y[0] = v_gated(x[0], x[0]) * x[1]; }

/* gate, up, dy → dgate = dy·up·σ·(1 + gate·(1 − σ)), dup = dy·gate·σ */
POINTWISE(swiglu_backward, 3, 2) {
  const vf gate = x[0], up = x[1], dy = x[2], one = v_splat(1.0f);
  vf rest;
  const vf s = v_sigmoid(gate, &rest);
  y[0] = dy * up * s * (one + gate * rest);
  y[1] = dy * gate * s;
}

#define INVERSE_SQRT_2PI 0.39894228f
#define SQRT_2_OVER_PI 0.79788456f
#define CUBIC 0.044715f

/* x·F(x) of a distribution function F with F(−|x|) = `tail`: rounded once where F is near 1. */
VF_INLINE vf times_cdf(vf x, vf tail) { return v_select(x < v_zero(), x * tail, v_fma(-x, tail, x)); }

/* x → x·Φ(x) (Hendrycks & Gimpel 2016) */
POINTWISE(gelu_erf, 1, 1) { y[0] = times_cdf(x[0], v_normal_tail(x[0])); }

/* x, dy → dx */
POINTWISE(gelu_erf_backward, 2, 1) {
  const vf tail = v_normal_tail(x[0]), below = v_select(x[0] < v_zero(), tail, v_splat(1.0f) - tail);
  const vf density = v_splat(INVERSE_SQRT_2PI) * v_exp(v_splat(-0.5f) * x[0] * x[0]);
  y[0] = x[1] * (below + x[0] * density);
}

/* The same by the tanh approximation: (1 + tanh u) / 2 is σ(2u). */
VF_INLINE vf twice_u(vf x) { return x * v_fma(v_splat(2.0f * SQRT_2_OVER_PI * CUBIC), x * x, v_splat(2.0f * SQRT_2_OVER_PI)); }
POINTWISE(gelu_tanh, 1, 1) {
  vf tail;
  v_sigmoid(v_abs(twice_u(x[0])), &tail);
  y[0] = times_cdf(x[0], tail);
}

POINTWISE(gelu_tanh_backward, 2, 1) {
  vf rest;
  const vf gate = v_sigmoid(twice_u(x[0]), &rest);
  const vf slope = v_fma(v_splat(6.0f * SQRT_2_OVER_PI * CUBIC), x[0] * x[0], v_splat(2.0f * SQRT_2_OVER_PI));
  y[0] = x[1] * (gate + x[0] * gate * rest * slope);
}

/* attrs: tanh */
static void gelu(const ft_call *call) { (call->attrs[0] != 0 ? gelu_tanh : gelu_erf)(call); }
static void gelu_backward(const ft_call *call) { (call->attrs[0] != 0 ? gelu_tanh_backward : gelu_erf_backward)(call); }

POINTWISE(add, 2, 1) { y[0] = x[0] + x[1]; }

/* x, s f32 [1] → x·s */
POINTWISE(scale, 1, 1) { y[0] = x[0] * number; }

extern const ft_entry FT_NAME(pointwise_entries)[];
const ft_entry FT_NAME(pointwise_entries)[] = {
    {"swiglu", swiglu, NULL},
    {"swiglu_backward", swiglu_backward, NULL},
    {"gelu", gelu, NULL},
    {"gelu_backward", gelu_backward, NULL},
    {"add", add, NULL},
    {"scale", scale, NULL},
    {NULL, NULL, NULL},
};
