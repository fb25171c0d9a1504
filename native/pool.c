/*
 * Persistent threads that share one loop at a time.
 *
 * A loop is published as one 64-bit ticket: its generation above, the next unclaimed task below. Claiming is a compare-and-swap on
 * the whole ticket, so a thread that comes late cannot take a task of the next loop for one of the last. The caller waits for
 * finished *tasks*, not for threads: one that is still waking up holds nobody back.
 *
 * Workers spin for about a third of a millisecond (instructions follow each other faster than a sleeping thread wakes) and then
 * sleep, so an idle device costs nothing.
 */
#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#define SPIN_PAUSES 25000
/* About 3 µs. */
#define YIELD_PAUSES 256
/* How often a run that waits for the pool looks again. */
#define WAIT_NANOSECONDS 200000
/* Tickets: no task may be claimed while the loop's fields are being written. */
#define CLOSED UINT32_C(0xffffffff)

typedef struct {
  struct ft_pool *pool;
  pthread_t handle;
  int thread;
} worker;

struct ft_pool {
  _Alignas(64) _Atomic uint64_t ticket;
  _Alignas(64) _Atomic int64_t finished;
  _Alignas(64) _Atomic(ft_task) task;
  _Atomic(void *) context;
  _Atomic int64_t tasks;
  _Atomic(const atomic_int *) state;
  _Alignas(64) atomic_int sleepers;
  atomic_bool stop;
  uint32_t generation; /* of the caller only */
  pthread_mutex_t sleep_mutex;
  pthread_cond_t wake;
  pthread_mutex_t run_mutex;
  int threads;
  int started;
  worker *workers;
};

static inline void spin_pause(void) {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/*
 * Waits a moment. Now and then the core is offered to others: where there are more busy threads than cores, the one that is waited for may
 * be standing in line for this very core, and without the offer it would stand there for a whole time slice.
 */
static inline void spin(int pauses) {
  if ((pauses + 1) % YIELD_PAUSES == 0) sched_yield();
  else spin_pause();
}

void ft_flush_denormals(void) {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040); /* FTZ, DAZ */
#elif defined(__aarch64__)
  uint64_t fpcr;
  __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
  __asm__ volatile("msr fpcr, %0" : : "r"(fpcr | (UINT64_C(1) << 24)));
#endif
}

int ft_threads(const struct ft_pool *pool) { return pool->threads; }

bool ft_cancelled(const struct ft_pool *pool) {
  const atomic_int *state = atomic_load_explicit(&pool->state, memory_order_relaxed);
  return state != NULL && (atomic_load_explicit(state, memory_order_relaxed) & 1) != 0;
}

/* Claims and runs tasks of the loop that is open now, until none is left. */
static void work(struct ft_pool *pool, int thread) {
  uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
  for (;;) {
    const uint32_t index = (uint32_t)ticket;
    if (index == CLOSED) return;
    const int64_t tasks = atomic_load_explicit(&pool->tasks, memory_order_acquire);
    const ft_task task = atomic_load_explicit(&pool->task, memory_order_acquire);
    void *const context = atomic_load_explicit(&pool->context, memory_order_acquire);
    if (index >= tasks) return;
    if (!atomic_compare_exchange_weak_explicit(&pool->ticket, &ticket, ticket + 1, memory_order_acq_rel, memory_order_acquire)) continue;
    /* Loops of at most one task per thread may wait for each other inside their tasks: those are never skipped. */
    if (tasks <= pool->threads || !ft_cancelled(pool)) task(context, index, thread);
    atomic_fetch_add_explicit(&pool->finished, 1, memory_order_release);
    ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
  }
}

static void *worker_main(void *argument) {
  const worker *self = argument;
  struct ft_pool *pool = self->pool;
  ft_flush_denormals();
  uint32_t seen = 0;
  for (;;) {
    int pauses = 0;
    for (;;) {
      const uint64_t ticket = atomic_load(&pool->ticket);
      if ((uint32_t)(ticket >> 32) != seen && (uint32_t)ticket != CLOSED) {
        seen = (uint32_t)(ticket >> 32);
        break;
      }
      if (atomic_load_explicit(&pool->stop, memory_order_relaxed)) return NULL;
      if (pauses < SPIN_PAUSES) {
        spin(pauses++);
        continue;
      }
      pthread_mutex_lock(&pool->sleep_mutex);
      atomic_fetch_add(&pool->sleepers, 1);
      while ((uint32_t)(atomic_load(&pool->ticket) >> 32) == seen && !atomic_load(&pool->stop)) {
        pthread_cond_wait(&pool->wake, &pool->sleep_mutex);
      }
      atomic_fetch_sub(&pool->sleepers, 1);
      pthread_mutex_unlock(&pool->sleep_mutex);
      pauses = 0;
    }
    work(pool, self->thread);
  }
}

void ft_parallel(struct ft_pool *pool, int64_t n, ft_task task, void *context) {
  if (n <= 0) return;
  if (n == 1 || pool->threads == 1) {
    for (int64_t i = 0; i < n; i++) {
      if (n > pool->threads && ft_cancelled(pool)) return;
      task(context, i, 0);
    }
    return;
  }
  /* Close the last loop before its fields change: see the head of this file. */
  pool->generation++;
  atomic_store(&pool->ticket, ((uint64_t)pool->generation << 32) | CLOSED);
  atomic_store_explicit(&pool->finished, 0, memory_order_release);
  atomic_store_explicit(&pool->task, task, memory_order_release);
  atomic_store_explicit(&pool->context, context, memory_order_release);
  atomic_store_explicit(&pool->tasks, n, memory_order_release);
  atomic_store(&pool->ticket, (uint64_t)pool->generation << 32);
  if (atomic_load(&pool->sleepers) > 0) {
    pthread_mutex_lock(&pool->sleep_mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->sleep_mutex);
  }
  work(pool, 0);
  for (int pauses = 0; atomic_load_explicit(&pool->finished, memory_order_acquire) < n; pauses++) spin(pauses);
}

bool ft_pool_begin(struct ft_pool *pool, const atomic_int *state) {
  while (pthread_mutex_trylock(&pool->run_mutex) != 0) {
    if ((atomic_load(state) & 1) != 0) return false;
    nanosleep(&(struct timespec){.tv_nsec = WAIT_NANOSECONDS}, NULL);
  }
  atomic_store(&pool->state, state);
  ft_flush_denormals();
  return true;
}

void ft_pool_end(struct ft_pool *pool) {
  atomic_store(&pool->state, (const atomic_int *)NULL);
  pthread_mutex_unlock(&pool->run_mutex);
}

struct ft_pool *ft_pool_create(int threads) {
  struct ft_pool *pool = aligned_alloc(64, (sizeof(struct ft_pool) + 63) / 64 * 64);
  if (pool == NULL) return NULL;
  *pool = (struct ft_pool){.ticket = CLOSED, .threads = threads};
  pthread_mutex_init(&pool->sleep_mutex, NULL);
  pthread_mutex_init(&pool->run_mutex, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pool->workers = calloc((size_t)threads, sizeof(worker));
  if (pool->workers == NULL) {
    ft_pool_destroy(pool);
    return NULL;
  }
  for (int i = 1; i < threads; i++) {
    worker *w = &pool->workers[i];
    w->pool = pool;
    w->thread = i;
    if (pthread_create(&w->handle, NULL, worker_main, w) != 0) {
      ft_pool_destroy(pool);
      return NULL;
    }
    pool->started = i;
  }
  return pool;
}

void ft_pool_destroy(struct ft_pool *pool) {
  pthread_mutex_lock(&pool->sleep_mutex);
  atomic_store(&pool->stop, true);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->sleep_mutex);
  for (int i = 1; i <= pool->started; i++) pthread_join(pool->workers[i].handle, NULL);
  pthread_mutex_destroy(&pool->sleep_mutex);
  pthread_mutex_destroy(&pool->run_mutex);
  pthread_cond_destroy(&pool->wake);
  free(pool->workers);
  free(pool);
}
