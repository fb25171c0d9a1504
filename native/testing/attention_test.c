/*
 * Attention and its gradient against plain sums in f64, for every target this processor has; and the same bits whatever the number
 * of threads and of rows in a call. See testing/build.sh.
 */
#include "testing.h"

static int failures = 0;
static int64_t checked = 0;
static struct ft_pool *pools[4];
static char context[160];

/* Found by `reference`: the largest score (its rounding is a relative error of e^score) and the largest term of dq and dk (they cancel). */
static double largest_score, largest_term;

static void close_to(const char *what, const ft_tensor *got, const double *wanted, double tolerance, double size) {
  double largest = size, worst = 0;
  int64_t at = 0;
  tolerance += largest_score * 0x1p-23;
  for (int64_t i = 0; i < got->count; i++) largest = fmax(largest, fabs(wanted[i]));
  for (int64_t i = 0; i < got->count; i++) {
    const double error = fabs(test_at(got, i) - wanted[i]);
    if (!(error <= worst)) {
      worst = error;
      at = i;
    }
  }
  checked += got->count;
  if (worst <= tolerance * largest) return;
  printf("FAIL %s of %s: [%lld] is %g, not %g (largest %g)\n", what, context, (long long)at, test_at(got, at), wanted[at], largest);
  if (++failures > 20) exit(1);
}
static void same_bits(const char *what, const ft_tensor *x, const ft_tensor *y) {
  checked++;
  if (memcmp(x->data, y->data, test_bytes(x)) == 0) return;
  printf("FAIL %s: other bits, %s\n", what, context);
  if (++failures > 20) exit(1);
}

typedef struct {
  int64_t rows, queries, keys, heads, kv_heads, width, offset; /* keys: capacity of a row */
  double scale;
} shape;

/* o, lse, and with dout the gradients: by definition. `starts` may be NULL. */
static void reference(const shape *s, const ft_tensor *q, const ft_tensor *k, const ft_tensor *v, const int32_t *starts, const ft_tensor *dout,
                      double *o, double *lse, double *dq, double *dk, double *dv) {
  const int64_t w = s->width, group = s->heads / s->kv_heads;
  double *p = malloc((size_t)s->keys * 8);
  largest_score = largest_term = 0;
  for (int64_t b = 0; b < s->rows; b++) {
    for (int64_t t = 0; t < s->queries; t++) {
      for (int64_t h = 0; h < s->heads; h++) {
        const int64_t qi = ((b * s->queries + t) * s->heads + h) * w;
        const int64_t first = starts == NULL ? 0 : starts[b * s->queries + t], last = s->offset + t < s->keys ? s->offset + t : s->keys - 1;
        double maximum = -INFINITY, sum = 0, dot = 0;
        for (int64_t j = first; j <= last; j++) {
          const int64_t ki = ((b * s->keys + j) * s->kv_heads + h / group) * w;
          p[j] = 0;
          for (int64_t d = 0; d < w; d++) p[j] += s->scale * test_at(q, qi + d) * test_at(k, ki + d);
          maximum = fmax(maximum, p[j]);
          largest_score = fmax(largest_score, fabs(p[j]));
        }
        for (int64_t j = first; j <= last; j++) sum += p[j] = exp(p[j] - maximum);
        for (int64_t d = 0; d < w; d++) o[qi + d] = 0;
        for (int64_t j = first; j <= last; j++) {
          p[j] /= sum;
          for (int64_t d = 0; d < w; d++) o[qi + d] += p[j] * test_at(v, ((b * s->keys + j) * s->kv_heads + h / group) * w + d);
        }
        if (lse != NULL) lse[qi / w] = maximum + log(sum);
        if (dout == NULL) continue;
        for (int64_t d = 0; d < w; d++) dot += test_at(dout, qi + d) * o[qi + d];
        for (int64_t j = first; j <= last; j++) {
          const int64_t ki = ((b * s->keys + j) * s->kv_heads + h / group) * w;
          double dp = 0;
          for (int64_t d = 0; d < w; d++) dp += test_at(dout, qi + d) * test_at(v, ki + d);
          const double ds = p[j] * (dp - dot) * s->scale;
          for (int64_t d = 0; d < w; d++) {
            dv[ki + d] += p[j] * test_at(dout, qi + d);
            dk[ki + d] += ds * test_at(q, qi + d);
            dq[qi + d] += ds * test_at(k, ki + d);
            const double factor = fmax(fabs(test_at(q, qi + d)), fabs(test_at(k, ki + d)));
            largest_term = fmax(largest_term, p[j] * (fabs(dp) + fabs(dot)) * s->scale * factor);
          }
        }
      }
    }
  }
  free(p);
}

static void whole(const test_target *target, shape s, int dtype, bool documents) {
  s.keys = s.queries;
  snprintf(context, sizeof context, "%s B %d T %d H %d G %d K %d dtype %d documents %d", target->name, (int)s.rows, (int)s.queries, (int)s.heads,
           (int)s.kv_heads, (int)s.width, dtype, documents);
  const double attrs[] = {(double)s.heads, (double)s.kv_heads, (double)s.width, s.scale};
  const int64_t T = s.queries, D = s.heads * s.width, E = s.kv_heads * s.width;
  ft_tensor in[4] = {test_filled(dtype, 3, s.rows, T, D), test_filled(dtype, 3, s.rows, T, E), test_filled(dtype, 3, s.rows, T, E),
                     test_tensor(FT_I32, 2, s.rows, T, 1)};
  int32_t *starts = (int32_t *)in[3].data;
  for (int64_t i = 0; i < in[3].count; i++) {
    const int64_t t = i % T;
    starts[i] = t == 0 ? 0 : documents && test_random() > 0.95 ? (int32_t)t : starts[i - 1];
  }
  ft_tensor out[2] = {test_tensor(FT_F32, 3, s.rows, T, D), test_tensor(FT_F32, 3, s.rows, T, s.heads)};
  ft_tensor other[2] = {test_tensor(FT_F32, 3, s.rows, T, D), test_tensor(FT_F32, 3, s.rows, T, s.heads)};
  ft_tensor dout = test_filled(FT_F32, 3, s.rows, T, D);
  ft_tensor grads[3], other_grads[3];
  for (int i = 0; i < 3; i++) {
    grads[i] = test_tensor(FT_F32, 3, s.rows, T, i == 0 ? D : E);
    other_grads[i] = test_tensor(FT_F32, 3, s.rows, T, i == 0 ? D : E);
  }
  double *o = calloc((size_t)out[0].count, 8), *lse = calloc((size_t)out[1].count, 8), *dq = calloc((size_t)grads[0].count, 8);
  double *dk = calloc((size_t)grads[1].count, 8), *dv = calloc((size_t)grads[2].count, 8);
  reference(&s, &in[0], &in[1], &in[2], starts, &dout, o, lse, dq, dk, dv);

  test_run(target, "attention", pools[1], in, 4, out, 2, attrs);
  close_to("o", &out[0], o, 2e-6, 0);
  close_to("lse", &out[1], lse, 2e-6, 1);
  const ft_tensor back[7] = {in[0], in[1], in[2], in[3], out[0], out[1], dout};
  test_run(target, "attention_backward", pools[1], back, 7, grads, 3, attrs);
  close_to("dq", &grads[0], dq, 4e-6, largest_term);
  close_to("dk", &grads[1], dk, 4e-6, largest_term);
  close_to("dv", &grads[2], dv, 4e-6, 0);
  for (int threads = 2; threads <= 3; threads++) {
    test_run(target, "attention", pools[threads], in, 4, other, 2, attrs);
    same_bits("o, threads", &other[0], &out[0]);
    same_bits("lse, threads", &other[1], &out[1]);
    test_run(target, "attention_backward", pools[threads], back, 7, other_grads, 3, attrs);
    for (int i = 0; i < 3; i++) same_bits("gradient, threads", &other_grads[i], &grads[i]);
  }
  for (int64_t b = 0; b < s.rows; b++) { /* a row per call */
    ft_tensor part[7], to[2], to_grads[3];
    for (int i = 0; i < 7; i++) part[i] = test_view(&back[i], b * back[i].count / s.rows, back[i].rank, 1, T, i == 3 ? 1 : back[i].shape[2]);
    for (int i = 0; i < 2; i++) to[i] = test_view(&other[i], b * other[i].count / s.rows, 3, 1, T, other[i].shape[2]);
    for (int i = 0; i < 3; i++) {
      to_grads[i] = test_view(&other_grads[i], b * other_grads[i].count / s.rows, 3, 1, T, other_grads[i].shape[2]);
    }
    test_run(target, "attention", pools[2], part, 4, to, 2, attrs);
    test_run(target, "attention_backward", pools[2], part, 7, to_grads, 3, attrs);
  }
  same_bits("o, rows", &other[0], &out[0]);
  for (int i = 0; i < 3; i++) same_bits("gradient, rows", &other_grads[i], &grads[i]);
  for (int i = 0; i < 4; i++) free(in[i].data);
  for (int i = 0; i < 2; i++) free(out[i].data), free(other[i].data);
  for (int i = 0; i < 3; i++) free(grads[i].data), free(other_grads[i].data);
  free(dout.data), free(o), free(lse), free(dq), free(dk), free(dv);
}

static void cached(const test_target *target, shape s, int dtype) {
  snprintf(context, sizeof context, "%s cached B %d T %d C %d after %d H %d G %d K %d", target->name, (int)s.rows, (int)s.queries,
           (int)s.keys, (int)s.offset, (int)s.heads, (int)s.kv_heads, (int)s.width);
  const double attrs[] = {(double)s.heads, (double)s.kv_heads, (double)s.width, s.scale};
  const int64_t D = s.heads * s.width, E = s.kv_heads * s.width;
  ft_tensor in[4] = {test_filled(FT_F32, 3, s.rows, s.queries, D), test_filled(dtype, 3, s.rows, s.keys, E),
                     test_filled(dtype, 3, s.rows, s.keys, E), test_tensor(FT_I32, 1, 1, 1, 1)};
  *(int32_t *)in[3].data = (int32_t)s.offset;
  ft_tensor out = test_tensor(FT_F32, 3, s.rows, s.queries, D), other = test_tensor(FT_F32, 3, s.rows, s.queries, D);
  double *o = calloc((size_t)out.count, 8);
  reference(&s, &in[0], &in[1], &in[2], NULL, NULL, o, NULL, NULL, NULL, NULL);
  test_run(target, "attention_cached", pools[1], in, 4, &out, 1, attrs);
  close_to("o", &out, o, 2e-6, 0);
  test_run(target, "attention_cached", pools[3], in, 4, &other, 1, attrs);
  same_bits("o, threads", &other, &out);
  for (int i = 0; i < 4; i++) free(in[i].data);
  free(out.data), free(other.data), free(o);
}

int main(void) {
  const test_target targets[] = TEST_TARGETS;
  const int64_t lengths[] = {1, 2, 3, 7, 17, 65, 95, 96, 97, 129, 193}, widths[] = {1, 3, 8, 16, 20, 64, 80, 128};
  for (int i = 1; i <= 3; i++) pools[i] = ft_pool_create(i);
  for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++) {
    if (!targets[t].supported) {
      printf("%s: this processor lacks it\n", targets[t].name);
      continue;
    }
    for (int i = 0; i < 11; i++) {
      for (int j = 0; j < 8; j++) {
        const int64_t kv_heads = 1 + (i + j) % 2, heads = kv_heads * (1 + (i + 2 * j) % 3);
        const shape s = {.rows = 1 + (i + j) % 3, .queries = lengths[i], .heads = heads, .kv_heads = kv_heads, .width = widths[j],
                         .scale = 1 / sqrt((double)widths[j])};
        whole(&targets[t], s, FT_F32, (i + j) % 2);
        if (j % 3 == 0) whole(&targets[t], s, i % 2 ? FT_BF16 : FT_F16, true);
      }
    }
    const shape two_chunks = {.rows = 2, .queries = 500, .heads = 3, .kv_heads = 1, .width = 64, .scale = 0.125};
    const shape four_chunks = {.rows = 1, .queries = 1800, .heads = 2, .kv_heads = 1, .width = 16, .scale = 2};
    const shape several_passes = {.rows = 5, .queries = 300, .heads = 2, .kv_heads = 2, .width = 256, .scale = 0.06};
    const shape sharp = {.rows = 1, .queries = 200, .heads = 1, .kv_heads = 1, .width = 32, .scale = 50};
    whole(&targets[t], two_chunks, FT_F32, true);
    whole(&targets[t], four_chunks, FT_F32, false);
    whole(&targets[t], several_passes, FT_F32, true);
    whole(&targets[t], sharp, FT_F32, true);
    const int64_t news[] = {1, 2, 5, 15, 16, 40, 130};
    for (int i = 0; i < 7; i++) {
      for (int j = 0; j < 8; j++) {
        const shape s = {.rows = 1 + j % 2, .queries = news[i], .keys = 250, .offset = i * j * 2, .heads = 4, .kv_heads = 1 + j % 2,
                         .width = widths[j], .scale = 0.3};
        cached(&targets[t], s, j % 2 ? FT_F32 : FT_BF16);
      }
    }
    printf("%s: %lld values and comparisons, %d failures\n", targets[t].name, (long long)checked, failures);
  }
  for (int i = 1; i <= 3; i++) ft_pool_destroy(pools[i]);
  return failures != 0;
}
