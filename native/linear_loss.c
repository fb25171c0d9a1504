/*
 * linear_cross_entropy, linear_cross_entropy_backward: output projection and loss with the logits of only a slice of tokens at a time.
 *
 * A slice is as many token blocks (token_blocks.h), one after the other, as have labelled tokens for the room of `blocks` whole ones. Only
 * labelled tokens are gathered and projected. An element of dweight is summed block by block as matmul_tn does, a slice going on where
 * the last one ended; logits and dhidden are sums within a token. So neither the room, nor the labels of other tokens, nor the rows
 * of a micro-batch change a bit.
 */
#include "product.h"
#include "token_loss.h"

#define TASK_FLOATS 32768 /* that a task of single rows handles, or one row */
#define ZERO_BYTES 1048576

typedef struct {
  const ft_tensor *hidden, *weight;
  const int32_t *labels;
  int64_t tokens, length, width, vocabulary;
  ft_token_blocks blocks; /* of all tokens */
  int64_t room;           /* labelled tokens of a slice at most */
  float loss_weight;
  const float *row_gradient; /* NULL: the loss alone */
  const ft_tensor *dhidden, *dweight; /* NULL: not wanted */
  bool accumulate; /* dweight holds a sum already */

  /* Workspace. */
  float *logits;     /* [room, V], then dlogits */
  void *rows;        /* [room, D]: gathered rows of hidden, then those of dhidden in f32 */
  double *losses;    /* of each token */
  int64_t *token_of; /* of each gathered row */
  int64_t *ends;     /* of the token blocks in the slice, counted in gathered rows */
  char *scratch;     /* of products */

  /* The slice: gathered rows, and the blocks that have any. */
  int64_t count, pieces;
} job;

/* Offsets in the workspace. */
typedef struct {
  int64_t rows, losses, token_of, ends, scratch, bytes;
} layout;

/* What shapes and attributes say; touches no data. */
static job shape_job(const ft_call *call, bool backward) {
  job j = {.hidden = &call->in[0], .weight = &call->in[1]};
  j.tokens = j.hidden->shape[0] * j.hidden->shape[1];
  j.length = j.hidden->shape[1];
  j.width = j.hidden->shape[2];
  j.vocabulary = j.weight->shape[0];
  j.blocks = ft_cut_tokens(j.hidden->shape[0], j.length);
  const double asked = call->attrs[0];
  const int64_t blocks = asked < 1 ? 1 : asked < (double)j.blocks.count ? (int64_t)asked : j.blocks.count;
  j.room = least(blocks * j.blocks.size, j.tokens);
  if (backward) {
    const bool need_hidden = call->attrs[2] != 0, need_weight = call->attrs[3] != 0;
    j.accumulate = call->attrs[1] != 0;
    j.dhidden = need_hidden ? &call->out[1] : NULL;
    j.dweight = need_weight ? &call->out[1 + need_hidden] : NULL;
  }
  return j;
}

/* logits = hidden · weightᵀ */
static product logits_product(const job *j, int64_t rows) {
  return (product){
      .a = operand_a(j->rows, j->hidden->dtype, true, rows, j->width),
      .b = operand_b(j->weight->data, j->weight->dtype, true, j->vocabulary, j->width),
      .blocks = ft_even_blocks(1, j->width),
      .y = j->logits,
      .y_dtype = FT_F32,
  };
}
/* dweight = (dweight +) Σ over blocks dlogitsᵀ · hidden */
static product dweight_product(const job *j, int64_t blocks) {
  return (product){
      .a = operand_a(j->logits, FT_F32, false, j->vocabulary, j->vocabulary),
      .b = operand_b(j->rows, j->hidden->dtype, false, j->width, j->width),
      .blocks = {.count = blocks, .size = j->blocks.size},
      .ends = j->ends,
      .y = j->dweight->data,
      .y_dtype = FT_F32,
      .accumulate = j->accumulate,
  };
}
/* dhidden = dlogits · weight, in the place of the gathered rows */
static product dhidden_product(const job *j, int64_t rows) {
  return (product){
      .a = operand_a(j->logits, FT_F32, true, rows, j->vocabulary),
      .b = operand_b(j->weight->data, j->weight->dtype, false, j->width, j->width),
      .blocks = ft_even_blocks(1, j->vocabulary),
      .y = j->rows,
      .y_dtype = FT_F32,
  };
}

/* Scratch of the products of any slice: it grows with the rows up to the columns, and then from less again. */
static int64_t scratch_bytes(const job *j, int threads) {
  int64_t bytes = 0;
  const int64_t rows[] = {j->room, least(j->room, j->vocabulary), least(j->room, j->width)};
  for (int i = 0; i < 3; i++) {
    const product logits = logits_product(j, rows[i]), dhidden = dhidden_product(j, rows[i]);
    bytes = most(bytes, product_bytes(&logits, threads));
    if (j->dhidden != NULL) bytes = most(bytes, product_bytes(&dhidden, threads));
  }
  if (j->dweight == NULL) return bytes;
  const product dweight = dweight_product(j, j->blocks.count);
  return most(bytes, product_bytes(&dweight, threads));
}

static layout lay_out(const job *j, int threads) {
  layout at;
  at.rows = round_up(4 * j->room * j->vocabulary, 64);
  at.losses = at.rows + round_up(4 * j->room * j->width, 64);
  at.token_of = at.losses + round_up(8 * j->tokens, 64);
  at.ends = at.token_of + round_up(8 * j->room, 64);
  at.scratch = at.ends + round_up(8 * j->blocks.count, 64);
  at.bytes = at.scratch + scratch_bytes(j, threads);
  return at;
}

/* --- the slice --- */

/* Takes the blocks from `block` on that fit; returns the first one that does not. */
static int64_t take_blocks(job *j, int64_t block) {
  j->count = j->pieces = 0;
  for (; block < j->blocks.count; block++) {
    int64_t begin, end, labelled = 0;
    ft_token_block(&j->blocks, block, &begin, &end);
    for (int64_t token = begin; token < end; token++) labelled += j->labels[token] >= 0;
    if (j->count + labelled > j->room) break;
    if (labelled == 0) continue;
    for (int64_t token = begin; token < end; token++) {
      if (j->labels[token] >= 0) j->token_of[j->count++] = token;
    }
    j->ends[j->pieces++] = j->count;
  }
  return block;
}

/* Handles element or row `index`. */
typedef void (*row_body)(const job *j, int64_t index);
typedef struct {
  const job *j;
  row_body body;
  int64_t rows, block;
} row_loop;

static void row_block(void *context, int64_t task, int thread) {
  (void)thread;
  const row_loop *loop = context;
  const int64_t end = least(loop->rows, (task + 1) * loop->block);
  for (int64_t row = task * loop->block; row < end; row++) loop->body(loop->j, row);
}
static void for_rows(struct ft_pool *pool, const job *j, int64_t rows, int64_t floats_per_row, row_body body) {
  row_loop loop = {j, body, rows, most(1, TASK_FLOATS / floats_per_row)};
  ft_parallel(pool, ceil_div(rows, loop.block), row_block, &loop);
}

static void gather_row(const job *j, int64_t row) {
  const size_t bytes = (size_t)j->width * (j->hidden->dtype == FT_F32 ? 4 : 2);
  memcpy((char *)j->rows + (size_t)row * bytes, j->hidden->data + (size_t)j->token_of[row] * bytes, bytes);
}

static void lose_row(const job *j, int64_t row) {
  float *logits = j->logits + row * j->vocabulary;
  const int64_t token = j->token_of[row], label = j->labels[token];
  const float lse = log_sum_exp(logits, j->vocabulary);
  j->losses[token] = token_loss(logits, j->vocabulary, label, lse);
  if (j->row_gradient == NULL) return;
  token_dlogits(logits, logits, j->vocabulary, label, lse, j->loss_weight * j->row_gradient[token / j->length]);
}

static void scatter_row(const job *j, int64_t row) {
  const float *from = (const float *)j->rows + row * j->width;
  const int64_t first = j->token_of[row] * j->width;
  for (int64_t i = 0; i < j->width; i += VF_LANES) {
    const int64_t n = least(VF_LANES, j->width - i);
    v_store_first_as(j->dhidden->data, first + i, j->dhidden->dtype, v_load_first(from + i, n), n);
  }
}

/* dhidden of a token without a label. */
static void zero_ignored(const job *j, int64_t token) {
  const size_t bytes = (size_t)j->width * (j->dhidden->dtype == FT_F32 ? 4 : 2);
  if (j->labels[token] < 0) memset(j->dhidden->data + (size_t)token * bytes, 0, bytes);
}

static void zero_dweight(void *context, int64_t task, int thread) {
  (void)thread;
  const job *j = context;
  const int64_t from = task * ZERO_BYTES, bytes = 4 * j->dweight->count;
  memset(j->dweight->data + from, 0, (size_t)least(ZERO_BYTES, bytes - from));
}

static void run(const ft_call *call, job *j) {
  struct ft_pool *pool = call->pool;
  const layout at = lay_out(j, ft_threads(pool));
  j->logits = (float *)(void *)call->workspace;
  j->rows = call->workspace + at.rows;
  j->losses = (double *)(void *)(call->workspace + at.losses);
  j->token_of = (int64_t *)(void *)(call->workspace + at.token_of);
  j->ends = (int64_t *)(void *)(call->workspace + at.ends);
  j->scratch = call->workspace + at.scratch;
  j->labels = ft_ints(&call->in[2]);
  j->loss_weight = ft_floats(&call->in[3])[0];

  if (j->dhidden != NULL) for_rows(pool, j, j->tokens, j->width, zero_ignored);
  for (int64_t block = 0; block < j->blocks.count;) {
    if (ft_cancelled(pool)) return;
    block = take_blocks(j, block);
    if (j->count == 0) break; /* only ignored tokens are left */
    for_rows(pool, j, j->count, j->width, gather_row);
    const product logits = logits_product(j, j->count);
    product_run(pool, j->scratch, &logits);
    for_rows(pool, j, j->count, j->vocabulary, lose_row);
    if (j->dweight != NULL) {
      const product dweight = dweight_product(j, j->pieces);
      product_run(pool, j->scratch, &dweight);
      j->accumulate = true;
    }
    if (j->dhidden != NULL) {
      const product dhidden = dhidden_product(j, j->count);
      product_run(pool, j->scratch, &dhidden);
      for_rows(pool, j, j->count, j->width, scatter_row);
    }
  }
  if (j->dweight != NULL && !j->accumulate) ft_parallel(pool, ceil_div(4 * j->dweight->count, ZERO_BYTES), zero_dweight, j);

  const double weight = (double)j->loss_weight;
  float *row_loss = ft_floats(&call->out[0]);
  for (int64_t row = 0; row * j->length < j->tokens; row++) {
    double sum = 0;
    for (int64_t token = row * j->length; token < (row + 1) * j->length; token++) {
      if (j->labels[token] >= 0) sum += weight * j->losses[token];
    }
    row_loss[row] = (float)sum;
  }
}

/* hidden [B,T,D], weight [V,D] (f32, bf16 or f16), labels i32 [B,T], lossWeight f32 [1] → rowLoss f32 [B].  attrs: blocks */
static void linear_cross_entropy(const ft_call *call) {
  job j = shape_job(call, false);
  run(call, &j);
}

/*
 * hidden, weight, labels, lossWeight, dRowLoss f32 [B], (dweight f32 [V,D] when mode is 1, in place) → rowLoss f32 [B], dhidden
 * (dtype of hidden; if needHidden), dweight f32 [V,D] (if needWeight).  attrs: blocks, mode, needHidden, needWeight
 */
static void linear_cross_entropy_backward(const ft_call *call) {
  job j = shape_job(call, true);
  j.row_gradient = ft_floats(&call->in[4]);
  run(call, &j);
}

static int64_t forward_bytes(const ft_call *call, int threads) {
  const job j = shape_job(call, false);
  return lay_out(&j, threads).bytes;
}
static int64_t backward_bytes(const ft_call *call, int threads) {
  const job j = shape_job(call, true);
  return lay_out(&j, threads).bytes;
}

extern const ft_entry FT_NAME(linear_loss_entries)[];
const ft_entry FT_NAME(linear_loss_entries)[] = {
    {"linear_cross_entropy", linear_cross_entropy, forward_bytes},
    {"linear_cross_entropy_backward", linear_cross_entropy_backward, backward_bytes},
    {NULL, NULL, NULL},
};
