/* A program that names its tensors wrongly is refused when it is loaded, instead of crashing or reading bf16 as f32. */
#include "signatures.h"

#include <stddef.h>
#include <string.h>

#define MANY 4096

const ft_signature ft_signatures[] = {
    {"embedding", "if", "f", ""},
    {"embedding_backward", "if?f", "f", "vocabulary mode"},
    {"matmul_nn", "ss?s", "s", "bias"},
    {"matmul_nt", "ss?s", "s", "bias"},
    {"matmul_tn", "ss?f", "f", "accumulate"},
    {"column_sum", "f?f", "f", "accumulate"},
    {"rmsnorm", "ff", "ff", "epsilon"},
    {"rmsnorm_backward", "ffff", "f", ""},
    {"rmsnorm_weight_gradient", "fff?f", "f", "width accumulate"},
    {"layernorm", "fff", "fff", "epsilon"},
    {"layernorm_backward", "fffff", "f", ""},
    {"layernorm_weight_gradient", "ffff?f", "f", "accumulate"},
    {"rotary_table", "if", "f", "scaling"},
    {"rotary", "ff", "f", "inverse"},
    {"attention", "fffi", "ff", "heads keyValueHeads headWidth scale"},
    {"attention_backward", "fffifff", "fff", "heads keyValueHeads headWidth scale"},
    {"attention_cached", "fffi", "f", "heads keyValueHeads headWidth scale"},
    {"cache_write", "ffi", "f", ""},
    {"select_token", "fi", "f", ""},
    {"swiglu", "ff", "f", ""},
    {"swiglu_backward", "fff", "ff", ""},
    {"gelu", "f", "f", "tanh"},
    {"gelu_backward", "ff", "f", "tanh"},
    {"add", "ff", "f", ""},
    {"scale", "ff", "f", ""},
    {"slice", "f", "f", "offset width"},
    {"concat", "f*", "f", ""},
    {"cross_entropy", "fif", "ff", ""},
    {"cross_entropy_backward", "fifff", "f", ""},
    {"ones", "", "f", "size"},
    {"sum_squares", "f", "f", ""},
    {"global_norm", "f*", "ff", "maxNorm scaled"},
    {"adamw", "pffffif", "pff", "beta1 beta2 epsilon weightDecay first seed"},
    {"sgd", "pffif?f", "p?f", "momentum weightDecay first seed"},
    {"lion", "pfffif", "pf", "beta1 beta2 weightDecay first seed"},
    {"adamw_8bit", "pfufuffif", "pufuff", "beta1 beta2 epsilon weightDecay first seed"},
    {"adafactor", "pffiff?ff", "pf?ff", "beta1 weightDecay factored seed"},
    {NULL, NULL, NULL, NULL},
};

const ft_signature *ft_find_signature(const char *op) {
  for (const ft_signature *s = ft_signatures; s->op != NULL; s++) {
    if (strcmp(s->op, op) == 0) return s;
  }
  return NULL;
}

int ft_attr_count(const ft_signature *signature) {
  int count = signature->attrs[0] != '\0';
  for (const char *c = signature->attrs; *c != '\0'; c++) count += *c == ' ';
  return count;
}

void ft_tensor_range(const char *letters, int64_t *least, int64_t *most) {
  bool optional = false;
  *least = *most = 0;
  for (const char *c = letters; *c != '\0'; c++) {
    if (*c == '?') {
      optional = true;
    } else if (*c == '*') {
      *most = MANY;
    } else {
      *least += !optional;
      *most += 1;
    }
  }
}

bool ft_takes_dtype(const char *letters, int64_t index, int dtype) {
  char letter = '\0';
  for (const char *c = letters; *c != '\0' && index >= 0; c++) {
    if (*c == '?') continue;
    if (*c == '*') break;
    letter = *c;
    index--;
  }
  switch (letter) {
    case 'f': return dtype == FT_F32;
    case 's': return dtype == FT_F32 || dtype == FT_BF16 || dtype == FT_F16;
    case 'i': return dtype == FT_I32;
    case 'p': return dtype == FT_F32 || dtype == FT_BF16;
    case 'u': return dtype == FT_U8;
    default: return false;
  }
}
