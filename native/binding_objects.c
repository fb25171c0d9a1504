/* Arguments from JavaScript, and the table of objects that they name. */
#define _GNU_SOURCE
#include "binding.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "pool.h"

/* Reads exactly `count` arguments; missing ones are undefined and fail their own check. */
table *arguments(napi_env env, napi_callback_info info, size_t count, napi_value *args) {
  void *data = NULL;
  size_t given = count;
  napi_get_cb_info(env, info, &given, args, NULL, NULL);
  napi_get_instance_data(env, &data);
  return data;
}

/* A whole number in [low, high]; throws and returns false otherwise. */
bool integer_argument(napi_env env, napi_value value, const char *what, double low, double high, int64_t *result) {
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

bool bytes_argument(napi_env env, napi_value value, const char *what, char **data, size_t *length) {
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

bool doubles_argument(napi_env env, napi_value value, const char *what, double **data, size_t *length) {
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

napi_value number(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

napi_value undefined(napi_env env) {
  napi_value result;
  napi_get_undefined(env, &result);
  return result;
}

static const char *const kind_names[] = {"device", "arena", "program"};

object *add_object(napi_env env, table *t, kind kind, object *owner) {
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

object *object_argument(napi_env env, table *t, napi_value value, kind kind) {
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

void destroy_device_if_unused(table *t, object *device) {
  if (!device->released || device->children > 0) return;
  ft_pool_destroy(device->pool);
  unlink_object(t, device);
}

void destroy_program(table *t, object *program) {
  ft_program_free(program->program);
  free(program->milliseconds);
  unlink_object(t, program);
}

void destroy_arena(table *t, object *arena) {
  for (object *o = t->objects; o != NULL;) {
    object *next = o->next;
    if (o->kind == PROGRAM && o->owner == arena) destroy_program(t, o);
    o = next;
  }
  object *device = arena->owner;
  ft_io_destroy(arena->io);
  ft_memory_release(&arena->memory);
  unlink_object(t, arena);
  device->children--;
  destroy_device_if_unused(t, device);
}

/* An arena that nothing is running on. */
object *idle_arena(napi_env env, table *t, napi_value value) {
  object *arena = object_argument(env, t, value, ARENA);
  if (arena != NULL && arena->busy) {
    napi_throw_error(env, "BUSY", "a program is running in this arena: await it first");
    return NULL;
  }
  return arena;
}

ft_job *new_job(napi_env env) {
  ft_job *job = calloc(1, sizeof *job);
  if (job == NULL) napi_throw_error(env, "E_DEVICE", "out of memory");
  return job;
}

double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

table *table_of(napi_env env) {
  void *data = NULL;
  napi_get_instance_data(env, &data);
  return data;
}
