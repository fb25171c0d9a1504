/* The thread pool as the runtime sees it. Kernels see only ft_threads, ft_parallel and ft_cancelled of fulltune.h. */
#ifndef FULLTUNE_POOL_H
#define FULLTUNE_POOL_H

#include <stdatomic.h>

#include "fulltune.h"

/* Where a run stands. Odd values tell kernels to stop early. */
enum {
  FT_STATE_RUNNING = 0,
  FT_STATE_CANCELLED = 1, /* by the user, before the first instruction that changes state */
  FT_STATE_COMMITTED = 2, /* can no longer be cancelled */
  FT_STATE_ABANDONED = 3, /* the JavaScript environment is going away: stop wherever it is */
};

/* Starts threads - 1 workers, asleep. NULL when the system gives no more threads. */
struct ft_pool *ft_pool_create(int threads);
/* Ends and joins the workers. No run may be under way. */
void ft_pool_destroy(struct ft_pool *pool);

/* Takes the pool for the calling thread, waiting for another run to end. `state` is what ft_cancelled looks at until ft_pool_end.
   False, without the pool, when the run is cancelled while it waits. */
bool ft_pool_begin(struct ft_pool *pool, const atomic_int *state);
void ft_pool_end(struct ft_pool *pool);

/* Denormals count as zero on the calling thread, in and out: they cost a hundred times a normal number and carry nothing. */
void ft_flush_denormals(void);

#endif
