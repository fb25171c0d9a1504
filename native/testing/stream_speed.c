/*
 * Speed of memory-bound kernels as shares of a plain stream that reads and writes as many bytes in the same way (streams.c), measured
 * in turn with it: medians and bests of ROUNDS. Arrays are far larger than the caches.
 * sh native/testing/build.sh stream_speed; environment SPEED_TARGET, SPEED_THREADS, SPEED_ONLY (part of a label), SPEED_FLOATS.
 */
#include "tables.h"

#define ROUNDS 7
#define MOST 5
#define TASK_FLOATS 16384

typedef struct {
  const char *name;
  bool supported;
  const ft_entry *tables[FAMILIES];
  float (*stream)(int reads, int writes, float *const *in, float *const *out, int64_t from, int64_t to);
} family_target;
#define DECLARE_STREAM(target) float stream_##target(int reads, int writes, float *const *in, float *const *out, int64_t from, int64_t to);
#define FAMILY(target, supported) {#target, supported, TABLES(target), stream_##target}
#if defined(__x86_64__)
DECLARE_STREAM(baseline)
DECLARE_STREAM(avx2)
DECLARE_STREAM(avx512)
#else
DECLARE_STREAM(neon)
#endif

static const family_target *target;
static struct ft_pool *pool;
static const char *only;
static int64_t floats = (int64_t)12 << 20;
static float *arrays[2 * MOST];

typedef struct {
  int reads, writes;
  bool in_place;
  float kept;
} stream_job;
static void stream_task(void *context, int64_t task, int thread) {
  stream_job *s = context;
  const float kept = target->stream(s->reads, s->writes, arrays, s->in_place ? arrays : arrays + MOST, task * TASK_FLOATS, (task + 1) * TASK_FLOATS);
  if (thread == 0) s->kept = kept;
}
static double stream_seconds(int reads, int writes, bool in_place) {
  stream_job s = {reads, writes, in_place, 0};
  const double start = test_seconds();
  ft_parallel(pool, floats / TASK_FLOATS, stream_task, &s);
  return test_seconds() - start;
}

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* A tensor of all floats in array `index`, seen as tokens of `width`; small ones of their own memory. */
static ft_tensor big(int index, int64_t width) {
  return (ft_tensor){.data = (char *)arrays[index], .shape = {1, floats / width, width, 1}, .rank = 3, .dtype = FT_F32, .count = floats};
}
static ft_tensor as_dtype(ft_tensor t, int dtype) {
  t.dtype = dtype;
  return t;
}
static ft_tensor flat(int index) {
  return (ft_tensor){.data = (char *)arrays[index], .shape = {floats, 1, 1, 1}, .rank = 1, .dtype = FT_F32, .count = floats};
}
static ft_tensor matrix(int index, int64_t width) {
  return (ft_tensor){.data = (char *)arrays[index], .shape = {floats / width, width, 1, 1}, .rank = 2, .dtype = FT_F32, .count = floats};
}
static ft_tensor one(double x) {
  ft_tensor t = test_tensor(FT_F32, 1, 1, 1, 1);
  *(float *)(void *)t.data = (float)x;
  return t;
}
static ft_tensor one_int(int32_t x) {
  ft_tensor t = test_tensor(FT_I32, 1, 1, 1, 1);
  *(int32_t *)(void *)t.data = x;
  return t;
}

/* The kernel against `share` times a stream of so many reads and writes. */
static void compare(const char *label, const char *op, int reads, int writes, bool in_place, double share, const ft_tensor *in, int n_in,
                    const ft_tensor *out, int n_out, const double *attrs) {
  if (only != NULL && strstr(label, only) == NULL) return;
  ft_call call = {.in = in, .out = out, .attrs = attrs, .pool = pool, .n_in = n_in, .n_out = n_out};
  const ft_entry *entry = table_entry(target->tables, op);
  call.workspace_bytes = entry->workspace == NULL ? 0 : entry->workspace(&call, ft_threads(pool));
  void *workspace = NULL;
  if (posix_memalign(&workspace, 64, (size_t)call.workspace_bytes + 64) != 0) abort();
  call.workspace = workspace;
  entry->run(&call);
  double kernels[ROUNDS], streams[ROUNDS], shares[ROUNDS];
  for (int r = 0; r < ROUNDS; r++) {
    const double before = stream_seconds(reads, writes, in_place), start = test_seconds();
    entry->run(&call);
    kernels[r] = test_seconds() - start;
    streams[r] = (before + stream_seconds(reads, writes, in_place)) / 2;
    shares[r] = share * streams[r] / kernels[r];
  }
  qsort(kernels, ROUNDS, sizeof *kernels, by_value);
  qsort(streams, ROUNDS, sizeof *streams, by_value);
  qsort(shares, ROUNDS, sizeof *shares, by_value);
  const double bytes = 4.0 * (reads + writes) * (double)floats * 1e-9;
  printf("%-28s %d+%d%s  %6.1f GB/s of %6.1f  median %5.1f %%  bests %5.1f %%\n", label, reads, writes, in_place ? " in place" : "         ",
         share * bytes / kernels[ROUNDS / 2], bytes / streams[ROUNDS / 2], 100 * shares[ROUNDS / 2], 100 * share * streams[0] / kernels[0]);
  fflush(stdout);
  free(workspace);
}
#define COMPARE(label, op, reads, writes, in_place, share, ins, outs, ...)                                        \
  do {                                                                                                            \
    const ft_tensor in_[] = UNPACK ins, out_[] = UNPACK outs;                                                     \
    const double attrs_[] = {__VA_ARGS__};                                                                        \
    compare(label, op, reads, writes, in_place, share, in_, sizeof in_ / sizeof *in_, out_, sizeof out_ / sizeof *out_, attrs_); \
  } while (0)
#define UNPACK(...) {__VA_ARGS__}

int main(void) {
  const family_target targets[] = {FOR_EACH_TARGET(FAMILY)};
  const char *wanted = getenv("SPEED_TARGET"), *threads = getenv("SPEED_THREADS"), *size = getenv("SPEED_FLOATS");
  only = getenv("SPEED_ONLY");
  for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++) {
    if (wanted != NULL ? strcmp(wanted, targets[t].name) == 0 : targets[t].supported) target = &targets[t];
  }
  pool = ft_pool_create(threads == NULL ? 2 : atoi(threads));
  if (size != NULL) floats = atoll(size);
  const int64_t width = 768, vocabulary = 49152;
  floats = floats / (TASK_FLOATS * 12) * (TASK_FLOATS * 12); /* whole tasks, tokens of every width here */
  for (int i = 0; i < 2 * MOST; i++) {
    arrays[i] = (float *)(void *)test_tensor(FT_F32, 1, floats, 1, 1).data;
    for (int64_t j = 0; j < floats; j++) arrays[i][j] = 0.01f + (float)((j * 7 + i) % 101) * 0.01f;
  }
  printf("%s, %d threads, arrays of %lld MB\n", target->name, ft_threads(pool), (long long)(floats * 4 >> 20));
  const int64_t tokens = floats / width;
  const ft_tensor rate = one(1e-3), step = one_int(3), factor = one(1), weight = test_filled(FT_F32, 1, width, 1, 1);
  const ft_tensor rstd = test_filled(FT_F32, 2, 1, tokens, 1), mean = test_filled(FT_F32, 2, 1, tokens, 1);
  const ft_tensor table = test_filled(FT_F32, 3, 1, tokens, 64), gradient = test_tensor(FT_F32, 1, width, 1, 1);

  COMPARE("adamw", "adamw", 4, 3, true, 1, (flat(0), flat(3), flat(1), flat(2), rate, step, factor), (flat(0), flat(1), flat(2)), 0.9, 0.999, 1e-8, 0.01, 0, 0);
  COMPARE("lion", "lion", 3, 2, true, 1, (flat(0), flat(2), flat(1), rate, step, factor), (flat(0), flat(1)), 0.9, 0.99, 0.01, 0, 0);
  COMPARE("sgd", "sgd", 2, 1, true, 1, (flat(0), flat(2), rate, step, factor), (flat(0)), 0, 0.01, 0, 0);
  COMPARE("sgd with momentum", "sgd", 3, 2, true, 1, (flat(0), flat(2), rate, step, factor, flat(1)), (flat(0), flat(1)), 0.9, 0.01, 0, 0);
  COMPARE("sum_squares", "sum_squares", 1, 0, true, 1, (flat(0)), (rate), 0);
  { /* reads the gradient three times: 4 reads and 1 write */
    const ft_tensor rows = test_tensor(FT_F32, 1, floats / 2048, 1, 1), columns = test_tensor(FT_F32, 1, 2048, 1, 1);
    memset(rows.data, 0, test_bytes(&rows));
    memset(columns.data, 0, test_bytes(&columns));
    COMPARE("adafactor, matrix", "adafactor", 4, 1, true, 1, (matrix(0, 2048), matrix(1, 2048), rate, step, factor, rows, columns), (matrix(0, 2048), rows, columns), 0, 0.01, 1, 0);
  }
  COMPARE("add", "add", 2, 1, false, 1, (big(0, width), big(1, width)), (big(5, width)), 0);
  COMPARE("add in place", "add", 2, 1, true, 1, (big(0, width), big(1, width)), (big(0, width)), 0);
  COMPARE("swiglu", "swiglu", 2, 1, false, 1, (big(0, width), big(1, width)), (big(5, width)), 0);
  COMPARE("swiglu in place", "swiglu", 2, 1, true, 1, (big(3, width), big(4, width)), (big(3, width)), 0);
  COMPARE("swiglu_backward", "swiglu_backward", 3, 2, true, 1, (big(0, width), big(1, width), big(2, width)), (big(0, width), big(1, width)), 0);
  COMPARE("gelu tanh", "gelu", 1, 1, false, 1, (big(3, width)), (big(5, width)), 1);
  COMPARE("gelu erf", "gelu", 1, 1, false, 1, (big(3, width)), (big(5, width)), 0);
  COMPARE("gelu_backward tanh", "gelu_backward", 2, 1, true, 1, (big(3, width), big(4, width)), (big(3, width)), 1);
  COMPARE("gelu_backward erf", "gelu_backward", 2, 1, true, 1, (big(3, width), big(4, width)), (big(3, width)), 0);
  COMPARE("scale", "scale", 1, 1, true, 1, (big(3, width), factor), (big(3, width)), 0);
  COMPARE("rmsnorm", "rmsnorm", 1, 1, false, 1, (big(3, width), weight), (big(5, width), rstd), 1e-5);
  COMPARE("rmsnorm_backward", "rmsnorm_backward", 2, 1, false, 1, (big(3, width), weight, rstd, big(4, width)), (big(5, width)), 0);
  COMPARE("rmsnorm_weight_gradient", "rmsnorm_weight_gradient", 2, 0, true, 1, (big(3, width), rstd, big(4, width)), (gradient), (double)width, 0);
  COMPARE("layernorm", "layernorm", 1, 1, false, 1, (big(3, width), weight, weight), (big(5, width), mean, rstd), 1e-5);
  COMPARE("layernorm_backward", "layernorm_backward", 2, 1, false, 1, (big(3, width), weight, mean, rstd, big(4, width)), (big(5, width)), 0);
  COMPARE("layernorm_weight_gradient", "layernorm_weight_gradient", 2, 0, true, 1, (big(3, width), mean, rstd, big(4, width)), (gradient), 0);
  COMPARE("column_sum", "column_sum", 1, 0, true, 1, (big(3, width)), (gradient), 0);
  COMPARE("rotary", "rotary", 1, 1, true, 1, (big(3, width), table), (big(3, width)), 0);
  COMPARE("cast f32 to bf16", "cast", 1, 1, false, 0.75, (big(3, width)), (as_dtype(big(5, width), FT_BF16)), 1);
  COMPARE("cast bf16 to f32", "cast", 1, 1, false, 0.75, (as_dtype(big(5, width), FT_BF16)), (big(6, width)), 0);
  COMPARE("cast f32 to f16", "cast", 1, 1, false, 0.75, (big(3, width)), (as_dtype(big(5, width), FT_F16)), 2);
  COMPARE("slice", "slice", 1, 1, false, 0.5, (big(3, width)), ((ft_tensor){.data = (char *)arrays[5], .shape = {1, tokens, width / 2, 1}, .rank = 3, .count = floats / 2}), 0, width / 2);
  {
    ft_tensor ids = test_tensor(FT_I32, 2, 1, tokens, 1);
    for (int64_t i = 0; i < tokens; i++) ((int32_t *)(void *)ids.data)[i] = (int32_t)(i * 7919 % tokens);
    COMPARE("embedding", "embedding", 1, 1, false, 1, (ids, matrix(3, width)), (big(5, width)), 0);
    const int64_t lines = floats / vocabulary;
    ft_tensor labels = test_tensor(FT_I32, 2, 1, lines, 1), lse = test_filled(FT_F32, 2, 1, lines, 1), loss = one(0);
    for (int64_t i = 0; i < lines; i++) ((int32_t *)(void *)labels.data)[i] = (int32_t)(i * 7919 % vocabulary);
    COMPARE("cross_entropy", "cross_entropy", 1, 0, true, 1, (big(3, vocabulary), labels, factor), (loss, lse), 0);
    COMPARE("cross_entropy_backward", "cross_entropy_backward", 1, 1, true, 1, (big(4, vocabulary), labels, lse, factor, factor), (big(4, vocabulary)), 0);
  }
  ft_pool_destroy(pool);
  return 0;
}
