/* Arenas: allocated on a thread of their own, then read, written and converted, and the file that they may have. */
#define _GNU_SOURCE
#include "binding.h"

#include <stdlib.h>
#include <string.h>

#include "convert.h"
#include "pool.h"

static void allocate_work(ft_job *job) {
  object *arena = job->subject;
  struct ft_pool *pool = arena->owner->pool;
  ft_memory_trim();
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
napi_value js_allocate(napi_env env, napi_callback_info info) {
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

napi_value js_free_arena(napi_env env, napi_callback_info info) {
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

napi_value js_read(napi_env env, napi_callback_info info) { return transfer(env, info, false); }

napi_value js_write(napi_env env, napi_callback_info info) { return transfer(env, info, true); }

/* fill(arena, offset, length, byte) */
napi_value js_fill(napi_env env, napi_callback_info info) {
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

napi_value js_write_converted(napi_env env, napi_callback_info info) { return transfer_converted(env, info, true); }

napi_value js_read_converted(napi_env env, napi_callback_info info) { return transfer_converted(env, info, false); }

/* attachFile(arena, path, bytes) */
napi_value js_attach_file(napi_env env, napi_callback_info info) {
  napi_value args[3];
  table *t = arguments(env, info, 3, args);
  object *arena = idle_arena(env, t, args[0]);
  static const size_t longest = 4096;
  char path[4096];
  size_t length = 0;
  int64_t bytes;
  if (arena == NULL || !integer_argument(env, args[2], "the size of the file", 1, 4503599627370496.0, &bytes)) return NULL;
  if (napi_get_value_string_utf8(env, args[1], NULL, 0, &length) != napi_ok || length >= longest ||
      napi_get_value_string_utf8(env, args[1], path, longest, &length) != napi_ok) {
    napi_throw_type_error(env, NULL, "the path must be a string of less than 4096 bytes");
    return NULL;
  }
  if (arena->io != NULL) {
    napi_throw_error(env, NULL, "the arena has a file already");
    return NULL;
  }
  char message[FT_IO_MESSAGE];
  arena->io = ft_io_create(path, bytes, message);
  if (arena->io == NULL) napi_throw_error(env, "E_FILE", message);
  return undefined(env);
}

/* readFile(arena, at, to) and writeFile(arena, at, from) */
static napi_value transfer_file(napi_env env, napi_callback_info info, bool to_file) {
  napi_value args[3];
  table *t = arguments(env, info, 3, args);
  object *arena = idle_arena(env, t, args[0]);
  char *bytes;
  size_t length;
  int64_t at;
  if (arena == NULL || !bytes_argument(env, args[2], "the data", &bytes, &length)) return NULL;
  const int64_t end = arena->io == NULL ? 0 : ft_io_bytes(arena->io);
  if (!integer_argument(env, args[1], "the place in the file", 0, (double)end, &at)) return NULL;
  if ((double)at + (double)length > (double)end) {
    char text[160];
    snprintf(text, sizeof text, "bytes %lld … %.0f lie outside the file of %lld bytes", (long long)at, (double)at + (double)length, (long long)end);
    napi_throw_range_error(env, NULL, text);
    return NULL;
  }
  char message[FT_IO_MESSAGE];
  if (length == 0 || (to_file ? ft_io_write_now(arena->io, bytes, (int64_t)length, at, message) : ft_io_read_now(arena->io, bytes, (int64_t)length, at, message))) {
    return undefined(env);
  }
  napi_throw_error(env, "E_FILE", message);
  return NULL;
}

napi_value js_read_file(napi_env env, napi_callback_info info) { return transfer_file(env, info, false); }

napi_value js_write_file(napi_env env, napi_callback_info info) { return transfer_file(env, info, true); }
