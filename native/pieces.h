/*
 * Activations of 16 bits for kernels that compute in f32: pieces of at most PIECE elements are converted in a small buffer on the stack
 * and rounded once when they are stored. Tensors of f32 are used where they lie, in one piece, so that nothing changes for them.
 * All activations of a call have one dtype (letter 'a' of native/signatures.c).
 */
#ifndef FULLTUNE_PIECES_H
#define FULLTUNE_PIECES_H

#include "rows.h"
#include "vector.h"

#define PIECE 512 /* a multiple of LANES, so that pieces put no element of a row into another lane */

static inline int64_t ft_element_bytes(const ft_tensor *tensor) { return tensor->dtype == FT_F32 ? 4 : 2; }

/* How many of `n` elements to take at once. */
static inline int64_t ft_piece(const ft_tensor *tensor, int64_t n) { return tensor->dtype == FT_F32 ? n : ft_min(PIECE, n); }

VF_INLINE void ft_widen_as(float *to, const void *from, int64_t at, int64_t n, int dtype) {
  int64_t i = 0;
  for (; i + VF_LANES <= n; i += VF_LANES) v_store(to + i, v_load_as(from, at + i, dtype));
  if (i < n) v_store(to + i, v_load_first_as(from, at + i, dtype, n - i)); /* zeros behind, in the buffer's last vector */
}
VF_INLINE void ft_narrow_as(void *to, const float *from, int64_t at, int64_t n, int dtype) {
  int64_t i = 0;
  for (; i + VF_LANES <= n; i += VF_LANES) v_store_as(to, at + i, dtype, v_load(from + i));
  if (i < n) v_store_first_as(to, at + i, dtype, v_load_first(from + i, n - i), n - i);
}

static __attribute__((noinline, unused)) void ft_widen(float *to, const ft_tensor *from, int64_t at, int64_t n) {
  if (from->dtype == FT_BF16) ft_widen_as(to, from->data, at, n, FT_BF16);
  else ft_widen_as(to, from->data, at, n, FT_F16);
}
static __attribute__((noinline, unused)) void ft_narrow(const ft_tensor *to, const float *from, int64_t at, int64_t n) {
  if (to->dtype == FT_BF16) ft_narrow_as(to->data, from, at, n, FT_BF16);
  else ft_narrow_as(to->data, from, at, n, FT_F16);
}

/* Elements at … at + n - 1 as floats: where they lie, or in `buffer` (PIECE floats). */
static inline const float *ft_read(const ft_tensor *tensor, int64_t at, int64_t n, float *buffer) {
  if (tensor->dtype == FT_F32) return ft_floats(tensor) + at;
  ft_widen(buffer, tensor, at, n);
  return buffer;
}

/* Where to put the elements from `at` on: in their place, or in `buffer`, from where ft_store rounds them to their place. */
static inline float *ft_place(const ft_tensor *tensor, int64_t at, float *buffer) {
  return tensor->dtype == FT_F32 ? ft_floats(tensor) + at : buffer;
}
static inline void ft_store(const ft_tensor *tensor, int64_t at, int64_t n, const float *buffer) {
  if (tensor->dtype != FT_F32) ft_narrow(tensor, buffer, at, n);
}

#endif
