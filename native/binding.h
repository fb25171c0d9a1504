/*
 * What the parts of the native module share. Devices, arenas and programs are handed out as numbers and looked up in a table, so that
 * no argument, however wrong, becomes a pointer: a bad one throws.
 */
#ifndef FULLTUNE_BINDING_H
#define FULLTUNE_BINDING_H

#include <node_api.h>
#include <stdio.h>

#include "io.h"
#include "job.h"
#include "memory.h"
#include "program.h"
#include "target.h"

typedef enum { DEVICE, ARENA, PROGRAM } kind;

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
  struct ft_io *io; /* the file of an arena, if it has one */
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

/* Reads exactly `count` arguments; missing ones are undefined and fail their own check. */
table *arguments(napi_env env, napi_callback_info info, size_t count, napi_value *args);
/* The following throw and return false (or NULL) when the value is not what it must be. */
/* A whole number in [low, high]. */
bool integer_argument(napi_env env, napi_value value, const char *what, double low, double high, int64_t *result);
/* A Uint8Array. */
bool bytes_argument(napi_env env, napi_value value, const char *what, char **data, size_t *length);
/* A Float64Array. */
bool doubles_argument(napi_env env, napi_value value, const char *what, double **data, size_t *length);
/* The handle of an object that was not freed. */
object *object_argument(napi_env env, table *t, napi_value value, kind kind);
/* … of an arena that nothing is running in. */
object *idle_arena(napi_env env, table *t, napi_value value);

napi_value number(napi_env env, double value);
napi_value undefined(napi_env env);

/* --- objects --- */

table *table_of(napi_env env);
object *add_object(napi_env env, table *t, kind kind, object *owner);
/* Destroys a device that was released and has no children any more. */
void destroy_device_if_unused(table *t, object *device);
void destroy_program(table *t, object *program);
/* … with its programs. */
void destroy_arena(table *t, object *arena);
/* Zero-initialised, or NULL with an error thrown. */
ft_job *new_job(napi_env env);
double seconds_now(void);

/* --- the functions of the module, see src/devices/cpu/native.ts --- */

napi_value js_targets(napi_env env, napi_callback_info info);
napi_value js_signatures(napi_env env, napi_callback_info info);
napi_value js_create_device(napi_env env, napi_callback_info info);
napi_value js_destroy_device(napi_env env, napi_callback_info info);
napi_value js_measure_peak(napi_env env, napi_callback_info info);
napi_value js_allocate(napi_env env, napi_callback_info info);
napi_value js_free_arena(napi_env env, napi_callback_info info);
napi_value js_read(napi_env env, napi_callback_info info);
napi_value js_write(napi_env env, napi_callback_info info);
napi_value js_fill(napi_env env, napi_callback_info info);
napi_value js_write_converted(napi_env env, napi_callback_info info);
napi_value js_read_converted(napi_env env, napi_callback_info info);
napi_value js_attach_file(napi_env env, napi_callback_info info);
napi_value js_read_file(napi_env env, napi_callback_info info);
napi_value js_write_file(napi_env env, napi_callback_info info);
napi_value js_load(napi_env env, napi_callback_info info);
napi_value js_workspace_bytes(napi_env env, napi_callback_info info);
napi_value js_run(napi_env env, napi_callback_info info);
napi_value js_cancel(napi_env env, napi_callback_info info);
napi_value js_progress(napi_env env, napi_callback_info info);
napi_value js_timings(napi_env env, napi_callback_info info);
napi_value js_free_program(napi_env env, napi_callback_info info);

#endif
