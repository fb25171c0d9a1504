/*
 * The native module as JavaScript sees it (typed in src/devices/cpu/native.ts). Devices, arenas and programs are handed out as
 * numbers and looked up in a table, so that no argument, however wrong, becomes a pointer: a bad one throws.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include <node_api.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "convert.h"
#include "job.h"
#include "memory.h"
#include "pool.h"
#include "program.h"
#include "signatures.h"
#include "target.h"

typedef enum { DEVICE, ARENA, PROGRAM } kind;
static const char *const kind_names[] = {"device", "arena", "program"};

/* One row of the table. A device owns its arenas, an arena its programs (through `owner`). */
typedef struct object {
  kind kind;
  int64_t id;
  struct object *owner;
  struct object *next;
  bool busy;    /* an arena with a job under way: its bytes and programs are not to be touched */
  int children; /* of a device: arenas and jobs */
  bool released; /* a device to be destroyed with its last child */
  struct ft_pool *pool;
  const ft_target *target;
  ft_memory memory;
  ft_program *program;
  ft_job *job; /* the run of a program */
  double *milliseconds;
} object;

typedef struct {
  object *objects;
  int64_t last_id;
} table;

/* --- arguments --- */

#define THROW(env, code, ...)                          \
  do {                                                 \
    char text_[400];                                   \
    snprintf(text_, sizeof text_, __VA_ARGS__);        \
    napi_throw_error(env, code, text_);                \
  } while (0)

#define MAX_ARGS 5

/* Reads exactly `count` arguments; missing ones are undefined and fail their own check. */
static table *arguments(napi_env env, napi_callback_info info, size_t count, napi_value *args) {
  void *data = NULL;
  size_t given = count;
  napi_get_cb_info(env, info, &given, args, NULL, NULL);
  napi_get_instance_data(env, &data);
  return data;
}

/* A whole number in [low, high]; throws and returns false otherwise. */
static bool integer_argument(napi_env env, napi_value value, const char *what, double low, double high, int64_t *result) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= low && number <= high) || number != floor(number)) {
    char text[200];
    snprintf(text, sizeof text, "%s must be a whole number from %.0f to %.0f", what, low, high);
    napi_throw_range_error(env, NULL, text);
    return false;
  }
  *result = (int64_t)number;
  return true;
}

static bool bytes_argument(napi_env env, napi_value value, const char *what, char **data, size_t *length) {
  bool is_array = false;
  napi_typedarray_type type;
  void *pointer = NULL;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array ||
      napi_get_typedarray_info(env, value, &type, length, &pointer, NULL, NULL) != napi_ok || type != napi_uint8_array) {
    char text[100];
    snprintf(text, sizeof text, "%s must be a Uint8Array", what);
    napi_throw_type_error(env, NULL, text);
    return false;
  }
  *data = pointer;
  return true;
}

static bool doubles_argument(napi_env env, napi_value value, const char *what, double **data, size_t *length) {
  bool is_array = false;
  napi_typedarray_type type;
  void *pointer = NULL;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array ||
      napi_get_typedarray_info(env, value, &type, length, &pointer, NULL, NULL) != napi_ok || type != napi_float64_array) {
    char text[100];
    snprintf(text, sizeof text, "%s must be a Float64Array", what);
    napi_throw_type_error(env, NULL, text);
    return false;
  }
  *data = pointer;
  return true;
}

static napi_value number(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

static napi_value undefined(napi_env env) {
  napi_value result;
  napi_get_undefined(env, &result);
  return result;
}

/* --- the table --- */

static object *add_object(napi_env env, table *t, kind kind, object *owner) {
  object *o = calloc(1, sizeof *o);
  if (o == NULL) {
    napi_throw_error(env, "E_DEVICE", "out of memory");
    return NULL;
  }
  o->kind = kind;
  o->id = ++t->last_id;
  o->owner = owner;
  o->next = t->objects;
  t->objects = o;
  return o;
}

static object *object_argument(napi_env env, table *t, napi_value value, kind kind) {
  double id;
  if (napi_get_value_double(env, value, &id) == napi_ok) {
    for (object *o = t->objects; o != NULL; o = o->next) {
      if (o->kind == kind && (double)o->id == id && !o->released) return o;
    }
  }
  char text[100];
  snprintf(text, sizeof text, "no such %s, or it was freed", kind_names[kind]);
  napi_throw_error(env, "FREED", text);
  return NULL;
}

static void unlink_object(table *t, object *o) {
  for (object **link = &t->objects; *link != NULL; link = &(*link)->next) {
    if (*link == o) {
      *link = o->next;
      break;
    }
  }
  free(o);
}

static void destroy_device_if_unused(table *t, object *device) {
  if (!device->released || device->children > 0) return;
  ft_pool_destroy(device->pool);
  unlink_object(t, device);
}

static void destroy_program(table *t, object *program) {
  ft_program_free(program->program);
  free(program->milliseconds);
  unlink_object(t, program);
}

static void destroy_arena(table *t, object *arena) {
  for (object *o = t->objects; o != NULL;) {
    object *next = o->next;
    if (o->kind == PROGRAM && o->owner == arena) destroy_program(t, o);
    o = next;
  }
  object *device = arena->owner;
  ft_memory_release(&arena->memory);
  unlink_object(t, arena);
  device->children--;
  destroy_device_if_unused(t, device);
}

/* --- devices --- */

/* targets(): [{name, supported}], from the plainest to the best */
static napi_value js_targets(napi_env env, napi_callback_info info) {
  (void)info;
  int count;
  const ft_target *targets = ft_targets(&count);
  napi_value list;
  napi_create_array(env, &list);
  for (int i = 0; i < count; i++) {
    napi_value item, name, supported;
    napi_create_object(env, &item);
    napi_create_string_utf8(env, targets[i].name, NAPI_AUTO_LENGTH, &name);
    napi_get_boolean(env, targets[i].supported, &supported);
    napi_set_named_property(env, item, "name", name);
    napi_set_named_property(env, item, "supported", supported);
    napi_set_element(env, list, (uint32_t)i, item);
  }
  return list;
}

/* signatures(): { op: 'attribute names in order' } */
static napi_value js_signatures(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value all;
  napi_create_object(env, &all);
  for (const ft_signature *s = ft_signatures; s->op != NULL; s++) {
    napi_value attrs;
    napi_create_string_utf8(env, s->attrs, NAPI_AUTO_LENGTH, &attrs);
    napi_set_named_property(env, all, s->op, attrs);
  }
  return all;
}

/* createDevice(target, threads): device */
static napi_value js_create_device(napi_env env, napi_callback_info info) {
  napi_value args[2];
  table *t = arguments(env, info, 2, args);
  char name[32] = "";
  size_t length;
  int64_t threads;
  if (napi_get_value_string_utf8(env, args[0], name, sizeof name, &length) != napi_ok) {
    napi_throw_type_error(env, NULL, "the target must be a string");
    return NULL;
  }
  if (!integer_argument(env, args[1], "the number of threads", 1, 1024, &threads)) return NULL;
  int count;
  const ft_target *targets = ft_targets(&count), *target = NULL;
  for (int i = 0; i < count; i++) {
    if (strcmp(targets[i].name, name) == 0) target = &targets[i];
  }
  if (target == NULL || !target->supported) {
    THROW(env, "E_DEVICE", target == NULL ? "there are no kernels for '%s' here" : "this processor does not run %s", name);
    return NULL;
  }
  struct ft_pool *pool = ft_pool_create((int)threads);
  if (pool == NULL) {
    THROW(env, "E_DEVICE", "the system gives no %lld threads", (long long)threads);
    return NULL;
  }
  object *device = add_object(env, t, DEVICE, NULL);
  if (device == NULL) {
    ft_pool_destroy(pool);
    return NULL;
  }
  device->pool = pool;
  device->target = target;
  return number(env, (double)device->id);
}

/* destroyDevice(device): at once, or with its last arena */
static napi_value js_destroy_device(napi_env env, napi_callback_info info) {
  napi_value args[1];
  table *t = arguments(env, info, 1, args);
  object *device = object_argument(env, t, args[0], DEVICE);
  if (device == NULL) return NULL;
  device->released = true;
  destroy_device_if_unused(t, device);
  return undefined(env);
}

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

typedef struct {
  const ft_target *target;
  int64_t rounds;
  double flops[1024];
} peak_loop;

static void peak_task(void *context, int64_t task, int thread) {
  (void)thread;
  peak_loop *loop = context;
  loop->flops[task] = loop->target->peak(loop->rounds);
}

static table *table_of(napi_env env) {
  void *data = NULL;
  napi_get_instance_data(env, &data);
  return data;
}

#define PEAK_TRIALS 5
#define PEAK_TRIAL_SECONDS 0.01

static void peak_work(ft_job *job) {
  const object *device = job->subject;
  peak_loop *loop = calloc(1, sizeof *loop);
  if (loop == NULL) return;
  if (!ft_pool_begin(device->pool, &job->state)) {
    free(loop);
    return;
  }
  loop->target = device->target;
  const int threads = ft_threads(device->pool);
  /* The best of five short trials, each long enough that starting the threads does not show. */
  loop->rounds = 20000;
  for (int trial = -2; trial < PEAK_TRIALS && (atomic_load(&job->state) & 1) == 0; trial++) {
    const double start = seconds_now();
    ft_parallel(device->pool, threads, peak_task, loop);
    const double seconds = seconds_now() - start;
    double flops = 0;
    for (int i = 0; i < threads; i++) flops += loop->flops[i];
    if (trial < 0) {
      loop->rounds = (int64_t)fmax(1000, (double)loop->rounds * PEAK_TRIAL_SECONDS / seconds);
    } else {
      job->number = fmax(job->number, flops / seconds);
    }
  }
  ft_pool_end(device->pool);
  free(loop);
}

static napi_value peak_settle(ft_job *job, napi_env env) {
  object *device = job->subject;
  device->children--;
  if (env == NULL) return NULL;
  destroy_device_if_unused(table_of(env), device);
  return number(env, job->number);
}

static ft_job *new_job(napi_env env) {
  ft_job *job = calloc(1, sizeof *job);
  if (job == NULL) napi_throw_error(env, "E_DEVICE", "out of memory");
  return job;
}

/* measurePeak(device): Promise<FLOPs per second> */
static napi_value js_measure_peak(napi_env env, napi_callback_info info) {
  napi_value args[1];
  table *t = arguments(env, info, 1, args);
  object *device = object_argument(env, t, args[0], DEVICE);
  if (device == NULL) return NULL;
  ft_job *job = new_job(env);
  if (job == NULL) return NULL;
  job->work = peak_work;
  job->settle = peak_settle;
  job->subject = device;
  device->children++;
  napi_value promise = ft_job_start(env, job);
  if (promise == NULL) device->children--;
  return promise;
}

/* --- arenas --- */

static void allocate_work(ft_job *job) {
  object *arena = job->subject;
  struct ft_pool *pool = arena->owner->pool;
  int error = ft_memory_reserve(&arena->memory, (int64_t)job->number, job->flag);
  if (error == 0 && ft_pool_begin(pool, &job->state)) {
    error = ft_memory_prefault(&arena->memory, pool);
    ft_pool_end(pool);
  }
  if (error != 0) {
    ft_memory_release(&arena->memory);
    snprintf(job->error_code, sizeof job->error_code, "E_BUDGET");
    snprintf(job->error, sizeof job->error, "the system does not give %.0f bytes of memory: %s", job->number, strerror(error));
  }
}

static napi_value allocate_settle(ft_job *job, napi_env env) {
  object *arena = job->subject;
  arena->busy = false;
  if (env == NULL) return NULL;
  if (job->error_code[0] == '\0') return number(env, (double)arena->id);
  destroy_arena(table_of(env), arena);
  return NULL;
}

/* allocate(device, bytes, guard): Promise<arena> */
static napi_value js_allocate(napi_env env, napi_callback_info info) {
  napi_value args[3];
  table *t = arguments(env, info, 3, args);
  object *device = object_argument(env, t, args[0], DEVICE);
  int64_t bytes;
  bool guard;
  if (device == NULL || !integer_argument(env, args[1], "the arena size", 1, 1099511627776.0 * 128, &bytes)) return NULL;
  if (napi_get_value_bool(env, args[2], &guard) != napi_ok) {
    napi_throw_type_error(env, NULL, "guard must be a boolean");
    return NULL;
  }
  ft_job *job = new_job(env);
  if (job == NULL) return NULL;
  object *arena = add_object(env, t, ARENA, device);
  if (arena == NULL) {
    free(job);
    return NULL;
  }
  device->children++;
  arena->busy = true;
  job->work = allocate_work;
  job->settle = allocate_settle;
  job->subject = arena;
  job->number = (double)bytes;
  job->flag = guard;
  napi_value promise = ft_job_start(env, job);
  if (promise == NULL) destroy_arena(t, arena);
  return promise;
}

/* An arena that nothing is running on. */
static object *idle_arena(napi_env env, table *t, napi_value value) {
  object *arena = object_argument(env, t, value, ARENA);
  if (arena != NULL && arena->busy) {
    napi_throw_error(env, "BUSY", "a program is running in this arena: await it first");
    return NULL;
  }
  return arena;
}

static napi_value js_free_arena(napi_env env, napi_callback_info info) {
  napi_value args[1];
  table *t = arguments(env, info, 1, args);
  object *arena = idle_arena(env, t, args[0]);
  if (arena == NULL) return NULL;
  destroy_arena(t, arena);
  return undefined(env);
}

/* The address of `length` bytes at `offset`, or NULL with an error thrown. */
static char *arena_range(napi_env env, const object *arena, napi_value offset_value, double length) {
  int64_t offset;
  if (!integer_argument(env, offset_value, "the offset", 0, (double)arena->memory.bytes, &offset)) return NULL;
  if ((double)offset + length > (double)arena->memory.bytes) {
    char text[160];
    snprintf(text, sizeof text, "bytes %lld … %.0f lie outside the arena of %lld bytes", (long long)offset, (double)offset + length,
             (long long)arena->memory.bytes);
    napi_throw_range_error(env, NULL, text);
    return NULL;
  }
  return arena->memory.base + offset;
}

/* read(arena, offset, to) and write(arena, offset, from) */
static napi_value transfer(napi_env env, napi_callback_info info, bool to_arena) {
  napi_value args[3];
  table *t = arguments(env, info, 3, args);
  object *arena = idle_arena(env, t, args[0]);
  char *bytes;
  size_t length;
  if (arena == NULL || !bytes_argument(env, args[2], "the data", &bytes, &length)) return NULL;
  char *place = arena_range(env, arena, args[1], (double)length);
  if (place == NULL) return NULL;
  if (length > 0) memcpy(to_arena ? place : bytes, to_arena ? bytes : place, length);
  return undefined(env);
}

static napi_value js_read(napi_env env, napi_callback_info info) { return transfer(env, info, false); }

static napi_value js_write(napi_env env, napi_callback_info info) { return transfer(env, info, true); }

/* fill(arena, offset, length, byte) */
static napi_value js_fill(napi_env env, napi_callback_info info) {
  napi_value args[4];
  table *t = arguments(env, info, 4, args);
  object *arena = idle_arena(env, t, args[0]);
  int64_t length, byte;
  if (arena == NULL || !integer_argument(env, args[2], "the length", 0, (double)arena->memory.bytes, &length) ||
      !integer_argument(env, args[3], "the byte", 0, 255, &byte)) {
    return NULL;
  }
  char *place = arena_range(env, arena, args[1], (double)length);
  if (place == NULL) return NULL;
  memset(place, (int)byte, (size_t)length);
  return undefined(env);
}

/* writeConverted(arena, offset, arenaDtype, from, fromDtype) and readConverted(arena, offset, arenaDtype, to, toDtype) */
static napi_value transfer_converted(napi_env env, napi_callback_info info, bool to_arena) {
  napi_value args[5];
  table *t = arguments(env, info, 5, args);
  object *arena = idle_arena(env, t, args[0]);
  int64_t inside, outside;
  char *bytes;
  size_t length;
  if (arena == NULL || !integer_argument(env, args[2], "the arena's dtype", FT_F32, FT_F16, &inside) ||
      !integer_argument(env, args[4], "the data's dtype", FT_F32, FT_F16, &outside) ||
      !bytes_argument(env, args[3], "the data", &bytes, &length)) {
    return NULL;
  }
  const size_t size = (size_t)ft_dtype_bytes((int)outside);
  if (length % size != 0) {
    napi_throw_range_error(env, NULL, "the data is not a whole number of elements");
    return NULL;
  }
  const int64_t count = (int64_t)(length / size);
  char *place = arena_range(env, arena, args[1], (double)count * ft_dtype_bytes((int)inside));
  if (place == NULL) return NULL;
  if (count > 0 && to_arena) ft_convert(place, (int)inside, bytes, (int)outside, count);
  if (count > 0 && !to_arena) ft_convert(bytes, (int)outside, place, (int)inside, count);
  return undefined(env);
}

static napi_value js_write_converted(napi_env env, napi_callback_info info) { return transfer_converted(env, info, true); }

static napi_value js_read_converted(napi_env env, napi_callback_info info) { return transfer_converted(env, info, false); }

/* --- programs --- */

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

static ft_program *decode(napi_env env, napi_value code_value, napi_value names_value, const object *device, const ft_memory *memory) {
  double *code;
  size_t length;
  uint32_t count;
  if (!doubles_argument(env, code_value, "the encoded program", &code, &length)) return NULL;
  char **names = names_argument(env, names_value, &count);
  if (names == NULL) return NULL;
  char message[FT_MESSAGE] = "";
  ft_program *program = ft_program_load(code, (int64_t)length, (const char *const *)names, count, device->target, ft_threads(device->pool),
                                        memory == NULL ? NULL : memory->base, memory == NULL ? 0 : memory->bytes, message);
  free_names(names, count);
  if (program == NULL) napi_throw_error(env, "E_DEVICE", message);
  return program;
}

/* load(arena, code, names): program */
static napi_value js_load(napi_env env, napi_callback_info info) {
  napi_value args[3];
  table *t = arguments(env, info, 3, args);
  object *arena = idle_arena(env, t, args[0]);
  if (arena == NULL) return NULL;
  ft_program *decoded = decode(env, args[1], args[2], arena->owner, &arena->memory);
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
static napi_value js_workspace_bytes(napi_env env, napi_callback_info info) {
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
}

static napi_value run_settle(ft_job *job, napi_env env) {
  object *program = job->subject;
  program->job = NULL;
  program->owner->busy = false;
  const double *nanoseconds = ft_program_nanoseconds(program->program);
  for (int64_t i = 0; i < ft_program_length(program->program); i++) program->milliseconds[i] = nanoseconds[i] * 1e-6;
  if (env == NULL) return NULL;
  napi_value result, completed;
  napi_create_object(env, &result);
  napi_get_boolean(env, job->flag, &completed);
  napi_set_named_property(env, result, "completed", completed);
  napi_set_named_property(env, result, "milliseconds", number(env, job->number));
  return result;
}

/* run(program): Promise<{completed, milliseconds}> */
static napi_value js_run(napi_env env, napi_callback_info info) {
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
static napi_value js_cancel(napi_env env, napi_callback_info info) {
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
static napi_value js_progress(napi_env env, napi_callback_info info) {
  napi_value args[1];
  table *t = arguments(env, info, 1, args);
  object *program = object_argument(env, t, args[0], PROGRAM);
  return program == NULL ? NULL : number(env, (double)ft_program_progress(program->program));
}

/* timings(program, milliseconds): fills the array with the times of the last finished run */
static napi_value js_timings(napi_env env, napi_callback_info info) {
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
static napi_value js_free_program(napi_env env, napi_callback_info info) {
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

/* --- the module --- */

/* The environment is gone. Whatever a thread may still be using is left to the end of the process. */
static void destroy_table(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  table *t = data;
  for (bool again = true; again;) {
    again = false;
    for (object *o = t->objects; o != NULL && !again; o = o->next) {
      if (o->kind == ARENA && !o->busy) {
        destroy_arena(t, o);
        again = true;
      } else if (o->kind == DEVICE && o->children == 0) {
        o->released = true;
        destroy_device_if_unused(t, o);
        again = true;
      }
    }
  }
  if (t->objects == NULL) free(t);
}

static napi_value initialise(napi_env env, napi_value exports) {
  table *t = calloc(1, sizeof *t);
  if (t == NULL || napi_set_instance_data(env, t, destroy_table, NULL) != napi_ok) {
    free(t);
    napi_throw_error(env, "E_DEVICE", "out of memory");
    return NULL;
  }
  static const struct {
    const char *name;
    napi_callback call;
  } functions[] = {
      {"targets", js_targets},
      {"signatures", js_signatures},
      {"createDevice", js_create_device},
      {"destroyDevice", js_destroy_device},
      {"measurePeak", js_measure_peak},
      {"allocate", js_allocate},
      {"freeArena", js_free_arena},
      {"read", js_read},
      {"write", js_write},
      {"fill", js_fill},
      {"writeConverted", js_write_converted},
      {"readConverted", js_read_converted},
      {"load", js_load},
      {"freeProgram", js_free_program},
      {"workspaceBytes", js_workspace_bytes},
      {"run", js_run},
      {"cancel", js_cancel},
      {"progress", js_progress},
      {"timings", js_timings},
  };
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  return exports;
}

NAPI_MODULE(fulltune, initialise)
