/* Devices: a target and a pool of threads. */
#define _GNU_SOURCE
#include "binding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "signatures.h"

/* targets(): [{name, supported}], from the plainest to the best */
napi_value js_targets(napi_env env, napi_callback_info info) {
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
napi_value js_signatures(napi_env env, napi_callback_info info) {
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
napi_value js_create_device(napi_env env, napi_callback_info info) {
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
napi_value js_destroy_device(napi_env env, napi_callback_info info) {
  napi_value args[1];
  table *t = arguments(env, info, 1, args);
  object *device = object_argument(env, t, args[0], DEVICE);
  if (device == NULL) return NULL;
  device->released = true;
  destroy_device_if_unused(t, device);
  return undefined(env);
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

#define PEAK_SECONDS 0.15
#define PEAK_TRIAL_SECONDS 0.01

/*
 * The best of the trials that fit in PEAK_SECONDS, for others may be using the cores. The best rate so far decides how long the next
 * trial is: one that was slow because a thread was still waking up must not make the others too short to see all threads at work.
 */
static void peak_work(ft_job *job) {
  const object *device = job->subject;
  peak_loop *loop = calloc(1, sizeof *loop);
  if (loop == NULL) return;
  if (!ft_pool_begin(device->pool, &job->state)) {
    free(loop);
    return;
  }
  loop->target = device->target;
  loop->rounds = 20000;
  const int threads = ft_threads(device->pool);
  const double begin = seconds_now();
  do {
    const double start = seconds_now();
    ft_parallel(device->pool, threads, peak_task, loop);
    const double seconds = seconds_now() - start;
    double flops = 0;
    for (int i = 0; i < threads; i++) flops += loop->flops[i];
    job->number = fmax(job->number, flops / seconds);
    loop->rounds = (int64_t)fmax(20000, (double)loop->rounds * PEAK_TRIAL_SECONDS * job->number / flops);
  } while (seconds_now() - begin < PEAK_SECONDS && (atomic_load(&job->state) & 1) == 0);
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

/* measurePeak(device): Promise<FLOPs per second> */
napi_value js_measure_peak(napi_env env, napi_callback_info info) {
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
