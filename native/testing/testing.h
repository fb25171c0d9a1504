/* What the tests and the speed measurement of the arithmetic-bound kernels share: tensors of exact size, and calling an op of a target. */
#ifndef FULLTUNE_TESTING_H
#define FULLTUNE_TESTING_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../convert.h"
#include "../pool.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

typedef struct {
  const char *name;
  bool supported;
  const ft_entry *tables[2];
  double (*limit)(int64_t rounds);
} test_target;

#define TEST_DECLARE(target)                                                              \
  extern const ft_entry matmul_entries_##target[], attention_entries_##target[];          \
  extern double peak_##target(int64_t rounds);
#define TEST_TARGET(target, supported) {#target, supported, {matmul_entries_##target, attention_entries_##target}, peak_##target}

#if defined(__x86_64__)
TEST_DECLARE(baseline)
TEST_DECLARE(avx2)
TEST_DECLARE(avx512)
/* Bits of CPUID leaf 7 that must all be set; read here because some compilers' __builtin_cpu_supports always says no. */
static inline bool test_has(uint32_t bits) {
  uint32_t a, b, c, d, low, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & (1u << 27)) == 0 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (b & bits) == bits && (low & 0x6) == 0x6 && ((bits >> 16 & 1) == 0 || (low & 0xe6) == 0xe6);
}
#define TEST_AVX2 (1u << 5)
#define TEST_AVX512 (TEST_AVX2 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31)
#define TEST_TARGETS \
  { TEST_TARGET(baseline, true), TEST_TARGET(avx2, test_has(TEST_AVX2)), TEST_TARGET(avx512, test_has(TEST_AVX512)) }
#else
TEST_DECLARE(neon)
#define TEST_TARGETS { TEST_TARGET(neon, true) }
#endif

static uint64_t test_random_state = 1;
/* In [-1, 1). */
static inline float test_random(void) {
  test_random_state = test_random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (float)((double)(test_random_state >> 40) / (1 << 23) - 1.0);
}

static inline ft_tensor test_tensor(int dtype, int rank, int64_t s0, int64_t s1, int64_t s2) {
  ft_tensor t = {.shape = {s0, s1, s2, 1}, .rank = rank, .dtype = dtype, .count = 1};
  for (int i = 0; i < rank; i++) t.count *= t.shape[i];
  void *data = NULL; /* exactly as long as it is, so that the sanitizer sees every step beyond it */
  if (posix_memalign(&data, 64, (size_t)(t.count * ft_dtype_bytes(dtype))) != 0) abort();
  t.data = data;
  return t;
}
static inline ft_tensor test_filled(int dtype, int rank, int64_t s0, int64_t s1, int64_t s2) {
  ft_tensor t = test_tensor(dtype, rank, s0, s1, s2);
  for (int64_t i = 0; i < t.count; i++) {
    const float x = test_random();
    ft_convert(t.data + i * ft_dtype_bytes(dtype), dtype, (const char *)&x, FT_F32, 1);
  }
  return t;
}
static inline float test_at(const ft_tensor *t, int64_t i) {
  float x;
  ft_convert((char *)&x, FT_F32, t->data + i * ft_dtype_bytes(t->dtype), t->dtype, 1);
  return x;
}
static inline size_t test_bytes(const ft_tensor *t) { return (size_t)(t->count * ft_dtype_bytes(t->dtype)); }
/* The part of `t` that begins at element `from`, under another shape. */
static inline ft_tensor test_view(const ft_tensor *t, int64_t from, int rank, int64_t s0, int64_t s1, int64_t s2) {
  ft_tensor v = {.data = t->data + from * ft_dtype_bytes(t->dtype), .shape = {s0, s1, s2, 1}, .rank = rank, .dtype = t->dtype, .count = 1};
  for (int i = 0; i < rank; i++) v.count *= v.shape[i];
  return v;
}

static inline const ft_entry *test_entry(const test_target *target, const char *op) {
  for (int i = 0; i < 2; i++) {
    for (const ft_entry *e = target->tables[i]; e->op != NULL; e++) {
      if (strcmp(e->op, op) == 0) return e;
    }
  }
  abort();
}

/* A call that is ready to run, any number of times; `workspace` is filled with NaN. */
static inline ft_call test_call(const test_target *target, const char *op, struct ft_pool *pool, const ft_tensor *in, int n_in,
                                const ft_tensor *out, int n_out, const double *attrs) {
  ft_call call = {.in = in, .out = out, .attrs = attrs, .pool = pool, .n_in = n_in, .n_out = n_out};
  const ft_entry *entry = test_entry(target, op);
  call.workspace_bytes = entry->workspace == NULL ? 0 : entry->workspace(&call, ft_threads(pool));
  if (call.workspace_bytes % 64 != 0) {
    printf("FAIL %s: workspace of %lld bytes is no multiple of 64\n", op, (long long)call.workspace_bytes);
    exit(1);
  }
  void *data = NULL;
  if (posix_memalign(&data, 64, (size_t)call.workspace_bytes + (call.workspace_bytes == 0)) != 0) abort();
  memset(data, 0xff, (size_t)call.workspace_bytes);
  call.workspace = data;
  return call;
}
static inline void test_run(const test_target *target, const char *op, struct ft_pool *pool, const ft_tensor *in, int n_in,
                            const ft_tensor *out, int n_out, const double *attrs) {
  const ft_call call = test_call(target, op, pool, in, n_in, out, n_out, attrs);
  test_entry(target, op)->run(&call);
  free(call.workspace);
}

static inline double test_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#endif
