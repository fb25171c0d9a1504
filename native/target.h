/* The instruction sets that this binary holds kernels for, and which of them this processor runs. */
#ifndef FULLTUNE_TARGET_H
#define FULLTUNE_TARGET_H

#include "fulltune.h"

typedef struct {
  const char *name;
  bool supported;
  /* The kernel tables, one per file, each ended by a NULL op; the list ended by NULL. */
  const ft_entry *const *kernels;
  /* Runs `rounds` rounds of independent multiply-adds in registers; returns the FLOPs done. */
  double (*peak)(int64_t rounds);
} ft_target;

/* All compiled targets, from the plainest to the best; `count` receives how many. `supported` is filled in. */
const ft_target *ft_targets(int *count);
/* The kernel of `op`, or NULL. */
const ft_entry *ft_find_kernel(const ft_target *target, const char *op);

#endif
