/* offload_read, offload_wait, offload_write, offload_flush: values that pass between the arena and its file */
#include "rows.h"

static int64_t byte_count(const ft_tensor *tensor) {
  static const int64_t sizes[] = {[FT_F32] = 4, [FT_BF16] = 2, [FT_F16] = 2, [FT_I32] = 4, [FT_U8] = 1};
  return tensor->count * sizes[tensor->dtype];
}

/* (token i32 [1]) → y, which is under way until offload_wait. attrs: at, dtype, rank, size0 … size3 */
static void offload_read(const ft_call *call) { ft_io_read(call->io, call->out[0].data, byte_count(&call->out[0]), (int64_t)call->attrs[0]); }

/* y → y', over 0 */
static void offload_wait(const ft_call *call) { ft_io_wait(call->io, call->out[0].data, byte_count(&call->out[0])); }

/* x → token i32 [1]; x must stay as it is until offload_flush. attrs: at */
static void offload_write(const ft_call *call) {
  ft_ints(&call->out[0])[0] = 0;
  ft_io_write(call->io, call->in[0].data, byte_count(&call->in[0]), (int64_t)call->attrs[0]);
}

/* x, token i32 [1] → token', over 1 */
static void offload_flush(const ft_call *call) { ft_io_wait(call->io, call->in[0].data, byte_count(&call->in[0])); }

extern const ft_entry FT_NAME(offload_entries)[];
const ft_entry FT_NAME(offload_entries)[] = {
    {"offload_read", offload_read, NULL},
    {"offload_wait", offload_wait, NULL},
    {"offload_write", offload_write, NULL},
    {"offload_flush", offload_flush, NULL},
    {NULL, NULL, NULL},
};
