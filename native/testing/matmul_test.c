/*
 * Products against a plain sum in f64, for every target this processor has; and the same bits whatever the number of threads,
 * of rows in a call, and of calls. See testing/build.sh.
 */
#include "testing.h"

static int failures = 0;
static int64_t checked = 0;

static void fail(const char *what, const test_target *target, const char *op, int64_t m, int64_t n, int64_t k, double got, double wanted) {
  printf("FAIL %s: %s %s %lld x %lld x %lld: %g, not %g\n", what, target->name, op, (long long)m, (long long)n, (long long)k, got, wanted);
  if (++failures > 20) exit(1);
}

static struct ft_pool *pools[4];

static void same_bits(const char *what, const test_target *target, const char *op, const ft_tensor *x, const ft_tensor *y, int64_t m, int64_t n,
                      int64_t k) {
  checked++;
  if (memcmp(x->data, y->data, test_bytes(x)) == 0) return;
  for (int64_t i = 0; i < x->count; i++) {
    if (test_at(x, i) != test_at(y, i)) {
      fail(what, target, op, m, n, k, test_at(x, i), test_at(y, i));
      return;
    }
  }
}

/* y = a · b or a · bᵀ: m rows, n columns, depth k. */
static void linear(const test_target *target, bool transposed, int64_t m, int64_t n, int64_t k, bool bias, int a_dtype, int b_dtype,
                   int y_dtype) {
  const char *op = transposed ? "matmul_nt" : "matmul_nn";
  const double attrs[] = {bias};
  ft_tensor in[3] = {test_filled(a_dtype, 2, m, k, 1), transposed ? test_filled(b_dtype, 2, n, k, 1) : test_filled(b_dtype, 2, k, n, 1), {0}};
  in[2] = test_filled(b_dtype, 1, n, 1, 1);
  ft_tensor y = test_tensor(y_dtype, 2, m, n, 1), z = test_tensor(y_dtype, 2, m, n, 1);
  test_run(target, op, pools[1], in, 2 + bias, &y, 1, attrs);
  const double rounding = y_dtype == FT_F32 ? 0 : y_dtype == FT_BF16 ? 0x1p-8 : 0x1p-11;
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      double sum = bias ? test_at(&in[2], j) : 0, size = 1;
      for (int64_t l = 0; l < k; l++) {
        const double x = (double)test_at(&in[0], i * k + l) * test_at(&in[1], transposed ? j * k + l : l * n + j);
        sum += x;
        size += fabs(x);
      }
      const double got = test_at(&y, i * n + j);
      checked++;
      if (!(fabs(got - sum) <= size * 4e-7 + fabs(sum) * rounding)) fail("value", target, op, m, n, k, got, sum);
    }
  }
  for (int threads = 2; threads <= 3; threads++) {
    test_run(target, op, pools[threads], in, 2 + bias, &z, 1, attrs);
    same_bits("threads", target, op, &z, &y, m, n, k);
  }
  for (int64_t i = 0; i < m;) { /* the rows in calls of 1, 5, 25, … */
    const int64_t rows = i == 0 ? 1 : i * 4 < m - i ? i * 4 : m - i;
    ft_tensor part_in[3] = {test_view(&in[0], i * k, 2, rows, k, 1), in[1], in[2]};
    const ft_tensor part = test_view(&z, i * n, 2, rows, n, 1);
    test_run(target, op, pools[2], part_in, 2 + bias, &part, 1, attrs);
    i += rows;
  }
  same_bits("rows", target, op, &z, &y, m, n, k);
  for (int i = 0; i < 3; i++) free(in[i].data);
  free(y.data);
  free(z.data);
}

/* y [m, n] = Σ over `rows` rows of `length` tokens. */
static void over_tokens(const test_target *target, int64_t rows, int64_t length, int64_t m, int64_t n, int dtype) {
  const char *op = "matmul_tn";
  const double fresh[] = {0}, more[] = {1};
  ft_tensor in[3] = {test_filled(dtype, 3, rows, length, m), test_filled(dtype, 3, rows, length, n), {0}};
  ft_tensor y = test_tensor(FT_F32, 2, m, n, 1), z = test_tensor(FT_F32, 2, m, n, 1);
  test_run(target, op, pools[1], in, 2, &y, 1, fresh);
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      double sum = 0, size = 1;
      for (int64_t t = 0; t < rows * length; t++) {
        const double x = (double)test_at(&in[0], t * m + i) * test_at(&in[1], t * n + j);
        sum += x;
        size += fabs(x);
      }
      checked++;
      const double got = test_at(&y, i * n + j);
      if (!(fabs(got - sum) <= size * 4e-7)) fail("value", target, op, m, n, rows * length, got, sum);
    }
  }
  for (int threads = 2; threads <= 3; threads++) {
    test_run(target, op, pools[threads], in, 2, &z, 1, fresh);
    same_bits("threads", target, op, &z, &y, m, n, rows * length);
  }
  if (length >= 128) { /* one row per call */
    for (int64_t r = 0; r < rows; r++) {
      ft_tensor part[3] = {test_view(&in[0], r * length * m, 3, 1, length, m), test_view(&in[1], r * length * n, 3, 1, length, n), z};
      test_run(target, op, pools[2], part, r == 0 ? 2 : 3, &z, 1, r == 0 ? fresh : more);
    }
    same_bits("micro-batches", target, op, &z, &y, m, n, rows * length);
  }
  free(in[0].data);
  free(in[1].data);
  free(y.data);
  free(z.data);
}

int main(void) {
  const test_target targets[] = TEST_TARGETS;
  const int64_t sizes[] = {1, 3, 7, 17, 65, 129};
  const int dtypes[] = {FT_F32, FT_BF16, FT_F16};
  for (int i = 1; i <= 3; i++) pools[i] = ft_pool_create(i);
  for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++) {
    if (!targets[t].supported) {
      printf("%s: this processor lacks it\n", targets[t].name);
      continue;
    }
    for (int a = 0; a < 6; a++) {
      for (int b = 0; b < 6; b++) {
        for (int c = 0; c < 6; c++) {
          const int type = (a + b + c) % 3;
          linear(&targets[t], true, sizes[a], sizes[b], sizes[c], (a + b) % 2, FT_F32, FT_F32, FT_F32);
          linear(&targets[t], false, sizes[a], sizes[b], sizes[c], (a + b) % 2, FT_F32, FT_F32, FT_F32);
          linear(&targets[t], c % 2, sizes[a], sizes[b], sizes[c], a % 2, dtypes[type], dtypes[(type + a) % 3], dtypes[(type + b) % 3]);
        }
        over_tokens(&targets[t], 3, sizes[a], sizes[b], 33, dtypes[(a + b) % 3]);
      }
    }
    linear(&targets[t], true, 200, 90, 1601, true, FT_F32, FT_BF16, FT_F32);
    linear(&targets[t], false, 33, 2100, 450, false, FT_BF16, FT_F32, FT_BF16); /* several column passes, several blocks, rounded once */
    linear(&targets[t], true, 1100, 20, 800, true, FT_F32, FT_F32, FT_BF16);    /* several row passes of sums */
    linear(&targets[t], true, 20, 2000, 1100, false, FT_F32, FT_F32, FT_F16);   /* several groups */
    over_tokens(&targets[t], 2, 385, 100, 49, FT_F32);
    over_tokens(&targets[t], 1, 1000, 7, 66, FT_BF16);
    printf("%s: %lld values and comparisons, %d failures\n", targets[t].name, (long long)checked, failures);
  }
  for (int i = 1; i <= 3; i++) ft_pool_destroy(pools[i]);
  return failures != 0;
}
