/* Programs: loaded into an arena, run on a thread of their own, cancelled, timed. */
#define _GNU_SOURCE
#include "binding.h"

#include <stdlib.h>
#include <string.h>

#include "pool.h"

static void free_names(char **names, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) free(names[i]);
  free(names);
}

/* An array of strings as C strings. */
static char **names_argument(napi_env env, napi_value value, uint32_t *count) {
  bool is_array = false;
  if (napi_is_array(env, value, &is_array) != napi_ok || !is_array || napi_get_array_length(env, value, count) != napi_ok) {
    napi_throw_type_error(env, NULL, "the op names must be an array of strings");
    return NULL;
  }
  char **names = calloc((size_t)*count + 1, sizeof *names);
  for (uint32_t i = 0; names != NULL && i < *count; i++) {
    napi_value item;
    size_t length;
    if (napi_get_element(env, value, i, &item) != napi_ok || napi_get_value_string_utf8(env, item, NULL, 0, &length) != napi_ok ||
        (names[i] = malloc(length + 1)) == NULL) {
      free_names(names, *count);
      napi_throw_type_error(env, NULL, "the op names must be an array of strings");
      return NULL;
    }
    napi_get_value_string_utf8(env, item, names[i], length + 1, &length);
  }
  if (names == NULL) napi_throw_error(env, "E_DEVICE", "out of memory");
  return names;
}

static ft_program *decode(napi_env env, napi_value code_value, napi_value names_value, const object *device, const object *arena) {
  double *code;
  size_t length;
  uint32_t count;
  if (!doubles_argument(env, code_value, "the encoded program", &code, &length)) return NULL;
  char **names = names_argument(env, names_value, &count);
  if (names == NULL) return NULL;
  char message[FT_MESSAGE] = "";
  ft_program *program = ft_program_load(code, (int64_t)length, (const char *const *)names, count, device->target, ft_threads(device->pool),
                                        arena == NULL ? NULL : arena->memory.base, arena == NULL ? 0 : arena->memory.bytes,
                                        arena == NULL ? NULL : arena->io, message);
  free_names(names, count);
  if (program == NULL) napi_throw_error(env, "E_DEVICE", message);
  return program;
}

/* load(arena, code, names): program */
napi_value js_load(napi_env env, napi_callback_info info) {
  napi_value args[3];
  table *t = arguments(env, info, 3, args);
  object *arena = idle_arena(env, t, args[0]);
  if (arena == NULL) return NULL;
  ft_program *decoded = decode(env, args[1], args[2], arena->owner, arena);
  if (decoded == NULL) return NULL;
  object *program = add_object(env, t, PROGRAM, arena);
  if (program != NULL) program->milliseconds = calloc((size_t)ft_program_length(decoded) + 1, sizeof(double));
  if (program == NULL || program->milliseconds == NULL) {
    ft_program_free(decoded);
    if (program != NULL) destroy_program(t, program);
    return NULL;
  }
  program->program = decoded;
  return number(env, (double)program->id);
}

/* workspaceBytes(device, code, names): what the kernel of instruction 0 asks for */
napi_value js_workspace_bytes(napi_env env, napi_callback_info info) {
  napi_value args[3];
  table *t = arguments(env, info, 3, args);
  object *device = object_argument(env, t, args[0], DEVICE);
  if (device == NULL) return NULL;
  ft_program *decoded = decode(env, args[1], args[2], device, NULL);
  if (decoded == NULL) return NULL;
  const bool empty = ft_program_length(decoded) == 0;
  const int64_t bytes = empty ? 0 : ft_program_workspace(decoded, 0, ft_threads(device->pool));
  ft_program_free(decoded);
  return number(env, (double)bytes);
}

static void run_work(ft_job *job) {
  object *program = job->subject;
  struct ft_pool *pool = program->owner->owner->pool;
  if (!ft_pool_begin(pool, &job->state)) return;
  const double start = seconds_now();
  job->flag = ft_program_run(program->program, pool, &job->state);
  job->number = (seconds_now() - start) * 1e3;
  ft_pool_end(pool);
  struct ft_io *io = program->owner->io;
  if (io == NULL || !ft_io_failed(io)) return;
  snprintf(job->error_code, sizeof job->error_code, "E_FILE");
  ft_io_message(io, job->error);
}

static napi_value run_settle(ft_job *job, napi_env env) {
  object *program = job->subject;
  program->job = NULL;
  program->owner->busy = false;
  const double *nanoseconds = ft_program_nanoseconds(program->program);
  for (int64_t i = 0; i < ft_program_length(program->program); i++) program->milliseconds[i] = nanoseconds[i] * 1e-6;
  if (env == NULL || job->error_code[0] != '\0') return NULL;
  napi_value result, completed;
  napi_create_object(env, &result);
  napi_get_boolean(env, job->flag, &completed);
  napi_set_named_property(env, result, "completed", completed);
  napi_set_named_property(env, result, "milliseconds", number(env, job->number));
  return result;
}

/* run(program): Promise<{completed, milliseconds}> */
napi_value js_run(napi_env env, napi_callback_info info) {
  napi_value args[1];
  table *t = arguments(env, info, 1, args);
  object *program = object_argument(env, t, args[0], PROGRAM);
  if (program == NULL) return NULL;
  if (program->owner->busy) {
    napi_throw_error(env, "BUSY", "a program is running in this arena: await it first");
    return NULL;
  }
  ft_job *job = new_job(env);
  if (job == NULL) return NULL;
  job->work = run_work;
  job->settle = run_settle;
  job->subject = program;
  program->owner->busy = true;
  program->job = job;
  napi_value promise = ft_job_start(env, job);
  if (promise == NULL) {
    program->owner->busy = false;
    program->job = NULL;
  }
  return promise;
}

/* cancel(program): whether the run under way will stop before it changes anything */
napi_value js_cancel(napi_env env, napi_callback_info info) {
  napi_value args[1], result;
  table *t = arguments(env, info, 1, args);
  object *program = object_argument(env, t, args[0], PROGRAM);
  if (program == NULL) return NULL;
  int running = FT_STATE_RUNNING;
  const bool cancelled = program->job != NULL && (atomic_compare_exchange_strong(&program->job->state, &running, FT_STATE_CANCELLED) ||
                                                  running == FT_STATE_CANCELLED);
  napi_get_boolean(env, cancelled, &result);
  return result;
}

/* progress(program): instructions finished in the current or last run */
napi_value js_progress(napi_env env, napi_callback_info info) {
  napi_value args[1];
  table *t = arguments(env, info, 1, args);
  object *program = object_argument(env, t, args[0], PROGRAM);
  return program == NULL ? NULL : number(env, (double)ft_program_progress(program->program));
}

/* timings(program, milliseconds): fills the array with the times of the last finished run */
napi_value js_timings(napi_env env, napi_callback_info info) {
  napi_value args[2];
  table *t = arguments(env, info, 2, args);
  object *program = object_argument(env, t, args[0], PROGRAM);
  double *to;
  size_t length;
  if (program == NULL || !doubles_argument(env, args[1], "the timings", &to, &length)) return NULL;
  if ((int64_t)length != ft_program_length(program->program)) {
    napi_throw_range_error(env, NULL, "the timings need one element per instruction");
    return NULL;
  }
  if (length > 0) memcpy(to, program->milliseconds, length * sizeof *to);
  return undefined(env);
}

/* freeProgram(program): forgets a program that will not run again */
napi_value js_free_program(napi_env env, napi_callback_info info) {
  napi_value args[1];
  table *t = arguments(env, info, 1, args);
  object *program = object_argument(env, t, args[0], PROGRAM);
  if (program == NULL) return NULL;
  if (program->job != NULL) {
    napi_throw_error(env, "BUSY", "the program is running: await it first");
    return NULL;
  }
  destroy_program(t, program);
  return undefined(env);
}
