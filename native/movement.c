/* Ops that only move, convert or fill: slice, concat, cast, ones, select_token, cache_write */
#include "elements.h"

/* x [...,S] → y [...,W]: columns offset … offset + width - 1. attrs: offset, width */
static void slice_rows(const ft_call *call, int64_t from, int64_t to) {
  const int64_t size = ft_element_bytes(&call->in[0]), offset = (int64_t)call->attrs[0];
  const int64_t all = ft_width(&call->in[0]) * size, width = ft_width(&call->out[0]) * size;
  const char *x = call->in[0].data + offset * size;
  for (int64_t row = from; row < to; row++) memcpy(call->out[0].data + row * width, x + row * all, (size_t)width);
}

static void slice(const ft_call *call) {
  const int64_t width = ft_width(&call->out[0]);
  ft_for_rows(call, call->out[0].count / width, width * 8, slice_rows);
}

/* x_0 [...,W0], x_1, … → y [...,ΣW] */
static void concat_rows(const ft_call *call, int64_t from, int64_t to) {
  const int64_t size = ft_element_bytes(&call->out[0]), all = ft_width(&call->out[0]) * size;
  for (int64_t row = from; row < to; row++) {
    char *y = call->out[0].data + row * all;
    for (int32_t i = 0; i < call->n_in; i++) {
      const int64_t width = ft_width(&call->in[i]) * size;
      memcpy(y, call->in[i].data + row * width, (size_t)width);
      y += width;
    }
  }
}

static void concat(const ft_call *call) {
  const int64_t width = ft_width(&call->out[0]);
  ft_for_rows(call, call->out[0].count / width, width * 8, concat_rows);
}

/* x (f32, bf16 or f16) → y of the other type, to nearest, ties to even. attrs: to (the type of y) */
VF_INLINE void cast_as(const ft_call *call, int64_t from, int64_t to, bool past_cache, int from_dtype, int to_dtype) {
  const char *x = call->in[0].data;
  const int bytes = from_dtype == FT_F32 ? 4 : 2;
  for (; from + 2 * VF_LANES <= to; from += 2 * VF_LANES) {
    vf two[2];
    if (past_cache) ft_ask_ahead(x + from * bytes);
    if (from_dtype == FT_F32) {
      v_load_two_beside((const float *)(const void *)x + from, to_dtype, two);
    } else {
      v_load_two_as(x, from, from_dtype, two);
      if (V_CROSSED(from_dtype) != V_CROSSED(to_dtype)) v_cross(two);
    }
    v_store_two_as(call->out[0].data, from, to_dtype, two, past_cache);
  }
  FT_EACH_VECTOR(i, n, from, to, { v_store_first_as(call->out[0].data, i, to_dtype, v_load_first_as(x, i, from_dtype, n), n); });
  ft_stores_done(past_cache);
}
VF_INLINE void cast_to(const ft_call *call, int64_t from, int64_t to, bool past_cache, int to_dtype) {
  switch (call->in[0].dtype) {
    case FT_BF16: cast_as(call, from, to, past_cache, FT_BF16, to_dtype); break;
    case FT_F16: cast_as(call, from, to, past_cache, FT_F16, to_dtype); break;
    default: cast_as(call, from, to, past_cache, FT_F32, to_dtype);
  }
}

static void cast_range(const ft_call *call, int64_t from, int64_t to) {
  const ft_tensor *x = &call->in[0], *y = &call->out[0];
  if (x->dtype == y->dtype) {
    const int64_t bytes = ft_element_bytes(y);
    memcpy(y->data + from * bytes, x->data + from * bytes, (size_t)((to - from) * bytes));
  } else if (from % (2 * VF_LANES) == 0 && ft_is_large(call, 0)) {
    FT_BY_DTYPE(y->dtype, cast_to, call, from, to, true);
  } else {
    FT_BY_DTYPE(y->dtype, cast_to, call, from, to, false);
  }
}

static void cast(const ft_call *call) { ft_for_rows(call, call->out[0].count, 8, cast_range); }

/* → y f32 [size], all 1 */
static void ones(const ft_call *call) {
  float *y = ft_floats(&call->out[0]);
  for (int64_t i = 0; i < call->out[0].count; i++) y[i] = 1.0f;
}

/* x [B,T,D], index i32 [1] → y [B,1,D]. An index outside the row gives NaN. */
static void select_token(const ft_call *call) {
  const int64_t rows = call->in[0].shape[0], length = call->in[0].shape[1], width = call->in[0].shape[2];
  const int64_t index = ft_ints(&call->in[1])[0];
  for (int64_t row = 0; row < rows; row++) {
    float *y = ft_floats(&call->out[0]) + row * width;
    if (index >= 0 && index < length) {
      memcpy(y, ft_floats(&call->in[0]) + (row * length + index) * width, (size_t)width * sizeof *y);
    } else {
      for (int64_t j = 0; j < width; j++) y[j] = NAN;
    }
  }
}

/* cache [B,C,M] (overwritten), x [B,T,M], cacheLength i32 [1] → the cache with x in slots cacheLength …; slots from C on are dropped */
static void cache_write(const ft_call *call) {
  const int64_t rows = call->in[0].shape[0], slots = call->in[0].shape[1], width = call->in[0].shape[2];
  const int64_t length = call->in[1].shape[1], start = ft_ints(&call->in[2])[0];
  if (start < 0 || start >= slots) return;
  const int64_t kept = ft_min(length, slots - start);
  for (int64_t row = 0; row < rows; row++) {
    memcpy(ft_floats(&call->out[0]) + (row * slots + start) * width, ft_floats(&call->in[1]) + row * length * width,
           (size_t)(kept * width) * sizeof(float));
  }
}

extern const ft_entry FT_NAME(movement_entries)[];
const ft_entry FT_NAME(movement_entries)[] = {
    {"slice", slice, NULL},
    {"concat", concat, NULL},
    {"cast", cast, NULL},
    {"ones", ones, NULL},
    {"select_token", select_token, NULL},
    {"cache_write", cache_write, NULL},
    {NULL, NULL, NULL},
};
