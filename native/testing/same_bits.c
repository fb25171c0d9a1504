/*
 * Prints a hash of each output of every kernel, per target: `TARGET NUMBER KERNEL DTYPE ROWS x WIDTH: HASH …`. Targets that fuse multiply-adds (AVX2, AVX-512,
 * NEON) give the same bits, on whichever machine they run: tools/check-bits.js compares. sh native/testing/build.sh same_bits
 */
#include "tables.h"

typedef struct {
  const char *name;
  bool supported;
  const ft_entry *tables[FAMILIES];
} table_target;
#define TABLE_TARGET(target, supported) {#target, supported, TABLES(target)}

static const table_target *target;
static struct ft_pool *pool;
static const char *const dtype_names[] = {[FT_F32] = "f32", [FT_BF16] = "bf16", [FT_F16] = "f16"};
static int64_t rows, width;
static int dtype, number_of_result;

/* FNV-1a. */
static uint64_t hash_of(const ft_tensor *t) {
  uint64_t hash = UINT64_C(14695981039346656037);
  for (size_t i = 0; i < test_bytes(t); i++) hash = (hash ^ (uint8_t)t->data[i]) * UINT64_C(1099511628211);
  return hash;
}

static void show(const char *op, const ft_tensor *in, int n_in, const ft_tensor *out, int n_out, const double *attrs) {
  ft_call call = {.in = in, .out = out, .attrs = attrs, .pool = pool, .n_in = n_in, .n_out = n_out};
  const ft_entry *entry = table_entry(target->tables, op);
  call.workspace_bytes = entry->workspace == NULL ? 0 : entry->workspace(&call, ft_threads(pool));
  void *workspace = NULL;
  if (posix_memalign(&workspace, 64, (size_t)call.workspace_bytes + 64) != 0) abort();
  memset(workspace, 0xff, (size_t)call.workspace_bytes);
  call.workspace = workspace;
  entry->run(&call);
  printf("%s %d %s %s %lld x %lld:", target->name, ++number_of_result, op, dtype_names[dtype], (long long)rows, (long long)width);
  for (int i = 0; i < n_out; i++) printf(" %016llx", (unsigned long long)hash_of(&out[i]));
  printf("\n");
  free(workspace);
}
#define UNPACK(...) {__VA_ARGS__}
#define SHOW(op, ins, outs, ...)                                                                      \
  do {                                                                                                \
    const ft_tensor in_[] = UNPACK ins, out_[] = UNPACK outs;                                         \
    const double attrs_[] = {__VA_ARGS__};                                                            \
    show(op, in_, sizeof in_ / sizeof *in_, out_, sizeof out_ / sizeof *out_, attrs_);                \
  } while (0)

static ft_tensor full(int type) { return test_filled(type, 3, 1, rows, width); }
static ft_tensor copy_of(const ft_tensor *t) {
  ft_tensor copy = test_tensor(t->dtype, t->rank, t->shape[0], t->shape[1], t->shape[2]);
  memcpy(copy.data, t->data, test_bytes(t));
  return copy;
}
static ft_tensor positive(int rank, int64_t s0, int64_t s1, int64_t s2) {
  ft_tensor t = test_filled(FT_F32, rank, s0, s1, s2);
  for (int64_t i = 0; i < t.count; i++) ((float *)(void *)t.data)[i] = 0.1f + fabsf(((float *)(void *)t.data)[i]);
  return t;
}
static ft_tensor number(float x) {
  ft_tensor t = test_tensor(FT_F32, 1, 1, 1, 1);
  memcpy(t.data, &x, sizeof x);
  return t;
}
static ft_tensor whole_numbers(int rank, int64_t s0, int64_t s1, int64_t below) {
  ft_tensor t = test_tensor(FT_I32, rank, s0, s1, 1);
  for (int64_t i = 0; i < t.count; i++) ((int32_t *)(void *)t.data)[i] = (int32_t)(i * 7919 % below);
  return t;
}

static void activations(void) {
  const ft_tensor x = full(dtype), y = full(dtype), z = full(dtype), to = full(dtype), also = full(dtype);
  const ft_tensor weight = test_filled(FT_F32, 1, width, 1, 1), bias = test_filled(FT_F32, 1, width, 1, 1), sums = test_tensor(FT_F32, 1, width, 1, 1);
  const ft_tensor mean = test_filled(FT_F32, 2, 1, rows, 1), rstd = positive(2, 1, rows, 1), wide_rstd = positive(3, 1, rows, 1);
  const ft_tensor table = test_filled(FT_F32, 3, 1, rows, width);
  const ft_tensor stats[] = {test_tensor(FT_F32, 2, 1, rows, 1), test_tensor(FT_F32, 2, 1, rows, 1)};
  SHOW("add", (x, y), (to), 0);
  SHOW("scale", (x, number(0.37f)), (to), 0);
  SHOW("swiglu", (x, y), (to), 0);
  SHOW("swiglu_backward", (x, y, z), (to, also), 0);
  for (int tanh = 0; tanh < 2; tanh++) {
    SHOW("gelu", (x), (to), tanh);
    SHOW("gelu_backward", (x, y), (to), tanh);
  }
  SHOW("rmsnorm", (x, weight), (to, stats[0]), 1e-5);
  SHOW("rmsnorm_backward", (x, weight, wide_rstd, y), (to), 0);
  SHOW("rmsnorm_weight_gradient", (x, wide_rstd, y), (sums), (double)width, 0);
  SHOW("layernorm", (x, weight, bias), (to, stats[0], stats[1]), 1e-5);
  SHOW("layernorm_backward", (x, weight, mean, rstd, y), (to), 0);
  SHOW("layernorm_weight_gradient", (x, mean, rstd, y), (sums), 0);
  SHOW("column_sum", (x), (sums), 0);
  if (width % 2 == 0) SHOW("rotary", (x, table), (to), 0);
  for (int type = FT_F32; type <= FT_F16; type++) {
    const ft_tensor cast = full(type);
    SHOW("cast", (x), (cast), type);
  }
  const ft_tensor ids = whole_numbers(2, 1, rows, rows), rows_of_weight = test_filled(dtype, 2, rows, width, 1), gradient = test_tensor(FT_F32, 2, rows, width, 1);
  SHOW("embedding", (ids, rows_of_weight), (to), 0);
  SHOW("embedding_backward", (ids, x), (gradient), (double)rows, 0);
}

static void products(void) {
  const int64_t columns = 67;
  const ft_tensor x = full(dtype), dy = test_filled(dtype, 3, 1, rows, columns), weight = test_filled(dtype, 2, columns, width, 1);
  const ft_tensor y = test_tensor(dtype, 3, 1, rows, columns), dx = full(dtype), dw = test_tensor(FT_F32, 2, columns, width, 1);
  SHOW("matmul_nt", (x, weight), (y), 0);
  SHOW("matmul_nn", (dy, weight), (dx), 0);
  SHOW("matmul_tn", (dy, x), (dw), 0);
  const ft_tensor labels = whole_numbers(2, 1, rows, columns), loss = number(0);
  SHOW("linear_cross_entropy", (x, weight, labels, number(0.1f)), (loss), 1);
  SHOW("linear_cross_entropy_backward", (x, weight, labels, number(0.1f), number(1)), (loss, dx, dw), 1, 0, 1, 1);
  const int64_t heads = 4, key_heads = 2, head = 24, length = rows * 37;
  const double attrs[] = {(double)heads, (double)key_heads, (double)head, 0.2};
  const ft_tensor q = test_filled(dtype, 3, 1, length, heads * head), k = test_filled(dtype, 3, 1, length, key_heads * head), v = test_filled(dtype, 3, 1, length, key_heads * head);
  const ft_tensor starts = whole_numbers(2, 1, length, 1), o = copy_of(&q), lse = test_tensor(FT_F32, 3, 1, length, heads), pull = test_filled(dtype, 3, 1, length, heads * head);
  const ft_tensor dq = copy_of(&q), dk = copy_of(&k), dv = copy_of(&v);
  SHOW("attention", (q, k, v, starts), (o, lse), attrs[0], attrs[1], attrs[2], attrs[3]);
  SHOW("attention_backward", (q, k, v, starts, o, lse, pull), (dq, dk, dv), attrs[0], attrs[1], attrs[2], attrs[3]);
}

static void losses(void) {
  const ft_tensor logits = full(FT_F32), labels = whole_numbers(2, 1, rows, width), lse = test_tensor(FT_F32, 2, 1, rows, 1), loss = number(0), dlogits = full(FT_F32);
  SHOW("cross_entropy", (logits, labels, number(0.1f)), (loss, lse), 0);
  SHOW("cross_entropy_backward", (logits, labels, lse, number(0.1f), number(1)), (dlogits), 0);
  SHOW("sum_squares", (logits), (loss), 0);
}

/* Updates of a matrix whose weights have `dtype`. */
static void updates(void) {
  const ft_tensor old = test_filled(dtype, 2, rows, width, 1), gradient = test_filled(FT_F32, 2, rows, width, 1), m = test_filled(FT_F32, 2, rows, width, 1), v = positive(2, rows, width, 1);
  const ft_tensor rate = number(1e-3f), factor = number(0.7f), row_moments = positive(1, rows, 1, 1), column_moments = positive(1, width, 1, 1);
  ft_tensor step = whole_numbers(1, 1, 1, 2);
  *(int32_t *)(void *)step.data = 3;
  {
    const ft_tensor p = copy_of(&old), m1 = copy_of(&m), v1 = copy_of(&v);
    SHOW("adamw", (p, gradient, m1, v1, rate, step, factor), (p, m1, v1), 0.9, 0.999, 1e-8, 0.01, 0, 7);
  }
  {
    const ft_tensor p = copy_of(&old), m1 = copy_of(&m);
    SHOW("lion", (p, gradient, m1, rate, step, factor), (p, m1), 0.9, 0.99, 0.01, 0, 7);
  }
  {
    const ft_tensor p = copy_of(&old), m1 = copy_of(&m);
    SHOW("sgd", (p, gradient, rate, step, factor, m1), (p, m1), 0.9, 0.01, 0, 7);
  }
  {
    const ft_tensor p = copy_of(&old), r = copy_of(&row_moments), c = copy_of(&column_moments);
    SHOW("adafactor", (p, gradient, rate, step, factor, r, c), (p, r, c), 0, 0.01, 1, 7);
  }
  {
    const int64_t blocks = (rows * width + 255) / 256;
    const ft_tensor p = copy_of(&old), scales[] = {positive(1, blocks, 1, 1), positive(1, blocks, 1, 1)}, errors = test_tensor(FT_F32, 1, 2, 1, 1);
    ft_tensor codes[] = {test_tensor(FT_U8, 2, rows, width, 1), test_tensor(FT_U8, 2, rows, width, 1)};
    for (int i = 0; i < 2; i++) memset(codes[i].data, 130, test_bytes(&codes[i]));
    SHOW("adamw_8bit", (p, gradient, codes[0], scales[0], codes[1], scales[1], rate, step, factor), (p, codes[0], scales[0], codes[1], scales[1], errors), 0.9, 0.999, 1e-8, 0.01, 0, 7);
  }
}

int main(void) {
  const table_target targets[] = {FOR_EACH_TARGET(TABLE_TARGET)};
  const int64_t shapes[][2] = {{13, 1543}, {5, 2048}, {9, 576}, {3, 31}, {40, 6}};
  pool = ft_pool_create(2);
  for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
    target = &targets[t];
    if (!target->supported) continue;
    number_of_result = 0;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
      rows = shapes[s][0], width = shapes[s][1];
      test_random_state = s + 1;
      for (dtype = FT_F32; dtype <= FT_F16; dtype++) {
        activations();
        products();
        if (dtype == FT_F32) losses();
        if (dtype != FT_F16) updates();
      }
    }
  }
  ft_pool_destroy(pool);
  return 0;
}
