/*
 * The packed matrix product that kernels share: converters where it loads (f32, bf16, f16) and where it stores. A kernel describes
 * its operands, asks `product_bytes` for scratch, and calls `product_run`.
 *
 * The inner axis is cut into blocks by shapes only (token_blocks.h). An element of y is, block by block, a chain of fused
 * multiply-adds from zero, added to what y holds (the first block is stored); sums are f32, so y of 16 bits rounds once.
 * Rows, columns and the order of blocks within a group are divided as caches and threads like it; that changes no bit.
 *
 * The operand with fewer lines is shared: for a pass (SHARED_LINES of it at most, and a group of inner blocks: GROUP_FLOATS at most)
 * all threads pack it together. Then each task takes a range of the other operand and, block by block (ROWS or COLUMNS), packs it for
 * itself and multiplies. So what is packed for the sake of few lines is read once and stays in the cache of the core that needs it;
 * decoding is the extreme case.
 */
#ifndef FULLTUNE_PRODUCT_H
#define FULLTUNE_PRODUCT_H

#include "tile.h"
#include "token_blocks.h"

/* `workspaceBytes` in src/devices/cpu/workspace.ts knows these numbers too. They hold for every target. */
#define ROWS 96               /* of a, in the second-level cache at a time: a multiple of every TILE_ROWS */
#define COLUMNS 128           /* of b, packed at a time by a thread: a multiple of every TILE_COLUMNS */
#define SHARED_LINES 2048     /* of the shared operand, packed at a time */
#define GROUP_FLOATS 1048576  /* of the shared operand, packed at a time, if that is more than one inner block */
#define SUM_ROWS 1024         /* rows of y in f32 before they are rounded to 16 bits */
#define SUM_COLUMNS 2048
#define ROW_MULTIPLE 24       /* of every TILE_ROWS */
#define COLUMN_MULTIPLE 32    /* of every TILE_COLUMNS */

/* Packs `lines` lines into panels that are `room` floats apart. */
typedef void (*packer)(float *panels, int64_t room, const void *source, int64_t first, int64_t stride, int64_t count, int64_t lines,
                       int64_t depth);

/* Lines that the inner axis runs along: panel by panel. */
VF_INLINE void pack_along(float *panels, int64_t room, int width, const void *source, int64_t first, int64_t stride, int dtype,
                          int64_t count, int64_t lines, int64_t depth) {
  for (int64_t i = 0; i < lines; i += width) {
    pack_rows(panels + i / width * room, width, source, first + i * stride, stride, dtype, count - i, depth);
  }
}
/* Lines that the inner axis runs across: some steps of k of all panels, and so on, as neighbours share cache lines. */
#define ACROSS_STEPS 8
VF_INLINE void pack_across(float *panels, int64_t room, int width, const void *source, int64_t first, int64_t stride, int dtype,
                           int64_t count, int64_t lines, int64_t depth) {
  for (int64_t k = 0; k < depth; k += ACROSS_STEPS) {
    for (int64_t i = 0; i < lines; i += width) {
      pack_columns(panels + i / width * room + k * width, width, source, first + k * stride + i, stride, dtype, count - i,
                   least(ACROSS_STEPS, depth - k));
    }
  }
}

#define PACKER(name, pack, width, dtype)                                                                                     \
  static void name##_##dtype(float *panels, int64_t room, const void *source, int64_t first, int64_t stride, int64_t count,  \
                             int64_t lines, int64_t depth) {                                                                 \
    pack(panels, room, width, source, first, stride, dtype, count, lines, depth);                                            \
  }
#define PACKERS(name, pack, width)                                        \
  PACKER(name, pack, width, FT_F32)                                       \
  PACKER(name, pack, width, FT_BF16)                                      \
  PACKER(name, pack, width, FT_F16)                                       \
  static const packer name[] = {name##_FT_F32, name##_FT_BF16, name##_FT_F16};

PACKERS(pack_a_along, pack_along, TILE_ROWS)
PACKERS(pack_a_across, pack_across, TILE_ROWS)
PACKERS(pack_b_along, pack_along, TILE_COLUMNS)
PACKERS(pack_b_across, pack_across, TILE_COLUMNS)

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
  bool own_a, rounds;    /* b is shared and a is packed by each task for itself, or the reverse; y has 16 bits */
  int64_t rows, columns; /* of y per pass */
  int64_t group;         /* inner blocks per pass */
  int64_t steps;         /* of k that a panel has room for */
  int64_t shared_floats, sums_floats, own_floats;
} cut;

/* `count` divided into equal parts of at most `limit`: the size of a part. */
static int64_t part_of(int64_t count, int64_t limit, int64_t multiple) {
  return round_up(ceil_div(count, most(1, ceil_div(count, limit))), multiple);
}

static cut cut_of(const product *p) {
  cut c = {.own_a = p->a.lines > p->b.lines, .rounds = p->y_dtype != FT_F32, .steps = p->blocks.size + PANEL_SLACK};
  const int64_t rows = p->a.lines, columns = p->b.lines, blocks = p->blocks.count;
  c.rows = c.rounds ? part_of(rows, SUM_ROWS, ROW_MULTIPLE) : c.own_a ? rows : part_of(rows, SHARED_LINES, ROW_MULTIPLE);
  c.columns = c.rounds ? part_of(columns, SUM_COLUMNS, COLUMN_MULTIPLE)
              : c.own_a ? part_of(columns, SHARED_LINES, COLUMN_MULTIPLE) : columns;
  /* An inner block of the shared operand, at least as large as in any pass, and growing with the number of lines. */
  const int64_t block_floats = c.steps * (c.own_a ? round_up(least(columns, SHARED_LINES), COLUMN_MULTIPLE)
                                                  : round_up(least(rows, SHARED_LINES), ROW_MULTIPLE));
  c.group = part_of(blocks, most(1, GROUP_FLOATS / block_floats), 1);
  c.shared_floats = least(blocks * block_floats, most(GROUP_FLOATS, block_floats));
  c.sums_floats = c.rounds ? round_up(c.rows, ROW_MULTIPLE) * round_up(c.columns, COLUMN_MULTIPLE) : 0;
  c.own_floats = c.steps * (c.own_a ? round_up(least(rows, ROWS), ROW_MULTIPLE) : round_up(least(columns, COLUMNS), COLUMN_MULTIPLE));
  return c;
}

/* Scratch; grows with the number of blocks, and with the lines of a up to those of b and above them. */
static int64_t product_bytes(const product *p, int threads) {
  const cut c = cut_of(p);
  return 4 * (c.shared_floats + c.sums_floats + threads * c.own_floats);
}

/* One pass: rows `row` …, columns `column` …, inner blocks `block` …; what its tasks share. */
typedef struct {
  const product *p;
  const cut *c;
  int64_t row, rows, column, columns, block, blocks;
  int64_t own_tasks, shared_tasks; /* ranges that the panels of either side are cut into */
  int threads;
  float *shared, *own; /* workspace */
  float *sums;         /* element (row, column) of y, or of the f32 sums */
  int64_t sums_stride;
} pass;

/* The same of lines of either operand, counted from the pass's first. */
typedef struct {
  const operand *from;
  int64_t first, count; /* lines of the pass */
  int64_t width, room;  /* of a panel: lines, floats */
  int64_t most;         /* lines packed at a time */
} side;
static side side_a(const pass *s) {
  return (side){&s->p->a, s->row, s->rows, TILE_ROWS, TILE_ROWS * s->c->steps, ROWS};
}
static side side_b(const pass *s) {
  return (side){&s->p->b, s->column, s->columns, TILE_COLUMNS, TILE_COLUMNS * s->c->steps, COLUMNS};
}
static side side_shared(const pass *s) { return s->c->own_a ? side_b(s) : side_a(s); }
/* Panels of the shared operand that a task packs. */
static int64_t piece_of(const side *x) { return x->most / x->width / 2; }

/* Packs panels begin … end - 1 of an inner block. */
static void pack_panels(const pass *s, const side *x, int64_t block, int64_t begin, int64_t end, float *to) {
  int64_t k, k_end;
  inner_block(s->p, block, &k, &k_end);
  const operand *from = x->from;
  const int64_t i = begin * x->width, line = x->first + i;
  const int64_t first = from->inner ? line * from->stride + k : k * from->stride + line;
  from->pack(to, x->room, from->data, first, from->stride, x->count - i, least(end * x->width, x->count) - i, k_end - k);
}

/* Task: some panels of the shared operand, of one inner block. Blocks lie behind each other. */
static float *shared_panel(const pass *s, const side *x, int64_t block, int64_t panel) {
  return s->shared + ((block - s->block) * ceil_div(x->count, x->width) + panel) * x->room;
}
static void pack_shared(void *context, int64_t task, int thread) {
  (void)thread;
  const pass *s = context;
  const side x = side_shared(s);
  const int64_t panels = ceil_div(x.count, x.width), at_once = piece_of(&x), tasks = ceil_div(panels, at_once);
  const int64_t block = s->block + task / tasks, begin = task % tasks * at_once;
  pack_panels(s, &x, block, begin, least(panels, begin + at_once), shared_panel(s, &x, block, begin));
}

#define WHOLE_TILE(name, rows)                                                                                              \
  static void name(int64_t depth, const float *a, const float *b, float *c, int64_t c_stride, bool accumulate) {            \
    tile_product(rows, TILE_VECTORS, depth, a, 1, TILE_ROWS, b, TILE_COLUMNS, c, c_stride, accumulate);                     \
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

/* Row panels r_begin … times column panels q_begin …, for one inner block; their panels begin at a and b. */
static void multiply_block(const pass *s, int64_t block, int64_t r_begin, int64_t r_end, int64_t q_begin, int64_t q_end, const float *a,
                           const float *b) {
  int64_t k, k_end;
  inner_block(s->p, block, &k, &k_end);
  const int64_t depth = k_end - k, a_room = TILE_ROWS * s->c->steps, b_room = TILE_COLUMNS * s->c->steps;
  const bool accumulate = s->p->accumulate || block > 0;
  for (int64_t q = q_begin; q < q_end; q++, b += b_room) {
    const int64_t columns = least(TILE_COLUMNS, s->columns - q * TILE_COLUMNS);
    const float *panel = a;
    for (int64_t r = r_begin; r < r_end; r++, panel += a_room) {
      const int64_t rows = least(TILE_ROWS, s->rows - r * TILE_ROWS);
      float *c = s->sums + r * TILE_ROWS * s->sums_stride + q * TILE_COLUMNS;
      if (rows == TILE_ROWS && columns == TILE_COLUMNS) whole_tile(depth, panel, b, c, s->sums_stride, accumulate);
      else edge_tile(rows, columns, depth, panel, b, c, s->sums_stride, accumulate);
    }
  }
}

/* A range of panels. */
typedef struct {
  int64_t begin, end;
} range;

/*
 * The panels that tasks pack for themselves are cut into ranges of as many as are packed at a time, then of less and less, so that the threads end
 * together (Polychronopoulos & Kuck 1987, guided self-scheduling): the range after `last`.
 */
static range next_range(const side *own, int threads, range last) {
  const int64_t left = ceil_div(own->count, own->width) - last.end;
  return (range){last.end, last.end + most(1, least(own->most / own->width, left / (2 * threads)))};
}
static range guided_range(const side *own, int threads, int64_t index) {
  range r = next_range(own, threads, (range){0, 0});
  for (int64_t i = 0; i < index; i++) r = next_range(own, threads, r);
  return r;
}
static int64_t guided_ranges(const side *own, int threads) {
  int64_t count = 0;
  for (range r = {0, 0}; r.end < ceil_div(own->count, own->width); count++) r = next_range(own, threads, r);
  return count;
}
static range even_range(const side *shared, int64_t ranges, int64_t index) {
  const int64_t panels = ceil_div(shared->count, shared->width);
  return (range){index * panels / ranges, (index + 1) * panels / ranges};
}

/* Task: a range of the panels that it packs itself, times a range of the shared ones. */
static void multiply(void *context, int64_t task, int thread) {
  const pass *s = context;
  const bool own_a = s->c->own_a;
  const side a = side_a(s), b = side_b(s), own = own_a ? a : b, shared = own_a ? b : a;
  const range mine = guided_range(&own, s->threads, task / s->shared_tasks), other = even_range(&shared, s->shared_tasks, task % s->shared_tasks);
  float *const packed = s->own + thread * s->c->own_floats;
  for (int64_t block = s->block; block < s->block + s->blocks; block++) {
    pack_panels(s, &own, block, mine.begin, mine.end, packed);
    if (own_a) {
      multiply_block(s, block, mine.begin, mine.end, other.begin, other.end, packed, shared_panel(s, &shared, block, other.begin));
    } else {
      for (int64_t r = other.begin; r < other.end; r += ROWS / TILE_ROWS) {
        multiply_block(s, block, r, least(other.end, r + ROWS / TILE_ROWS), mine.begin, mine.end, shared_panel(s, &shared, block, r), packed);
      }
    }
  }
  if (s->block + s->blocks < s->p->blocks.count) return;
  const range rows = own_a ? mine : other, columns = own_a ? other : mine;
  const int64_t row = rows.begin * TILE_ROWS, column = columns.begin * TILE_COLUMNS;
  finish(s, row, least(rows.end * TILE_ROWS, s->rows) - row, column, least(columns.end * TILE_COLUMNS, s->columns) - column);
}

/* Computes y with the `product_bytes` bytes at `workspace`. Returns early, with y unfinished, when the run is cancelled. */
static void product_run(struct ft_pool *pool, char *workspace, const product *p) {
  const int threads = ft_threads(pool);
  const cut c = cut_of(p);
  pass s = {.p = p, .c = &c, .shared = (float *)workspace, .threads = threads};
  float *const sums = s.shared + c.shared_floats;
  s.own = sums + c.sums_floats;
  const int64_t y_rows = p->a.lines, y_columns = p->b.lines;
  for (s.row = 0; s.row < y_rows; s.row += c.rows) {
    s.rows = least(c.rows, y_rows - s.row);
    for (s.column = 0; s.column < y_columns; s.column += c.columns) {
      s.columns = least(c.columns, y_columns - s.column);
      s.sums = c.rounds ? sums : (float *)p->y + s.row * y_columns + s.column;
      s.sums_stride = c.rounds ? round_up(c.columns, COLUMN_MULTIPLE) : y_columns;
      const side a = side_a(&s), b = side_b(&s), own = c.own_a ? a : b, shared = c.own_a ? b : a;
      const int64_t wanted = 4 * threads; /* tasks: enough to even out a busy core */
      s.own_tasks = guided_ranges(&own, threads);
      s.shared_tasks = least(ceil_div(wanted, s.own_tasks), ceil_div(shared.count, shared.most));
      const int64_t packs = ceil_div(ceil_div(shared.count, shared.width), piece_of(&shared));
      for (s.block = 0; s.block < p->blocks.count; s.block += c.group) {
        if (ft_cancelled(pool)) return;
        s.blocks = least(c.group, p->blocks.count - s.block);
        ft_parallel(pool, s.blocks * packs, pack_shared, &s);
        ft_parallel(pool, s.own_tasks * s.shared_tasks, multiply, &s);
      }
    }
  }
}

/* `lines` rows of y, `stride` elements between rows of `data`, which the inner axis runs along or across. */
static operand operand_a(const void *data, int dtype, bool inner, int64_t lines, int64_t stride) {
  return (operand){data, (inner ? pack_a_along : pack_a_across)[dtype], stride, lines, inner};
}
static operand operand_b(const void *data, int dtype, bool inner, int64_t lines, int64_t stride) {
  return (operand){data, (inner ? pack_b_along : pack_b_across)[dtype], stride, lines, inner};
}

#endif
