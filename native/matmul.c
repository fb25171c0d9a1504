/* matmul_nn, matmul_nt, matmul_tn: the product of product.h on whole tensors. */
#include "product.h"

/* a [..., K] · b, which is [K, M] or, `transposed`, [M, K]. */
static product linear(const ft_call *call, bool transposed) {
  const ft_tensor *a = &call->in[0], *b = &call->in[1];
  const int64_t depth = a->shape[a->rank - 1], columns = b->shape[transposed ? 0 : 1];
  return (product){
      .a = operand_a(a->data, a->dtype, true, a->count / depth, depth),
      .b = operand_b(b->data, b->dtype, transposed, columns, transposed ? depth : columns),
      .blocks = ft_even_blocks(1, depth),
      .y = call->out[0].data,
      .y_dtype = call->out[0].dtype,
      .bias = call->attrs[0] != 0 ? call->in[2].data : NULL,
      .bias_dtype = call->attrs[0] != 0 ? call->in[2].dtype : FT_F32,
  };
}
static product over_tokens(const ft_call *call) {
  const ft_tensor *a = &call->in[0], *b = &call->in[1];
  const int64_t rows = a->shape[a->rank - 1], columns = b->shape[b->rank - 1], length = a->rank < 2 ? 1 : a->shape[a->rank - 2];
  return (product){
      .a = operand_a(a->data, a->dtype, false, rows, rows),
      .b = operand_b(b->data, b->dtype, false, columns, columns),
      .blocks = ft_cut_tokens(a->count / rows / length, length),
      .y = call->out[0].data,
      .y_dtype = call->out[0].dtype,
      .accumulate = call->attrs[0] != 0,
  };
}

static int64_t linear_bytes(const ft_call *call, int threads) {
  const product p = linear(call, false);
  return product_bytes(&p, threads);
}
static int64_t transposed_bytes(const ft_call *call, int threads) {
  const product p = linear(call, true);
  return product_bytes(&p, threads);
}
static int64_t over_tokens_bytes(const ft_call *call, int threads) {
  const product p = over_tokens(call);
  return product_bytes(&p, threads);
}

/*
 * y = a · b (+ bias).  a [..., K], b [K, M], bias [M] → y [..., M]; each f32, bf16 or f16.  attrs: bias 0 or 1.
 * 2·N·K·M flops; tasks are blocks of rows × columns of y.
 */
static void matmul_nn(const ft_call *call) {
  const product p = linear(call, false);
  product_run(call->pool, call->workspace, &p);
}

/*
 * y = a · bᵀ (+ bias), the linear layer.  a [..., K], b [M, K], bias [M] → y [..., M]; each f32, bf16 or f16.  attrs: bias 0 or 1.
 * 2·N·K·M flops; tasks are blocks of rows × columns of y.
 */
static void matmul_nt(const ft_call *call) {
  const product p = linear(call, true);
  product_run(call->pool, call->workspace, &p);
}

/*
 * y = (y +) Σ over tokens aᵀ · b, the gradient of a weight.  a [B,T,M], b [B,T,K] (f32, bf16 or f16) → y f32 [M,K].  attrs: accumulate;
 * when 1, y is input 2 in place.  2·N·K·M flops; tasks are blocks of rows × columns of y.
 */
static void matmul_tn(const ft_call *call) {
  const product p = over_tokens(call);
  product_run(call->pool, call->workspace, &p);
}

const ft_entry FT_NAME(matmul_entries)[] = {
    {"matmul_nn", matmul_nn, linear_bytes},
    {"matmul_nt", matmul_nt, transposed_bytes},
    {"matmul_tn", matmul_tn, over_tokens_bytes},
    {NULL, NULL, NULL},
};
