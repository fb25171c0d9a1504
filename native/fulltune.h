/*
 * What every kernel sees: tensors in the arena, attributes in the order of the op table, scratch from the plan, and the thread pool.
 *
 * Kernels allocate nothing and keep no state. How a sum is cut depends on shapes only, never on the number of threads: a task
 * computes whole outputs (or whole partial sums at fixed places in the workspace), tasks may run in any order on any thread.
 *
 * Every kernel file is compiled once per instruction set with FT_TARGET set (baseline, avx2, avx512, neon); all its functions are
 * `static` but the exported table, whose name carries the target: FT_NAME(x) is x_avx2 and so on.
 */
#ifndef FULLTUNE_H
#define FULLTUNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { FT_F32 = 0, FT_BF16 = 1, FT_F16 = 2, FT_I32 = 3, FT_U8 = 4 } ft_dtype;

/* A tensor: `rank` sizes (at most 4), last axis contiguous. `count` is their product. */
typedef struct {
  char *data;
  int64_t shape[4];
  int64_t count;
  int32_t rank;
  int32_t dtype;
} ft_tensor;

struct ft_pool;
struct ft_io;
struct ft_call;

/* Computes one instruction. Outputs may share the bytes of inputs where the op table says so. */
typedef void (*ft_kernel)(const struct ft_call *call);

typedef struct ft_call {
  const ft_tensor *in;
  const ft_tensor *out;
  const double *attrs;
  char *workspace; /* 64-byte aligned */
  int64_t workspace_bytes;
  struct ft_pool *pool;
  struct ft_io *io; /* the file of the arena, or NULL: then no program that needs one was loaded */
  int32_t n_in;
  int32_t n_out;
} ft_call;

/* One line of the kernel table. `workspace` gives the scratch bytes needed with `threads` threads, or is NULL for none. */
typedef struct {
  const char *op;
  ft_kernel run;
  int64_t (*workspace)(const ft_call *call, int threads);
} ft_entry;

/* --- threads (native/pool.c) --- */

/* One task of a parallel loop. `thread` is in [0, threads). */
typedef void (*ft_task)(void *context, int64_t task, int thread);

int ft_threads(const struct ft_pool *pool);
/* Runs tasks 0 … n-1, each once, claimed one by one; returns when all are done. The caller works too, as thread 0. Not nested. */
void ft_parallel(struct ft_pool *pool, int64_t n, ft_task task, void *context);
/* True when the run was cancelled and has not committed: long loops may return early, results are discarded. */
bool ft_cancelled(const struct ft_pool *pool);

/* --- the file of the arena (native/io.c) --- */

/* Begin to move `bytes` between memory and the file at byte `at`, in the order of the calls; return at once unless the queue is full. The memory
   must be left alone until ft_io_wait. */
void ft_io_read(struct ft_io *io, char *to, int64_t bytes, int64_t at);
void ft_io_write(struct ft_io *io, const char *from, int64_t bytes, int64_t at);
/* Blocks until nothing that was begun touches these bytes of memory. */
void ft_io_wait(struct ft_io *io, const char *data, int64_t bytes);

#define FT_PASTE2(a, b) a##_##b
#define FT_PASTE(a, b) FT_PASTE2(a, b)
#define FT_NAME(x) FT_PASTE(x, FT_TARGET)

#endif
