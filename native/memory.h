/* The block of memory in which all values of a run live. */
#ifndef FULLTUNE_MEMORY_H
#define FULLTUNE_MEMORY_H

#include "fulltune.h"

typedef struct {
  char *base; /* 64-byte aligned; zero-filled */
  int64_t bytes;
  char *map;
  size_t map_bytes;
} ft_memory;

/* Reserves address space. With `guard`, an unreadable page stands at both ends, the upper one right behind the last byte (rounded up
   to 64). Returns 0 or errno. */
int ft_memory_reserve(ft_memory *memory, int64_t bytes, bool guard);
/* Makes every page present, in parallel on `pool`. Returns 0 or errno. */
int ft_memory_prefault(const ft_memory *memory, struct ft_pool *pool);
/* Gives free pages of the C heap back to the system, where the library can: what planning took and no longer needs. */
void ft_memory_trim(void);
void ft_memory_release(ft_memory *memory);

#endif
