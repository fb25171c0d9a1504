/*
 * Speed of products and attention as shares of the multiply-add rate in registers (peak.c), measured before and after each call, in huge pages as
 * an arena is. `median` is that of the shares of all rounds, by the wall clock; `best` is the fastest round over the highest rate of the
 * limit; both need a quiet machine. `cpu` counts the processor time of all threads, waiting in the pool's spin loops included, and holds
 * better on a busy one (a measurement lasts at least 40 ms, as this clock ticks). A share above 100 % means that the limit is wrong, and fails.
 * sh native/testing/build.sh speed; environment SPEED_TARGET, SPEED_THREADS, SPEED_ONLY (m products, s few rows, a attention),
 * SPEED_MATCH (only what has this in its line, e.g. "nn 512" or "bf16"), SPEED_ROUNDS (7).
 */
#define _GNU_SOURCE
#include "testing.h"

#include <sys/mman.h>

#define MOST_ROUNDS 99
static int rounds = 7;
static const char *match = "";

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
static double median(double *x) {
  qsort(x, (size_t)rounds, sizeof *x, by_value);
  return x[rounds / 2];
}

static const test_target *target;
static struct ft_pool *pool;

typedef struct { double wall, cpu; } clocks;
static clocks now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (clocks){test_seconds(), (double)t.tv_sec + (double)t.tv_nsec * 1e-9};
}
/* GFLOP/s: of all threads together by the wall clock; and by processor time, times the number of threads. */
static clocks rate_since(clocks start, double flops) {
  const clocks end = now();
  return (clocks){flops / (end.wall - start.wall) * 1e-9, flops * ft_threads(pool) / (end.cpu - start.cpu) * 1e-9};
}

#define LIMIT_TASKS 64 /* small ones, so that a thread which is held up does less */
static void limit_task(void *context, int64_t task, int thread) {
  (void)thread;
  ((double *)context)[task] = target->limit(400000);
}
static clocks limit(void) {
  double counts[LIMIT_TASKS], sum = 0;
  const clocks start = now();
  ft_parallel(pool, LIMIT_TASKS, limit_task, counts);
  for (int i = 0; i < LIMIT_TASKS; i++) sum += counts[i];
  return rate_since(start, sum);
}

/* Sums of inverse shares, of the products that count. */
static double median_inverse = 0, best_inverse = 0, cpu_inverse = 0;
static int products = 0;

static int implausible = 0;

static void measure(const char *label, const char *op, double flops, const ft_tensor *in, int n_in, const ft_tensor *out, int n_out,
                    const double *attrs) {
  const ft_call call = test_call(target, op, pool, in, n_in, out, n_out, attrs);
  const ft_entry *entry = test_entry(target, op);
  double rates[MOST_ROUNDS], shares[MOST_ROUNDS], cpus[MOST_ROUNDS], highest = 0;
  entry->run(&call);
  const int calls = flops > 9e9 ? 1 : (int)(9e9 / flops) + 1;
  clocks before = limit();
  for (int r = 0; r < rounds; r++) {
    const clocks start = now();
    for (int i = 0; i < calls; i++) entry->run(&call);
    const clocks rate = rate_since(start, flops * calls);
    const clocks after = limit();
    rates[r] = rate.wall;
    shares[r] = 2 * rate.wall / (before.wall + after.wall);
    cpus[r] = 2 * rate.cpu / (before.cpu + after.cpu);
    highest = fmax(highest, fmax(before.wall, after.wall));
    before = after;
  }
  const double rate = median(rates), best = rates[rounds - 1] / highest, share = median(shares), cpu = median(cpus);
  printf("%-34s %8.1f GFLOP/s  median %5.1f %%  best %5.1f %%  cpu %5.1f %%   workspace %.2f MB\n", label, rate, share * 100, best * 100,
         cpu * 100, (double)call.workspace_bytes * 1e-6);
  fflush(stdout);
  if (cpu > 1.02) implausible++;
  if (strncmp(op, "matmul", 6) == 0 && in[0].shape[in[0].rank - 2] >= 512) {
    median_inverse += 1 / share;
    best_inverse += 1 / best;
    cpu_inverse += 1 / cpu;
    products++;
  }
  free(call.workspace);
}

/* Huge pages where the system allows; filled once. */
static ft_tensor tensor(int dtype, int64_t rows, int64_t columns) {
  ft_tensor t = {.shape = {1, rows, columns, 1}, .rank = 3, .dtype = dtype, .count = rows * columns};
  const size_t page = (size_t)2 << 20, bytes = (test_bytes(&t) + page - 1) / page * page;
  void *data = NULL;
  if (posix_memalign(&data, page, bytes) != 0) abort();
  madvise(data, bytes, MADV_HUGEPAGE);
  t.data = data;
  for (int64_t i = 0; i < t.count; i++) {
    const float x = test_random();
    ft_convert(t.data + i * ft_dtype_bytes(dtype), dtype, (const char *)&x, FT_F32, 1);
  }
  return t;
}

/* The three products of a linear layer: y = x · wᵀ, dx = dy · w, dw = dyᵀ · x. `dtype` is that of the weight, and of x and dy for dw. */
static void trio(int64_t tokens, int64_t out_width, int64_t width, int dtype) {
  const double attrs[] = {0}, flops = 2.0 * (double)tokens * (double)out_width * (double)width;
  const char *const ops[] = {"matmul_nt", "matmul_nn", "matmul_tn"}, *const types[] = {"", " bf16", " f16"};
  for (int i = 0; i < (tokens >= 128 ? 3 : 2); i++) {
    char label[80];
    snprintf(label, sizeof label, "%s %lld x (%lld, %lld)%s", ops[i] + 7, (long long)tokens, (long long)out_width, (long long)width, types[dtype]);
    if (strstr(label, match) == NULL) continue;
    ft_tensor in[] = {tensor(i < 2 ? FT_F32 : dtype, tokens, i == 0 ? width : out_width), tensor(dtype, i < 2 ? out_width : tokens, width)};
    ft_tensor out = i < 2 ? tensor(FT_F32, tokens, i == 0 ? out_width : width) : tensor(FT_F32, out_width, width);
    ft_tensor *const weight = i < 2 ? &in[1] : &out;
    *weight = test_view(weight, 0, 2, out_width, width, 1);
    measure(label, ops[i], flops, in, 2, &out, 1, attrs);
    free(in[0].data);
    free(in[1].data);
    free(out.data);
  }
}

/* Forward and backward of one layer's attention; flops as if the causal half were cut exactly. */
static void attention(int64_t rows, int64_t length, int64_t heads, int64_t kv_heads, int64_t width) {
  char label[80];
  snprintf(label, sizeof label, "attention B %d T %d H %d/%d K %d", (int)rows, (int)length, (int)heads, (int)kv_heads, (int)width);
  if (strstr(label, match) == NULL) return;
  const double attrs[] = {(double)heads, (double)kv_heads, (double)width, 1 / sqrt((double)width)};
  const double pairs = (double)rows * (double)heads * (double)length * (double)length * (double)width;
  const int64_t D = heads * width, E = kv_heads * width;
  ft_tensor all[10]; /* q, k, v, documentStart, o, lse, do, dq, dk, dv */
  const int64_t widths[] = {D, E, E, 1, D, heads, D, D, E, E};
  for (int i = 0; i < 10; i++) all[i] = i == 3 ? test_tensor(FT_I32, 2, rows, length, 1) : test_filled(FT_F32, 3, rows, length, widths[i]);
  memset(all[3].data, 0, test_bytes(&all[3]));
  measure(label, "attention", 2 * pairs, all, 4, &all[4], 2, attrs);
  measure("  backward", "attention_backward", 5 * pairs, all, 7, &all[7], 3, attrs);
  for (int i = 0; i < 10; i++) free(all[i].data);
}

int main(void) {
  const test_target targets[] = TEST_TARGETS;
  const char *wanted = getenv("SPEED_TARGET"), *threads = getenv("SPEED_THREADS"), *only = getenv("SPEED_ONLY");
  if (getenv("SPEED_MATCH") != NULL) match = getenv("SPEED_MATCH");
  if (getenv("SPEED_ROUNDS") != NULL) rounds = atoi(getenv("SPEED_ROUNDS"));
  if (rounds < 1 || rounds > MOST_ROUNDS) rounds = 7;
  for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++) {
    if (wanted != NULL ? strcmp(wanted, targets[t].name) == 0 : targets[t].supported) target = &targets[t];
  }
  pool = ft_pool_create(threads == NULL ? 2 : atoi(threads));
  printf("%s, %d threads, limit %.1f GFLOP/s by processor time\n", target->name, ft_threads(pool), limit().cpu);
  if (only == NULL || strchr(only, 'm') != NULL) {
    const int64_t shapes[][2] = {{576, 576}, {1536, 576}, {576, 1536}, {49152, 576}, {896, 896}, {4864, 896}, {2048, 2048}, {8192, 2048}};
    for (int dtype = FT_F32; dtype <= FT_F16; dtype++) {
      for (int tokens = 512; tokens <= 2048; tokens *= 4) {
        for (int i = 0; i < 8; i++) trio(tokens, shapes[i][0], shapes[i][1], dtype);
      }
    }
    printf("%d products, harmonic means: median %.1f %%, best %.1f %%, cpu %.1f %% of the limit\n", products, 100 * products / median_inverse,
           100 * products / best_inverse, 100 * products / cpu_inverse);
  }
  if (only == NULL || strchr(only, 's') != NULL) {
    trio(64, 1536, 576, FT_F32);
    trio(1, 49152, 576, FT_F32);
    trio(1, 2048, 2048, FT_F32);
    trio(4, 2048, 2048, FT_F32);
  }
  if (only == NULL || strchr(only, 'a') != NULL) {
    attention(1, 512, 9, 3, 64);
    attention(4, 256, 9, 3, 64);
    attention(1, 2048, 9, 3, 64);
    attention(1, 512, 12, 12, 64);
    attention(1, 512, 16, 8, 128);
    attention(1, 512, 8, 8, 80);
  }
  ft_pool_destroy(pool);
  if (implausible > 0) printf("FAIL %d shares above 100 %%: the limit is measured too low\n", implausible);
  return implausible != 0;
}
