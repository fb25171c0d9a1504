/* Integer arithmetic only, so that denormals survive whatever the thread's floating-point mode is. Same results as src/graph/dtype.ts. */
#include "convert.h"

#include <string.h>

int ft_dtype_bytes(int dtype) {
  switch (dtype) {
    case FT_F32: case FT_I32: return 4;
    case FT_BF16: case FT_F16: return 2;
    case FT_U8: return 1;
    default: return 0;
  }
}

bool ft_is_float(int dtype) { return dtype == FT_F32 || dtype == FT_BF16 || dtype == FT_F16; }

static inline uint32_t f16_to_f32(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  uint32_t exponent = (half >> 10) & 31;
  uint32_t fraction = half & 1023;
  if (exponent == 31) return sign | 0x7f800000 | (fraction << 13);
  if (exponent == 0) {
    if (fraction == 0) return sign;
    const int shift = __builtin_clz(fraction) - 21; /* to bring the leading one to bit 10 */
    fraction = (fraction << shift) & 1023;
    return sign | ((uint32_t)(113 - shift) << 23) | (fraction << 13);
  }
  return sign | ((exponent + 112) << 23) | (fraction << 13);
}

static inline uint16_t f32_to_f16(uint32_t bits) {
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (magnitude >= 0x47800000) return (uint16_t)(sign | 0x7c00); /* 65536 and more */
  if (magnitude >= 0x38800000) {                                 /* normal; rounding may carry into infinity */
    const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
    return (uint16_t)(sign | ((rounded - 0x38000000) >> 13));
  }
  if (magnitude < 0x33000000) return (uint16_t)sign; /* below half of the smallest denormal */
  const uint32_t fraction = (magnitude & 0x7fffff) | 0x800000;
  const int shift = 126 - (int)(magnitude >> 23); /* units of 2^-24: 14 … 24 */
  const uint32_t whole = fraction >> shift;
  const uint32_t rest = fraction & ((UINT32_C(1) << shift) - 1);
  const uint32_t half = UINT32_C(1) << (shift - 1);
  return (uint16_t)(sign | (whole + (rest > half || (rest == half && (whole & 1)))));
}

static inline uint16_t f32_to_bf16(uint32_t bits) {
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)((bits >> 16) | 0x40);
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

#define BLOCK 1024

static void to_f32_bits(uint32_t *to, const char *from, int dtype, int64_t count) {
  uint16_t half[BLOCK];
  if (dtype == FT_F32) {
    memcpy(to, from, (size_t)count * 4);
    return;
  }
  memcpy(half, from, (size_t)count * 2);
  if (dtype == FT_BF16) {
    for (int64_t i = 0; i < count; i++) to[i] = (uint32_t)half[i] << 16;
  } else {
    for (int64_t i = 0; i < count; i++) to[i] = f16_to_f32(half[i]);
  }
}

static void from_f32_bits(char *to, int dtype, const uint32_t *from, int64_t count) {
  uint16_t half[BLOCK];
  if (dtype == FT_F32) {
    memcpy(to, from, (size_t)count * 4);
    return;
  }
  if (dtype == FT_BF16) {
    for (int64_t i = 0; i < count; i++) half[i] = f32_to_bf16(from[i]);
  } else {
    for (int64_t i = 0; i < count; i++) half[i] = f32_to_f16(from[i]);
  }
  memcpy(to, half, (size_t)count * 2);
}

void ft_convert(char *to, int to_dtype, const char *from, int from_dtype, int64_t count) {
  const int to_bytes = ft_dtype_bytes(to_dtype);
  const int from_bytes = ft_dtype_bytes(from_dtype);
  if (to_dtype == from_dtype) {
    memcpy(to, from, (size_t)(count * to_bytes));
    return;
  }
  uint32_t bits[BLOCK];
  for (int64_t i = 0; i < count; i += BLOCK) {
    const int64_t n = count - i < BLOCK ? count - i : BLOCK;
    to_f32_bits(bits, from + i * from_bytes, from_dtype, n);
    from_f32_bits(to + i * to_bytes, to_dtype, bits, n);
  }
}
