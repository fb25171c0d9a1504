/*
 * A promise, a thread and one threadsafe function that brings the end of the work back to the main thread.
 *
 * When the environment goes away first (process.exit, a worker that is terminated), a cleanup hook marks the job as abandoned, which
 * stops the work at its next look at `state`, and waits a little for it; work that does not end by then is left alone with
 * everything it uses, because the process is ending anyway.
 */
#define _GNU_SOURCE
#include "job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pool.h"

#define FAREWELL_SECONDS 2

static void release(ft_job *job) {
  pthread_mutex_destroy(&job->mutex);
  pthread_cond_destroy(&job->ended_condition);
  free(job);
}

static void *thread_main(void *argument) {
  ft_job *job = argument;
  job->work(job);
  pthread_mutex_lock(&job->mutex);
  job->ended = true;
  pthread_cond_broadcast(&job->ended_condition);
  /* After this call the main thread may join this one and free the job. */
  if (!job->abandoned) napi_call_threadsafe_function(job->finished, job, napi_tsfn_nonblocking);
  pthread_mutex_unlock(&job->mutex);
  return NULL;
}

/* The environment ends while the job is under way. */
static void on_environment_end(void *argument) {
  ft_job *job = argument;
  atomic_store(&job->state, FT_STATE_ABANDONED);
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += FAREWELL_SECONDS;
  pthread_mutex_lock(&job->mutex);
  job->abandoned = true;
  int waited = 0;
  while (!job->ended && waited == 0) waited = pthread_cond_timedwait(&job->ended_condition, &job->mutex, &until);
  const bool ended = job->ended;
  pthread_mutex_unlock(&job->mutex);
  if (!ended) {
    pthread_detach(job->thread);
    return;
  }
  pthread_join(job->thread, NULL);
  job->settle(job, NULL);
  /* The job itself stays: a call may still lie in the threadsafe function's queue. */
}

static void on_finished(napi_env env, napi_value callback, void *context, void *data) {
  (void)callback;
  (void)context;
  ft_job *job = data;
  if (env == NULL || job->abandoned) return;
  pthread_join(job->thread, NULL);
  napi_remove_env_cleanup_hook(env, on_environment_end, job);
  napi_handle_scope scope;
  napi_open_handle_scope(env, &scope);
  napi_value value = job->settle(job, env);
  if (value != NULL) {
    napi_resolve_deferred(env, job->deferred, value);
  } else {
    napi_value code, message, error;
    napi_create_string_utf8(env, job->error_code, NAPI_AUTO_LENGTH, &code);
    napi_create_string_utf8(env, job->error, NAPI_AUTO_LENGTH, &message);
    napi_create_error(env, code, message, &error);
    napi_reject_deferred(env, job->deferred, error);
  }
  napi_close_handle_scope(env, scope);
  napi_release_threadsafe_function(job->finished, napi_tsfn_release);
  release(job);
}

napi_value ft_job_start(napi_env env, ft_job *job) {
  napi_value promise, name;
  job->env = env;
  pthread_mutex_init(&job->mutex, NULL);
  pthread_cond_init(&job->ended_condition, NULL);
  if (napi_create_string_utf8(env, "fulltune", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_threadsafe_function(env, NULL, NULL, name, 0, 1, NULL, NULL, NULL, on_finished, &job->finished) != napi_ok) {
    napi_throw_error(env, "E_DEVICE", "Node gives no threadsafe function");
    release(job);
    return NULL;
  }
  napi_create_promise(env, &job->deferred, &promise);
  /* Hooks run last in, first out: this one before the threadsafe function's own. */
  napi_add_env_cleanup_hook(env, on_environment_end, job);
  /* The lock keeps a job that ends at once from being joined before its handle is known. */
  pthread_mutex_lock(&job->mutex);
  const int error = pthread_create(&job->thread, NULL, thread_main, job);
  pthread_mutex_unlock(&job->mutex);
  if (error != 0) {
    napi_remove_env_cleanup_hook(env, on_environment_end, job);
    napi_release_threadsafe_function(job->finished, napi_tsfn_release);
    napi_throw_error(env, "E_DEVICE", "the system gives no more threads");
    release(job);
    return NULL;
  }
  return promise;
}
