/* swiglu, gelu, their gradients, add, scale: one element at a time, so that outputs may overwrite inputs */
#include "exponential.h"
#include "rows.h"

#define ELEMENTS(i, from, to) FT_ELEMENTWISE for (int64_t i = from; i < to; i++)

static void each(const ft_call *call, int64_t tensors, ft_row_task body) { ft_for_rows(call, call->in[0].count, tensors * 4, body); }

/* 1 / (1 + e^-x) without overflow */
static inline float sigmoid(float x) {
  const float e = ft_exp(-fabsf(x));
  return (x < 0 ? e : 1.0f) / (1.0f + e);
}

/* gate, up → gate·σ(gate)·up (Shazeer 2020) */
static void swiglu_elements(const ft_call *call, int64_t from, int64_t to) {
  const float *gate = ft_floats(&call->in[0]), *up = ft_floats(&call->in[1]);
  float *y = ft_floats(&call->out[0]);
  ELEMENTS(i, from, to) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

static void swiglu(const ft_call *call) { each(call, 3, swiglu_elements); }

/* gate, up, dy → dgate = dy·up·σ·(1 + gate·(1 − σ)), dup = dy·gate·σ */
static void swiglu_backward_elements(const ft_call *call, int64_t from, int64_t to) {
  const float *gate = ft_floats(&call->in[0]), *up = ft_floats(&call->in[1]), *dy = ft_floats(&call->in[2]);
  float *dgate = ft_floats(&call->out[0]), *dup = ft_floats(&call->out[1]);
  ELEMENTS(i, from, to) {
    const float g = gate[i], u = up[i], d = dy[i];
    const float s = sigmoid(g);
    dgate[i] = d * u * s * (1.0f + g * (1.0f - s));
    dup[i] = d * g * s;
  }
}

static void swiglu_backward(const ft_call *call) { each(call, 5, swiglu_backward_elements); }

#define SQRT_HALF 0.70710678f
#define INVERSE_SQRT_2PI 0.39894228f
#define SQRT_2_OVER_PI 0.79788456f
#define CUBIC 0.044715f

/* Half of 1 + tanh u is σ(2u): one division less, and exact to the last bits for large negative u. */
static inline float tanh_gate(float x) { return sigmoid(2.0f * SQRT_2_OVER_PI * (x + CUBIC * x * x * x)); }

/* x → x·Φ(x) by erf, or by the tanh approximation (Hendrycks & Gimpel 2016). attrs: tanh */
static void gelu_erf_elements(const ft_call *call, int64_t from, int64_t to) {
  const float *x = ft_floats(&call->in[0]);
  float *y = ft_floats(&call->out[0]);
  ELEMENTS(i, from, to) y[i] = 0.5f * x[i] * (1.0f + ft_erf(x[i] * SQRT_HALF));
}

static void gelu_tanh_elements(const ft_call *call, int64_t from, int64_t to) {
  const float *x = ft_floats(&call->in[0]);
  float *y = ft_floats(&call->out[0]);
  ELEMENTS(i, from, to) y[i] = x[i] * tanh_gate(x[i]);
}

static void gelu(const ft_call *call) { each(call, 2, call->attrs[0] != 0 ? gelu_tanh_elements : gelu_erf_elements); }

/* x, dy → dx. attrs: tanh */
static void gelu_erf_backward_elements(const ft_call *call, int64_t from, int64_t to) {
  const float *x = ft_floats(&call->in[0]), *dy = ft_floats(&call->in[1]);
  float *dx = ft_floats(&call->out[0]);
  ELEMENTS(i, from, to) {
    const float below = 0.5f * (1.0f + ft_erf(x[i] * SQRT_HALF));
    dx[i] = dy[i] * (below + x[i] * INVERSE_SQRT_2PI * ft_exp(-0.5f * x[i] * x[i]));
  }
}

static void gelu_tanh_backward_elements(const ft_call *call, int64_t from, int64_t to) {
  const float *x = ft_floats(&call->in[0]), *dy = ft_floats(&call->in[1]);
  float *dx = ft_floats(&call->out[0]);
  ELEMENTS(i, from, to) {
    const float gate = tanh_gate(x[i]);
    const float slope = 2.0f * SQRT_2_OVER_PI * (1.0f + 3.0f * CUBIC * x[i] * x[i]);
    dx[i] = dy[i] * (gate + x[i] * gate * (1.0f - gate) * slope);
  }
}

static void gelu_backward(const ft_call *call) { each(call, 3, call->attrs[0] != 0 ? gelu_tanh_backward_elements : gelu_erf_backward_elements); }

static void add_elements(const ft_call *call, int64_t from, int64_t to) {
  const float *a = ft_floats(&call->in[0]), *b = ft_floats(&call->in[1]);
  float *y = ft_floats(&call->out[0]);
  ELEMENTS(i, from, to) y[i] = a[i] + b[i];
}

static void add(const ft_call *call) { each(call, 3, add_elements); }

/* x, s f32 [1] → x·s */
static void scale_elements(const ft_call *call, int64_t from, int64_t to) {
  const float *x = ft_floats(&call->in[0]), factor = ft_floats(&call->in[1])[0];
  float *y = ft_floats(&call->out[0]);
  ELEMENTS(i, from, to) y[i] = x[i] * factor;
}

static void scale(const ft_call *call) { each(call, 2, scale_elements); }

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
