/* The native module as JavaScript sees it: its functions (typed in src/devices/cpu/native.ts), and its end. */
#define _GNU_SOURCE
#include "binding.h"

#include <stdlib.h>

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
      {"attachFile", js_attach_file},
      {"readFile", js_read_file},
      {"writeFile", js_write_file},
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
