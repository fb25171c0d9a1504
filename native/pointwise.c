/* swiglu, gelu, their gradients, add, scale: one element at a time, so that outputs may overwrite inputs. Activations may have 16 bits. */
#include "exponential.h"
#include "pieces.h"

#define MOST_INPUTS 3
#define MOST_OUTPUTS 2

/* Computes n elements of each output from those of the inputs. */
typedef void (*formula)(int64_t n, const float *const *in, float *const *out);

/* Elements from … to - 1 of the first `inputs` inputs and of all outputs; a further input is one number. */
VF_INLINE void in_pieces(const ft_call *call, int64_t from, int64_t to, int inputs, formula compute) {
  float buffers[MOST_INPUTS + MOST_OUTPUTS][PIECE];
  const int64_t piece = ft_piece(&call->in[0], to - from);
  for (int64_t at = from; at < to; at += piece) {
    const int64_t n = ft_min(piece, to - at);
    const float *in[MOST_INPUTS] = {NULL};
    float *out[MOST_OUTPUTS] = {NULL};
    for (int i = 0; i < call->n_in; i++) in[i] = i < inputs ? ft_read(&call->in[i], at, n, buffers[i]) : ft_floats(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) out[i] = ft_place(&call->out[i], at, buffers[MOST_INPUTS + i]);
    compute(n, in, out);
    for (int i = 0; i < call->n_out; i++) ft_store(&call->out[i], at, n, out[i]);
  }
}

/* name_elements: the task of a loop over all elements by name_formula */
#define IN_PIECES(name, inputs) \
  static void name##_elements(const ft_call *call, int64_t from, int64_t to) { in_pieces(call, from, to, inputs, name##_formula); }

#define FORMULA(name) static void name##_formula(int64_t n, const float *const *in, float *const *out)

#define ELEMENTS(i, n) FT_ELEMENTWISE for (int64_t i = 0; i < n; i++)

static void each(const ft_call *call, int64_t tensors, ft_row_task body) { ft_for_rows(call, call->in[0].count, tensors * 4, body); }

/* 1 / (1 + e^-x) without overflow */
static inline float sigmoid(float x) {
  const float e = ft_exp_nonpositive(-fabsf(x));
  return (x < 0 ? e : 1.0f) / (1.0f + e);
}

/* gate, up → gate·σ(gate)·up (Shazeer 2020) */
FORMULA(swiglu) {
  const float *gate = in[0], *up = in[1];
  float *y = out[0];
  ELEMENTS(i, n) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}
IN_PIECES(swiglu, 2)

static void swiglu(const ft_call *call) { each(call, 3, swiglu_elements); }

/* gate, up, dy → dgate = dy·up·σ·(1 + gate·(1 − σ)), dup = dy·gate·σ */
FORMULA(swiglu_backward) {
  const float *gate = in[0], *up = in[1], *dy = in[2];
  float *dgate = out[0], *dup = out[1];
  ELEMENTS(i, n) {
    const float g = gate[i], u = up[i], d = dy[i];
    const float s = sigmoid(g);
    dgate[i] = d * u * s * (1.0f + g * (1.0f - s));
    dup[i] = d * g * s;
  }
}
IN_PIECES(swiglu_backward, 3)

static void swiglu_backward(const ft_call *call) { each(call, 5, swiglu_backward_elements); }

#define SQRT_HALF 0.70710678f
#define INVERSE_SQRT_2PI 0.39894228f
#define SQRT_2_OVER_PI 0.79788456f
#define CUBIC 0.044715f

/* Half of 1 + tanh u is σ(2u): one division less, and exact to the last bits for large negative u. */
static inline float tanh_gate(float x) { return sigmoid(2.0f * SQRT_2_OVER_PI * (x + CUBIC * x * x * x)); }

/* x → x·Φ(x) by erf, or by the tanh approximation (Hendrycks & Gimpel 2016). attrs: tanh */
FORMULA(gelu_erf) {
  const float *x = in[0];
  float *y = out[0];
  ELEMENTS(i, n) y[i] = 0.5f * x[i] * (1.0f + ft_erf(x[i] * SQRT_HALF));
}
IN_PIECES(gelu_erf, 1)

FORMULA(gelu_tanh) {
  const float *x = in[0];
  float *y = out[0];
  ELEMENTS(i, n) y[i] = x[i] * tanh_gate(x[i]);
}
IN_PIECES(gelu_tanh, 1)

static void gelu(const ft_call *call) { each(call, 2, call->attrs[0] != 0 ? gelu_tanh_elements : gelu_erf_elements); }

/* x, dy → dx. attrs: tanh */
FORMULA(gelu_erf_backward) {
  const float *x = in[0], *dy = in[1];
  float *dx = out[0];
  ELEMENTS(i, n) {
    const float below = 0.5f * (1.0f + ft_erf(x[i] * SQRT_HALF));
    dx[i] = dy[i] * (below + x[i] * INVERSE_SQRT_2PI * ft_exp_nonpositive(-0.5f * x[i] * x[i]));
  }
}
IN_PIECES(gelu_erf_backward, 2)

FORMULA(gelu_tanh_backward) {
  const float *x = in[0], *dy = in[1];
  float *dx = out[0];
  ELEMENTS(i, n) {
    const float gate = tanh_gate(x[i]);
    const float slope = 2.0f * SQRT_2_OVER_PI * (1.0f + 3.0f * CUBIC * x[i] * x[i]);
    dx[i] = dy[i] * (gate + x[i] * gate * (1.0f - gate) * slope);
  }
}
IN_PIECES(gelu_tanh_backward, 2)

static void gelu_backward(const ft_call *call) { each(call, 3, call->attrs[0] != 0 ? gelu_tanh_backward_elements : gelu_erf_backward_elements); }

FORMULA(add) {
  const float *a = in[0], *b = in[1];
  float *y = out[0];
  ELEMENTS(i, n) y[i] = a[i] + b[i];
}
IN_PIECES(add, 2)

static void add(const ft_call *call) { each(call, 3, add_elements); }

/* x, s f32 [1] → x·s */
FORMULA(scale) {
  const float *x = in[0], factor = in[1][0];
  float *y = out[0];
  ELEMENTS(i, n) y[i] = x[i] * factor;
}
IN_PIECES(scale, 1)

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
