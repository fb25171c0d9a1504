/*
 * Speed of products and attention as shares of the multiply-add rate in registers (peak.c), measured before and after each call:
 * medians of 7 rounds. `wall` counts what passed, so it needs a quiet machine; `cpu` counts the processor time of all threads, waiting
 * in the pool's spin loops included, and holds better on a busy one (a measurement lasts at least 40 ms, as this clock ticks).
 * A share above 100 % means that the limit is wrong, and fails.
 * sh native/testing/build.sh speed; environment SPEED_TARGET, SPEED_THREADS, SPEED_ONLY (m products, s few rows, a attention).
 */
#include "testing.h"

#define ROUNDS 7

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
static double median(double *x) {
  qsort(x, ROUNDS, sizeof *x, by_value);
  return x[ROUNDS / 2];
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

static double wall_inverse = 0, cpu_inverse = 0;
static int products = 0;

static int implausible = 0;

static void measure(const char *label, const char *op, double flops, const ft_tensor *in, int n_in, const ft_tensor *out, int n_out,
                    const double *attrs) {
  const ft_call call = test_call(target, op, pool, in, n_in, out, n_out, attrs);
  const ft_entry *entry = test_entry(target, op);
  double rates[ROUNDS], walls[ROUNDS], cpus[ROUNDS];
  entry->run(&call);
  const int calls = flops > 9e9 ? 1 : (int)(9e9 / flops) + 1;
  for (int r = 0; r < ROUNDS; r++) {
    const clocks before = limit();
    const clocks start = now();
    for (int i = 0; i < calls; i++) entry->run(&call);
    const clocks rate = rate_since(start, flops * calls);
    const clocks after = limit();
    rates[r] = rate.wall;
    walls[r] = 2 * rate.wall / (before.wall + after.wall);
    cpus[r] = 2 * rate.cpu / (before.cpu + after.cpu);
  }
  const double rate = median(rates), wall = median(walls), cpu = median(cpus);
  printf("%-34s %8.1f GFLOP/s  wall %5.1f %%  cpu %5.1f %%   workspace %.2f MB\n", label, rate, wall * 100, cpu * 100,
         (double)call.workspace_bytes * 1e-6);
  fflush(stdout);
  if (cpu > 1.02) implausible++;
  if (strncmp(op, "matmul", 6) == 0 && in[0].shape[in[0].rank - 2] >= 512) {
    wall_inverse += 1 / wall;
    cpu_inverse += 1 / cpu;
    products++;
  }
  free(call.workspace);
}

/* The three products of a linear layer: y = x · wᵀ, dx = dy · w, dw = dyᵀ · x. */
static void trio(int64_t tokens, int64_t out_width, int64_t width, int dtype) {
  const double attrs[] = {0}, flops = 2.0 * (double)tokens * (double)out_width * (double)width;
  char label[80];
  ft_tensor x = test_filled(FT_F32, 3, 1, tokens, width), w = test_filled(dtype, 2, out_width, width, 1);
  ft_tensor dy = test_filled(FT_F32, 3, 1, tokens, out_width), y = test_filled(FT_F32, 3, 1, tokens, out_width);
  ft_tensor dx = test_filled(FT_F32, 3, 1, tokens, width), dw = test_filled(FT_F32, 2, out_width, width, 1);
  const ft_tensor nt[] = {x, w}, nn[] = {dy, w}, tn[] = {dy, x};
  const char *type = dtype == FT_F32 ? "" : dtype == FT_BF16 ? " bf16" : " f16";
  snprintf(label, sizeof label, "nt %lld x (%lld, %lld)%s", (long long)tokens, (long long)out_width, (long long)width, type);
  measure(label, "matmul_nt", flops, nt, 2, &y, 1, attrs);
  snprintf(label, sizeof label, "nn %lld x (%lld, %lld)%s", (long long)tokens, (long long)out_width, (long long)width, type);
  measure(label, "matmul_nn", flops, nn, 2, &dx, 1, attrs);
  if (tokens >= 128) {
    snprintf(label, sizeof label, "tn %lld x (%lld, %lld)%s", (long long)tokens, (long long)out_width, (long long)width, type);
    measure(label, "matmul_tn", flops, tn, 2, &dw, 1, attrs);
  }
  ft_tensor all[] = {x, w, dy, y, dx, dw};
  for (int i = 0; i < 6; i++) free(all[i].data);
}

/* Forward and backward of one layer's attention; flops as if the causal half were cut exactly. */
static void attention(int64_t rows, int64_t length, int64_t heads, int64_t kv_heads, int64_t width) {
  const double attrs[] = {(double)heads, (double)kv_heads, (double)width, 1 / sqrt((double)width)};
  const double pairs = (double)rows * (double)heads * (double)length * (double)length * (double)width;
  const int64_t D = heads * width, E = kv_heads * width;
  ft_tensor all[10]; /* q, k, v, documentStart, o, lse, do, dq, dk, dv */
  const int64_t widths[] = {D, E, E, 1, D, heads, D, D, E, E};
  for (int i = 0; i < 10; i++) all[i] = i == 3 ? test_tensor(FT_I32, 2, rows, length, 1) : test_filled(FT_F32, 3, rows, length, widths[i]);
  memset(all[3].data, 0, test_bytes(&all[3]));
  char label[80];
  snprintf(label, sizeof label, "attention B %d T %d H %d/%d K %d", (int)rows, (int)length, (int)heads, (int)kv_heads, (int)width);
  measure(label, "attention", 2 * pairs, all, 4, &all[4], 2, attrs);
  measure("  backward", "attention_backward", 5 * pairs, all, 7, &all[7], 3, attrs);
  for (int i = 0; i < 10; i++) free(all[i].data);
}

int main(void) {
  const test_target targets[] = TEST_TARGETS;
  const char *wanted = getenv("SPEED_TARGET"), *threads = getenv("SPEED_THREADS"), *only = getenv("SPEED_ONLY");
  for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++) {
    if (wanted != NULL ? strcmp(wanted, targets[t].name) == 0 : targets[t].supported) target = &targets[t];
  }
  pool = ft_pool_create(threads == NULL ? 2 : atoi(threads));
  printf("%s, %d threads, limit %.1f GFLOP/s by processor time\n", target->name, ft_threads(pool), limit().cpu);
  if (only == NULL || strchr(only, 'm') != NULL) {
    const int64_t shapes[][2] = {{576, 576}, {1536, 576}, {576, 1536}, {2048, 2048}, {49152, 576}};
    for (int tokens = 512; tokens <= 2048; tokens *= 4) {
      for (int i = 0; i < 5; i++) trio(tokens, shapes[i][0], shapes[i][1], FT_F32);
    }
    printf("products, harmonic means: wall %.1f %%, cpu %.1f %% of the limit\n", 100 * products / wall_inverse, 100 * products / cpu_inverse);
  }
  if (only == NULL || strchr(only, 's') != NULL) {
    trio(512, 1536, 576, FT_BF16);
    trio(64, 1536, 576, FT_F32);
    trio(1, 49152, 576, FT_F32);
    trio(1, 2048, 2048, FT_F32);
    trio(4, 2048, 2048, FT_F32);
  }
  if (only == NULL || strchr(only, 'a') != NULL) {
    attention(1, 512, 9, 3, 64);
    attention(4, 256, 9, 3, 64);
    attention(1, 2048, 9, 3, 64);
    attention(1, 8192, 9, 3, 64);
    attention(1, 512, 12, 12, 64);
    attention(1, 512, 16, 8, 128);
    attention(1, 512, 8, 8, 80);
  }
  ft_pool_destroy(pool);
  if (implausible > 0) printf("FAIL %d shares above 100 %%: the limit is measured too low\n", implausible);
  return implausible != 0;
}
