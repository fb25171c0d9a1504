/* A program that names its tensors wrongly is refused when it is loaded, instead of crashing or reading bf16 as f32. */
#include "signatures.h"

#include <stddef.h>
#include <string.h>

#define MANY 4096

const ft_signature ft_signatures[] = {
    {"embedding", "ia", "a", ""},
    {"embedding_backward", "ia?f", "f", "vocabulary mode"},
    {"matmul_nn", "ss?s", "s", "bias"},
    {"matmul_nt", "ss?s", "s", "bias"},
    {"matmul_tn", "ss?f", "f", "accumulate"},
    {"column_sum", "a?f", "f", "accumulate"},
    {"rmsnorm", "af", "af", "epsilon"},
    {"rmsnorm_backward", "affa", "a", ""},
    {"rmsnorm_weight_gradient", "afa?f", "f", "width accumulate"},
    {"layernorm", "aff", "aff", "epsilon"},
    {"layernorm_backward", "afffa", "a", ""},
    {"layernorm_weight_gradient", "affa?f", "f", "accumulate"},
    {"rotary_table", "if", "f", "scaling"},
    {"rotary", "af", "a", "inverse"},
    {"attention", "aaai", "af", "heads keyValueHeads headWidth scale"},
    {"attention_backward", "aaaiafa", "aaa", "heads keyValueHeads headWidth scale"},
    {"attention_cached", "fffi", "f", "heads keyValueHeads headWidth scale"},
    {"cache_write", "ffi", "f", ""},
    {"select_token", "fi", "f", ""},
    {"swiglu", "aa", "a", ""},
    {"swiglu_backward", "aaa", "aa", ""},
    {"gelu", "a", "a", "tanh"},
    {"gelu_backward", "aa", "a", "tanh"},
    {"add", "aa", "a", ""},
    {"scale", "af", "a", ""},
    {"slice", "a", "a", "offset width"},
    {"concat", "a*", "a", ""},
    {"cross_entropy", "fif", "ff", ""},
    {"cross_entropy_backward", "fifff", "f", ""},
    {"cast", "s", "s", "to"},
    {"linear_cross_entropy", "ssif", "f", "blocks"},
    {"linear_cross_entropy_backward", "ssiff?f", "f?ss", "blocks mode needHidden needWeight"},
    {"ones", "", "f", "size"},
    {"sum_squares", "f", "f", ""},
    {"global_norm", "f*", "ff", "maxNorm scaled"},
    {"adamw", "pffffif", "pff", "beta1 beta2 epsilon weightDecay first seed"},
    {"sgd", "pffif?f", "p?f", "momentum weightDecay first seed"},
    {"lion", "pfffif", "pf", "beta1 beta2 weightDecay first seed"},
    {"adamw_8bit", "pfufuffif", "pufuff", "beta1 beta2 epsilon weightDecay first seed"},
    {"adafactor", "pffiff?ff", "pf?ff", "beta1 weightDecay factored seed"},
    {"offload_read", "?i", "x", "at dtype rank size0 size1 size2 size3"},
    {"offload_wait", "x", "x", ""},
    {"offload_write", "x", "i", "at"},
    {"offload_flush", "xi", "i", ""},
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

static char letter_of(const char *letters, int64_t index) {
  char letter = '\0';
  for (const char *c = letters; *c != '\0' && index >= 0; c++) {
    if (*c == '?') continue;
    if (*c == '*') break;
    letter = *c;
    index--;
  }
  return letter;
}

bool ft_takes_dtype(const char *letters, int64_t index, int dtype) {
  switch (letter_of(letters, index)) {
    case 'f': return dtype == FT_F32;
    case 'a':
    case 's': return dtype == FT_F32 || dtype == FT_BF16 || dtype == FT_F16;
    case 'i': return dtype == FT_I32;
    case 'x': return true;
    case 'p': return dtype == FT_F32 || dtype == FT_BF16;
    case 'u': return dtype == FT_U8;
    default: return false;
  }
}

bool ft_is_activation(const char *letters, int64_t index) { return letter_of(letters, index) == 'a'; }
