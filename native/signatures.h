/* The outer form of each op: its tensors with their element types, and its attributes in the order in which kernels read them. */
#ifndef FULLTUNE_SIGNATURES_H
#define FULLTUNE_SIGNATURES_H

#include "fulltune.h"

typedef struct {
  const char *op;
  /* One letter per tensor: f = f32, s = any float storage (f32, bf16, f16), a = an activation (the same, but one dtype for all that
     the op has), p = a parameter (f32 or bf16), i = i32, u = u8, x = anything. What follows a '?' may be left out; '*' stands for any number
     of the letter before it. */
  const char *inputs;
  const char *outputs;
  const char *attrs; /* names separated by spaces */
} ft_signature;

/* Ended by a NULL op. */
extern const ft_signature ft_signatures[];
const ft_signature *ft_find_signature(const char *op);
/* Number of names in `attrs`. */
int ft_attr_count(const ft_signature *signature);
/* The least and the greatest number of tensors that `letters` stand for. */
void ft_tensor_range(const char *letters, int64_t *least, int64_t *most);
/* Whether tensor `index` of `letters` may have this dtype. */
bool ft_takes_dtype(const char *letters, int64_t index, int dtype);
/* Whether tensor `index` of `letters` is an activation. */
bool ft_is_activation(const char *letters, int64_t index);

#endif
