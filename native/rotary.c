/* rotary_table, rotary: position embedding by rotation of half-split pairs (Su et al. 2021, in the layout of transformers) */
#include "elements.h"

/* positions i32 [B,T], inverseFrequency f32 [K/2] → table [B,T,K]: cosines, then sines, each times `scaling`. attrs: scaling */
static void rotary_table_rows(const ft_call *call, int64_t from, int64_t to) {
  const int32_t *positions = ft_ints(&call->in[0]);
  const float *frequency = ft_floats(&call->in[1]);
  const int64_t half = call->in[1].count;
  float *table = ft_floats(&call->out[0]);
  const double scaling = call->attrs[0];
  for (int64_t token = from; token < to; token++) {
    float *row = table + token * 2 * half;
    for (int64_t j = 0; j < half; j++) {
      const double angle = (double)positions[token] * (double)frequency[j];
      row[j] = (float)(cos(angle) * scaling);
      row[half + j] = (float)(sin(angle) * scaling);
    }
  }
}

static void rotary_table(const ft_call *call) {
  /* counted as if a sine moved 64 bytes, so that threads share even few tokens */
  ft_for_rows(call, call->in[0].count, call->in[1].count * 128, rotary_table_rows);
}

/* The pair (first, second), turned by an angle. */
VF_INLINE void turn(vf *first, vf *second, vf cosine, vf sine) {
  const vf old = *first;
  *first = old * cosine - *second * sine;
  *second = *second * cosine + old * sine;
}

/* x [B,T,M·K], table [B,T,K] → y: y1 = x1·cos − x2·sin, y2 = x2·cos + x1·sin; inverse = 1 turns back. attrs: inverse */
VF_INLINE void rotary_as(const ft_call *call, int64_t from, int64_t to, int dtype) {
  const char *x = call->in[0].data;
  char *y = call->out[0].data;
  const int64_t width = ft_width(&call->in[0]), head = ft_width(&call->in[1]), half = head / 2;
  const vf sign = v_splat(call->attrs[0] != 0 ? -1.0f : 1.0f);
  for (int64_t token = from; token < to; token++) {
    const float *cosine = ft_floats(&call->in[1]) + token * head, *sine = cosine + half;
    int64_t j = 0;
    for (; j + 2 * VF_LANES <= half; j += 2 * VF_LANES) {
      vf c[2], s[2];
      v_load_two_beside(cosine + j, dtype, c);
      v_load_two_beside(sine + j, dtype, s);
      for (int v = 0; v < 2; v++) s[v] *= sign;
      for (int64_t at = token * width + j; at < (token + 1) * width; at += head) {
        vf first[2], second[2];
        v_load_two_as(x, at, dtype, first);
        v_load_two_as(x, at + half, dtype, second);
        for (int v = 0; v < 2; v++) turn(&first[v], &second[v], c[v], s[v]);
        v_store_two_as(y, at, dtype, first, false);
        v_store_two_as(y, at + half, dtype, second, false);
      }
    }
    FT_EACH_VECTOR(i, n, j, half, {
      const vf c = v_load_first(cosine + i, n);
      const vf s = sign * v_load_first(sine + i, n);
      for (int64_t at = token * width + i; at < (token + 1) * width; at += head) {
        vf first = v_load_first_as(x, at, dtype, n), second = v_load_first_as(x, at + half, dtype, n);
        turn(&first, &second, c, s);
        v_store_first_as(y, at, dtype, first, n);
        v_store_first_as(y, at + half, dtype, second, n);
      }
    });
  }
}

static void rotary_rows(const ft_call *call, int64_t from, int64_t to) { FT_BY_DTYPE(call->in[0].dtype, rotary_as, call, from, to); }

static void rotary(const ft_call *call) { ft_for_rows(call, call->in[1].count / ft_width(&call->in[1]), ft_width(&call->in[0]) * 8, rotary_rows); }

extern const ft_entry FT_NAME(rotary_entries)[];
const ft_entry FT_NAME(rotary_entries)[] = {
    {"rotary_table", rotary_table, NULL},
    {"rotary", rotary, NULL},
    {NULL, NULL, NULL},
};
