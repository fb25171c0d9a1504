/* Conversions between the float types in which values are stored. */
#ifndef FULLTUNE_CONVERT_H
#define FULLTUNE_CONVERT_H

#include "fulltune.h"

/* Bytes per element, 0 for a number that is no dtype. */
int ft_dtype_bytes(int dtype);
bool ft_is_float(int dtype);
/* Converts `count` elements through f32, to nearest, ties to even; NaN stays NaN. The ranges must not overlap; no alignment needed. */
void ft_convert(char *to, int to_dtype, const char *from, int from_dtype, int64_t count);

#endif
