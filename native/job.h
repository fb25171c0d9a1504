/* Work on a thread of its own that settles a JavaScript promise. */
#ifndef FULLTUNE_JOB_H
#define FULLTUNE_JOB_H

#include <node_api.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

typedef struct ft_job ft_job;

struct ft_job {
  /* Set by the caller. `work` runs on the new thread; `settle` on the main thread afterwards: it returns the promise's value, or NULL
     with `error_code` and `error` filled in. `settle` also runs (with env NULL, result ignored) when the environment goes away. */
  void (*work)(ft_job *job);
  napi_value (*settle)(ft_job *job, napi_env env);
  void *subject;
  void *subject2;
  double number;
  bool flag;
  atomic_int state; /* FT_STATE_… */
  char error_code[16];
  char error[400];

  /* Private. */
  napi_env env;
  napi_deferred deferred;
  napi_threadsafe_function finished;
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t ended_condition;
  bool ended;
  bool abandoned;
};

/* Starts `job` (zero-initialised on the heap, taken over) and returns its promise, or NULL with a JavaScript error thrown. */
napi_value ft_job_start(napi_env env, ft_job *job);

#endif
