/* Memory comes from mmap in huge pages where the system allows, and every page is made present before the first step. */
#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define HUGE_PAGE ((size_t)2 << 20)
#define PREFAULT_BLOCK ((int64_t)32 << 20)

static size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

int ft_memory_reserve(ft_memory *memory, int64_t bytes, bool guard) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t used = round_up((size_t)bytes, 64);
  const size_t pages = round_up(used, page);
  const size_t edge = guard ? page : HUGE_PAGE; /* without guards: slack to start on a huge page */
  const size_t total = guard ? pages + 2 * edge : pages + edge;
  char *map = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) return errno;
  memory->map = map;
  memory->map_bytes = total;
  memory->bytes = bytes;
  if (guard) {
    if (mprotect(map, edge, PROT_NONE) != 0 || mprotect(map + edge + pages, edge, PROT_NONE) != 0) {
      const int error = errno;
      ft_memory_release(memory);
      return error;
    }
    memory->base = map + edge + pages - used;
  } else {
    memory->base = map + (round_up((size_t)(uintptr_t)map, HUGE_PAGE) - (size_t)(uintptr_t)map);
#ifdef MADV_HUGEPAGE
    madvise(memory->base, pages, MADV_HUGEPAGE); /* a wish: refused where huge pages are off */
#endif
  }
  return 0;
}

typedef struct {
  char *start;
  int64_t bytes;
  atomic_int error;
} prefault_job;

static void prefault_block(void *context, int64_t task, int thread) {
  (void)thread;
  prefault_job *job = context;
  if (atomic_load(&job->error) != 0) return;
  char *from = job->start + task * PREFAULT_BLOCK;
  const int64_t left = job->bytes - task * PREFAULT_BLOCK;
  const size_t length = (size_t)(left < PREFAULT_BLOCK ? left : PREFAULT_BLOCK);
  if (madvise(from, length, MADV_POPULATE_WRITE) == 0) return;
  if (errno != EINVAL) {
    atomic_store(&job->error, errno);
    return;
  }
  for (size_t i = 0; i < length; i += 4096) ((volatile char *)from)[i] = 0; /* an older system */
}

int ft_memory_prefault(const ft_memory *memory, struct ft_pool *pool) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t start = (size_t)(uintptr_t)memory->base / page * page;
  const size_t end = round_up((size_t)(uintptr_t)memory->base + (size_t)memory->bytes, page);
  prefault_job job = {.start = (char *)start, .bytes = (int64_t)(end - start)};
  ft_parallel(pool, (job.bytes + PREFAULT_BLOCK - 1) / PREFAULT_BLOCK, prefault_block, &job);
  return atomic_load(&job.error);
}

void ft_memory_trim(void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

void ft_memory_release(ft_memory *memory) {
  if (memory->map != NULL) munmap(memory->map, memory->map_bytes);
  *memory = (ft_memory){0};
}
