/* A program bound to an arena: decoded once, run many times. */
#ifndef FULLTUNE_PROGRAM_H
#define FULLTUNE_PROGRAM_H

#include <stdatomic.h>

#include "target.h"

#define FT_MESSAGE 320

typedef struct ft_program ft_program;

/*
 * Decodes `code`, the numbers that src/devices/cpu/encode.ts writes:
 *   version 1, arena bytes, commit index, number of instructions, then for each instruction
 *   index of the op's name, inputs, outputs, attributes, workspace offset, workspace bytes,
 *   inputs then outputs, each: dtype, rank, sizes …, offset,
 *   attributes …
 * `arena` may be NULL (nothing can be run then), and so may `io`, the file of the arena. Returns NULL and a message when anything does not fit: every number is checked.
 */
ft_program *ft_program_load(const double *code, int64_t length, const char *const *names, int64_t name_count, const ft_target *target,
                            int threads, char *arena, int64_t arena_bytes, struct ft_io *io, char message[FT_MESSAGE]);
void ft_program_free(ft_program *program);

/* Runs all instructions on the calling thread and the pool, which must be taken (ft_pool_begin). `state` starts as FT_STATE_RUNNING
   and is set to FT_STATE_COMMITTED before the first instruction that changes state. Returns whether the program completed. When it
   returns, nothing is under way between arena and file; ft_io_failed says whether that stopped it. */
bool ft_program_run(ft_program *program, struct ft_pool *pool, atomic_int *state);

int64_t ft_program_length(const ft_program *program);
/* Instructions finished in the current or last run; may be asked from any thread. */
int64_t ft_program_progress(const ft_program *program);
/* Nanoseconds of each instruction of the last run. */
const double *ft_program_nanoseconds(const ft_program *program);
/* Scratch bytes that instruction `index` needs. */
int64_t ft_program_workspace(const ft_program *program, int64_t index, int threads);

#endif
