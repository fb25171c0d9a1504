/*
 * The packed matrix product that kernels share: converters where it loads (f32, bf16, f16) and where it stores. A kernel describes
 * its operands, asks `product_bytes` for scratch, and calls `product_run`.
 *
 * The inner axis is cut into blocks by shapes only (token_blocks.h). An element of y is, block by block, a chain of fused
 * multiply-adds from zero, added to what y holds (the first block is stored); sums are f32, so y of 16 bits rounds once.
 * Rows, columns and the order of blocks within a group are divided as caches and threads like it; that changes no bit.
 *
 * Loops, from outside: rows of y (all, unless y has 16 bits and is summed in `sums`), columns (COLUMNS at most), groups of inner
 * blocks (GROUP_FLOATS of b at most). For each, all threads pack b into `shared`; then tasks pack ROWS rows of a at a time and
 * multiply. With few rows (decoding) the work is reading b once, so each task packs its own columns of b instead.
 */
#ifndef FULLTUNE_PRODUCT_H
#define FULLTUNE_PRODUCT_H

#include "tile.h"
#include "token_blocks.h"

/* `workspaceBytes` in src/devices/cpu/workspace.ts knows these numbers too. They hold for every target. */
#define ROWS 96               /* of a, packed at a time by a thread: a multiple of every TILE_ROWS */
#define COLUMNS 2048          /* of b, packed at a time */
#define GROUP_FLOATS 1048576  /* of b, packed at a time, if that is more than one inner block */
#define SUM_ROWS 1024         /* rows of y in f32 before they are rounded to 16 bits */
#define FEW_ROWS 16           /* up to here b is not shared */
#define FEW_COLUMNS 256       /* of b, packed at a time by a thread when it is not shared */
#define WIDEST 32             /* a multiple of every TILE_COLUMNS */

typedef void (*packer)(float *panel, const void *source, int64_t first, int64_t stride, int64_t count, int64_t depth);

#define PACKER(name, pack, width, dtype)                                                                                     \
  static void name##_##dtype(float *panel, const void *source, int64_t first, int64_t stride, int64_t count, int64_t depth) { \
    pack(panel, width, source, first, stride, dtype, count, depth);                                                          \
  }
#define PACKERS(name, pack, width)                                        \
  PACKER(name, pack, width, FT_F32)                                       \
  PACKER(name, pack, width, FT_BF16)                                      \
  PACKER(name, pack, width, FT_F16)                                       \
  static const packer name[] = {name##_FT_F32, name##_FT_BF16, name##_FT_F16};

PACKERS(pack_a_rows, pack_rows, ROW_PANEL)
PACKERS(pack_a_columns, pack_columns, ROW_PANEL)
PACKERS(pack_b_rows, pack_rows, TILE_COLUMNS)
PACKERS(pack_b_columns, pack_columns, TILE_COLUMNS)

/* An operand: `inner` is true when the inner axis runs along its rows (it is packed by transposing). */
typedef struct {
  const void *data;
  packer pack;
  int64_t stride;
  int64_t lines; /* rows of y for a, columns of y for b */
  bool inner;
} operand;

typedef struct {
  operand a, b;
  ft_token_blocks blocks; /* of the inner axis */
  const int64_t *ends;    /* where each block ends if they are uneven: `blocks` then has their number and largest size; or NULL */
  void *y;                /* lines of a × lines of b */
  int32_t y_dtype;
  int32_t bias_dtype;
  const void *bias;       /* one element per line of b, or NULL */
  bool accumulate;
} product;

/* Inner block `index` is *begin … *end - 1. */
static void inner_block(const product *p, int64_t index, int64_t *begin, int64_t *end) {
  if (p->ends == NULL) {
    ft_token_block(&p->blocks, index, begin, end);
  } else {
    *begin = index == 0 ? 0 : p->ends[index - 1];
    *end = p->ends[index];
  }
}

/* How much is done at a time, and where it is kept. Depends on shapes and the dtype of y. */
typedef struct {
  bool few, rounds;           /* b is not shared; y has 16 bits */
  int64_t rows, columns;      /* of y per pass */
  int64_t group;              /* inner blocks per pass */
  int64_t shared_floats, sums_floats, a_floats, thread_floats;
} cut;

static cut cut_of(const product *p) {
  cut c = {.few = p->a.lines <= FEW_ROWS, .rounds = p->y_dtype != FT_F32};
  const int64_t columns = p->b.lines;
  c.columns = round_up(ceil_div(columns, ceil_div(columns, COLUMNS)), WIDEST);
  c.rows = c.rounds ? least(p->a.lines, SUM_ROWS) : p->a.lines;
  c.group = c.few ? p->blocks.count : least(p->blocks.count, most(1, GROUP_FLOATS / (c.columns * p->blocks.size)));
  c.shared_floats = c.few ? 0 : c.columns * c.group * p->blocks.size;
  c.sums_floats = c.rounds ? round_up(c.rows, 16) * c.columns : 0;
  /* Panels of 6 rows take the room of 8. */
  c.a_floats = least(round_up(p->a.lines, 24), ROWS) / 3 * 4 * p->blocks.size;
  c.thread_floats = c.a_floats + (c.few ? least(c.columns, FEW_COLUMNS) * p->blocks.size : 0);
  return c;
}

/* Scratch; grows with the number of blocks, and with the lines of a above FEW_ROWS and up to there. */
static int64_t product_bytes(const product *p, int threads) {
  const cut c = cut_of(p);
  return 4 * (c.shared_floats + c.sums_floats + threads * c.thread_floats);
}

/* One pass: rows `row` …, columns `column` …, inner blocks `block` …; what its tasks share. */
typedef struct {
  const product *p;
  const cut *c;
  int64_t row, rows, column, columns, block, blocks;
  int64_t row_tasks, column_tasks;
  float *shared, *threads; /* workspace */
  float *sums;             /* element (row, column) of y, or of the f32 sums */
  int64_t sums_stride;
} pass;

static void pack_panel(const operand *from, float *panel, int64_t line, int64_t k, int64_t depth) {
  const int64_t first = from->inner ? line * from->stride + k : k * from->stride + line;
  from->pack(panel, from->data, first, from->stride, from->lines - line, depth);
}

/* Task: one panel of b of one inner block, into its place in `shared`. Blocks lie `size` apart, panels behind each other. */
static float *shared_panel(const pass *s, int64_t block, int64_t panel) {
  return s->shared + ((block - s->block) * s->c->columns + panel * TILE_COLUMNS) * s->p->blocks.size;
}
static void pack_shared(void *context, int64_t task, int thread) {
  (void)thread;
  const pass *s = context;
  const int64_t panels = ceil_div(s->columns, TILE_COLUMNS);
  const int64_t block = s->block + task / panels, panel = task % panels;
  int64_t begin, end;
  inner_block(s->p, block, &begin, &end);
  pack_panel(&s->p->b, shared_panel(s, block, panel), s->column + panel * TILE_COLUMNS, begin, end - begin);
}

#define WHOLE_TILE(name, rows)                                                                                              \
  static void name(int64_t depth, const float *a, const float *b, float *c, int64_t c_stride, bool accumulate) {            \
    tile_product(rows, TILE_VECTORS, depth, a, 1, ROW_PANEL, b, TILE_COLUMNS, c, c_stride, accumulate);                     \
  }
WHOLE_TILE(whole_tile, TILE_ROWS)
WHOLE_TILE(tile_of_4, 4)
WHOLE_TILE(tile_of_1, 1)

/* A tile of which only rows × columns exist: computed whole beside, so that every element gets the same operations. */
static void edge_tile(int64_t rows, int64_t columns, int64_t depth, const float *a, const float *b, float *c, int64_t c_stride,
                      bool accumulate) {
  float beside[TILE_ROWS * TILE_COLUMNS] __attribute__((aligned(64)));
  if (rows == 1) tile_of_1(depth, a, b, beside, TILE_COLUMNS, false);
  else if (rows <= 4) tile_of_4(depth, a, b, beside, TILE_COLUMNS, false);
  else whole_tile(depth, a, b, beside, TILE_COLUMNS, false);
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < columns; j++) {
      const float x = beside[i * TILE_COLUMNS + j];
      c[i * c_stride + j] = accumulate ? c[i * c_stride + j] + x : x;
    }
  }
}

/* The last step of an element: bias and rounding. From (rows, columns) of `sums` to y. */
static void finish(const pass *s, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  const product *p = s->p;
  if (p->bias == NULL && !s->c->rounds) return;
  for (int64_t i = row; i < row + rows; i++) {
    for (int64_t j = column; j < column + columns; j += VF_LANES) {
      const int64_t n = least(VF_LANES, column + columns - j), at = s->column + j;
      vf x = v_load_first(s->sums + i * s->sums_stride + j, n);
      if (p->bias != NULL) x += v_load_first_as(p->bias, at, p->bias_dtype, n);
      v_store_first_as(p->y, (s->row + i) * p->b.lines + at, p->y_dtype, x, n);
    }
  }
}

/* Task: some row panels times some column panels. */
static void multiply(void *context, int64_t task, int thread) {
  const pass *s = context;
  const product *p = s->p;
  const int64_t row_panels = ceil_div(s->rows, TILE_ROWS), column_panels = ceil_div(s->columns, TILE_COLUMNS);
  const int64_t i = task / s->column_tasks, j = task % s->column_tasks;
  const int64_t row_begin = i * row_panels / s->row_tasks, row_end = (i + 1) * row_panels / s->row_tasks;
  const int64_t column_begin = j * column_panels / s->column_tasks, column_end = (j + 1) * column_panels / s->column_tasks;
  float *const own_a = s->threads + thread * s->c->thread_floats, *const own_b = own_a + s->c->a_floats;
  for (int64_t block = s->block; block < s->block + s->blocks; block++) {
    int64_t begin, end;
    inner_block(p, block, &begin, &end);
    const int64_t depth = end - begin;
    const bool accumulate = p->accumulate || block > 0;
    for (int64_t r = row_begin; r < row_end; r++) {
      pack_panel(&p->a, own_a + (r - row_begin) * ROW_PANEL * depth, s->row + r * TILE_ROWS, begin, depth);
    }
    for (int64_t q = column_begin; q < column_end; q++) {
      const float *b = own_b;
      if (s->c->few) pack_panel(&p->b, own_b, s->column + q * TILE_COLUMNS, begin, depth);
      else b = shared_panel(s, block, q);
      const int64_t columns = least(TILE_COLUMNS, s->columns - q * TILE_COLUMNS);
      for (int64_t r = row_begin; r < row_end; r++) {
        const int64_t rows = least(TILE_ROWS, s->rows - r * TILE_ROWS);
        const float *a = own_a + (r - row_begin) * ROW_PANEL * depth;
        float *c = s->sums + r * TILE_ROWS * s->sums_stride + q * TILE_COLUMNS;
        if (rows == TILE_ROWS && columns == TILE_COLUMNS) whole_tile(depth, a, b, c, s->sums_stride, accumulate);
        else edge_tile(rows, columns, depth, a, b, c, s->sums_stride, accumulate);
      }
    }
  }
  if (s->block + s->blocks == p->blocks.count) {
    const int64_t row = row_begin * TILE_ROWS, column = column_begin * TILE_COLUMNS;
    finish(s, row, least(row_end * TILE_ROWS, s->rows) - row, column, least(column_end * TILE_COLUMNS, s->columns) - column);
  }
}

/* Computes y with the `product_bytes` bytes at `workspace`. Returns early, with y unfinished, when the run is cancelled. */
static void product_run(struct ft_pool *pool, char *workspace, const product *p) {
  const int threads = ft_threads(pool);
  const cut c = cut_of(p);
  pass s = {.p = p, .c = &c, .shared = (float *)workspace};
  float *const sums = s.shared + c.shared_floats;
  s.threads = sums + c.sums_floats;
  const int64_t y_rows = p->a.lines, y_columns = p->b.lines;
  for (s.row = 0; s.row < y_rows; s.row += c.rows) {
    s.rows = least(c.rows, y_rows - s.row);
    for (s.column = 0; s.column < y_columns; s.column += c.columns) {
      s.columns = least(c.columns, y_columns - s.column);
      s.sums = c.rounds ? sums : (float *)p->y + s.row * y_columns + s.column;
      s.sums_stride = c.rounds ? c.columns : y_columns;
      const int64_t row_panels = ceil_div(s.rows, TILE_ROWS), column_panels = ceil_div(s.columns, TILE_COLUMNS);
      const int64_t wanted = 4 * threads; /* tasks: enough to even out a busy core */
      s.row_tasks = most(ceil_div(row_panels, ROWS / TILE_ROWS), least(wanted, row_panels / 4));
      s.column_tasks = s.row_tasks * 4 >= wanted * 3 ? 1 : least(ceil_div(wanted, s.row_tasks), column_panels);
      for (s.block = 0; s.block < p->blocks.count; s.block += c.group) {
        if (ft_cancelled(pool)) return;
        s.blocks = least(c.group, p->blocks.count - s.block);
        if (!c.few) ft_parallel(pool, s.blocks * column_panels, pack_shared, &s);
        ft_parallel(pool, s.row_tasks * s.column_tasks, multiply, &s);
      }
    }
  }
}

/* `lines` rows of y, `stride` elements between rows of `data`, which the inner axis runs along or across. */
static operand operand_a(const void *data, int dtype, bool inner, int64_t lines, int64_t stride) {
  return (operand){data, (inner ? pack_a_rows : pack_a_columns)[dtype], stride, lines, inner};
}
static operand operand_b(const void *data, int dtype, bool inner, int64_t lines, int64_t stride) {
  return (operand){data, (inner ? pack_b_rows : pack_b_columns)[dtype], stride, lines, inner};
}

#endif
