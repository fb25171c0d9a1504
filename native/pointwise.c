/* swiglu, gelu, their gradients, add, scale: one element at a time, so that outputs may overwrite inputs. Activations may have 16 bits. */
#include "elements.h"
#include "vector_math.h"

#define MOST_INPUTS 3
#define MOST_OUTPUTS 2

/* A vector of each output from one of each input; `number` is a further input of one element. */
typedef void formula(const vf *x, vf number, vf *y);

/* Vectors side by side, in pairs: the chain of operations of one is too long to fill the processor, and what is stored at once should fill cache lines. */
#define MOST_PAIRS 2
#define MOST_ABREAST (2 * MOST_PAIRS)

VF_INLINE void elements_as(const ft_call *call, int64_t from, int64_t to, int inputs, int outputs, formula *compute, bool past_cache, int dtype) {
  const vf number = call->n_in > inputs ? v_splat(ft_floats(&call->in[inputs])[0]) : v_zero();
  const int bytes = dtype == FT_F32 ? 4 : 2, pairs = dtype == FT_F32 ? 1 : MOST_PAIRS, abreast = 2 * pairs;
  vf x[MOST_INPUTS], y[MOST_OUTPUTS], all_x[MOST_INPUTS][MOST_ABREAST], all_y[MOST_OUTPUTS][MOST_ABREAST];
  for (; from + abreast * VF_LANES <= to; from += abreast * VF_LANES) {
    for (int k = 0; k < inputs; k++) {
      if (past_cache) ft_ask_ahead(call->in[k].data + from * bytes);
      for (int p = 0; p < pairs; p++) v_load_two_as(call->in[k].data, from + 2 * p * VF_LANES, dtype, all_x[k] + 2 * p);
    }
    for (int v = 0; v < abreast; v++) {
      for (int k = 0; k < inputs; k++) x[k] = all_x[k][v];
      compute(x, number, y);
      for (int k = 0; k < outputs; k++) all_y[k][v] = y[k];
    }
    for (int k = 0; k < outputs; k++) {
      for (int p = 0; p < pairs; p++) v_store_two_as(call->out[k].data, from + 2 * p * VF_LANES, dtype, all_y[k] + 2 * p, past_cache);
    }
  }
  FT_EACH_VECTOR(i, n, from, to, {
    for (int k = 0; k < inputs; k++) x[k] = v_load_first_as(call->in[k].data, i, dtype, n);
    compute(x, number, y);
    for (int k = 0; k < outputs; k++) v_store_first_as(call->out[k].data, i, dtype, y[k], n);
  });
  ft_stores_done(past_cache);
}

VF_INLINE void elements(const ft_call *call, int64_t from, int64_t to, int inputs, int outputs, formula *compute) {
  bool past_cache = from % (MOST_ABREAST * VF_LANES) == 0;
  for (int k = 0; k < outputs; k++) past_cache = past_cache && ft_is_large(call, k);
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
POINTWISE(swiglu, 2, 1) {
  vf e;
  y[0] = x[0] / v_one_and_exp(x[0], &e) * x[1];
}

/* gate, up, dy → dgate = dy·up·(σ + gate·σ·(1 − σ)), dup = dy·gate·σ. gate·σ is a quotient of its own, so that it is rounded once. */
POINTWISE(swiglu_backward, 3, 2) {
  const vf gate = x[0], up = x[1], dy = x[2];
  vf e;
  const vf divisor = v_one_and_exp(gate, &e), s = v_splat(1.0f) / divisor, gated = gate / divisor;
  y[0] = dy * up * v_fma(gated, e * s, s);
  y[1] = dy * gated;
}

#define INVERSE_SQRT_2PI 0.39894228f
#define SQRT_2_OVER_PI 0.79788456f
#define CUBIC 0.044715f

/* x·F(x) of a distribution function F with F(−|x|) = `tail`, that is max(x, 0) − |x|·tail: rounded once where F is near 1. */
VF_INLINE vf times_cdf(vf x, vf tail) { return v_fma(-v_abs(x), tail, v_max(v_zero(), x)); }

/* x → x·Φ(x) (Hendrycks & Gimpel 2016) */
POINTWISE(gelu_erf, 1, 1) { y[0] = times_cdf(x[0], v_normal_tail(x[0])); }

/* x, dy → dx */
POINTWISE(gelu_erf_backward, 2, 1) {
  const vf tail = v_normal_tail(x[0]), below = v_select(x[0] < v_zero(), tail, v_splat(1.0f) - tail);
  const vf density = v_splat(INVERSE_SQRT_2PI) * v_exp(v_splat(-0.5f) * x[0] * x[0]);
  y[0] = x[1] * (below + x[0] * density);
}

/* The same by the tanh approximation: (1 + tanh u) / 2 is σ(2u) = 1 / (1 + e^-2u). -2u · log2 e, for 2^that: */
#define EXPONENT_SLOPE (-2.0f * SQRT_2_OVER_PI * V_LOG2_E)
VF_INLINE vf exponent(vf x) { return x * v_fma(v_splat(EXPONENT_SLOPE * CUBIC), x * x, v_splat(EXPONENT_SLOPE)); }
POINTWISE(gelu_tanh, 1, 1) {
  const vf e = v_exp2(exponent(v_abs(x[0])));
  y[0] = times_cdf(x[0], e / (v_splat(1.0f) + e));
}

POINTWISE(gelu_tanh_backward, 2, 1) {
  const vf e = v_exp2(v_min(v_splat(127.0f), exponent(x[0]))), gate = v_splat(1.0f) / (v_splat(1.0f) + e);
  const vf slope = v_fma(v_splat(6.0f * SQRT_2_OVER_PI * CUBIC), x[0] * x[0], v_splat(2.0f * SQRT_2_OVER_PI));
  y[0] = x[1] * gate * v_fma(x[0] * slope, e * gate, v_splat(1.0f));
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
