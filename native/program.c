/* Decoding trusts nothing: a wrong program gets a message that names the instruction, never a wild pointer. */
#define _GNU_SOURCE
#include "program.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "convert.h"
#include "io.h"
#include "pool.h"
#include "signatures.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1 /* what gcc defines by itself */
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#define ALIGNMENT 64
#define MAX_EXACT 9007199254740992.0 /* 2^53 */

typedef struct {
  ft_call call;
  const ft_entry *entry;
} instruction;

struct ft_program {
  instruction *instructions;
  ft_tensor *tensors;
  double *attrs;
  double *nanoseconds;
  char *arena;
  int64_t arena_bytes;
  struct ft_io *io;
  int64_t length;
  int64_t commit;
  _Atomic int64_t progress;
};

typedef struct {
  const double *code;
  int64_t length;
  int64_t at;
  char *message;
  char where[96];
  bool failed;
} reader;

#define FAIL(r, ...)                                                         \
  do {                                                                       \
    if (!(r)->failed) {                                                      \
      const int used = snprintf((r)->message, FT_MESSAGE, "%s", (r)->where); \
      snprintf((r)->message + used, (size_t)(FT_MESSAGE - used), __VA_ARGS__); \
      (r)->failed = true;                                                    \
    }                                                                        \
  } while (0)

static double next_number(reader *r) {
  if (r->at >= r->length) {
    FAIL(r, "the encoded program ends too early");
    return 0;
  }
  return r->code[r->at++];
}

/* A whole number in [low, high]. */
static int64_t next_integer(reader *r, const char *what, int64_t low, int64_t high) {
  const double value = next_number(r);
  if (!(value >= (double)low && value <= (double)high && value == floor(value))) {
    FAIL(r, "%s is %.17g, not a whole number from %lld to %lld", what, value, (long long)low, (long long)high);
    return low;
  }
  return (int64_t)value;
}

static void read_tensor(reader *r, ft_tensor *tensor, char *arena, int64_t arena_bytes) {
  tensor->dtype = (int32_t)next_integer(r, "a dtype", FT_F32, FT_U8);
  tensor->rank = (int32_t)next_integer(r, "a rank", 0, 4);
  double bytes = ft_dtype_bytes(tensor->dtype);
  tensor->count = 1;
  for (int32_t axis = 0; axis < tensor->rank; axis++) {
    tensor->shape[axis] = next_integer(r, "a size", 1, (int64_t)1 << 48);
    bytes *= (double)tensor->shape[axis];
    if (bytes > MAX_EXACT) FAIL(r, "a tensor of %.3g bytes", bytes);
    if (r->failed) return;
    tensor->count *= tensor->shape[axis];
  }
  const int64_t offset = next_integer(r, "an offset", 0, (int64_t)1 << 52);
  if (r->failed) return;
  if (offset % ALIGNMENT != 0) FAIL(r, "offset %lld is not a multiple of %d", (long long)offset, ALIGNMENT);
  if ((double)offset + bytes > (double)arena_bytes) {
    FAIL(r, "bytes %lld … %.0f lie outside the arena of %lld", (long long)offset, (double)offset + bytes, (long long)arena_bytes);
  }
  if (!r->failed) tensor->data = arena == NULL ? NULL : arena + offset;
}

/* Ops that move values between arena and file: there must be one, and it must hold what they move. */
static void check_file(reader *r, const ft_call *call, const char *op, const struct ft_io *io) {
  const bool reads = strcmp(op, "offload_read") == 0, writes = strcmp(op, "offload_write") == 0;
  if (strncmp(op, "offload_", 8) != 0) return;
  if (io == NULL) {
    FAIL(r, "it moves a value to or from a file, and the arena has none");
    return;
  }
  if (!reads && !writes) return;
  const ft_tensor *moved = reads ? &call->out[0] : &call->in[0];
  const double at = call->attrs[0], bytes = (double)(moved->count * ft_dtype_bytes(moved->dtype)), end = (double)ft_io_bytes(io);
  if (!(at >= 0 && at == floor(at) && at + bytes <= end)) FAIL(r, "bytes %.17g … %.17g lie outside the file of %.0f", at, at + bytes, end);
}

static void read_instruction(reader *r, ft_program *program, int64_t index, const char *const *names, int64_t name_count,
                             const ft_target *target, int threads, char *arena, int64_t arena_bytes, int64_t *tensors, int64_t *attrs) {
  instruction *one = &program->instructions[index];
  snprintf(r->where, sizeof r->where, "instruction %lld: ", (long long)index);
  if (name_count < 1) FAIL(r, "the program has no op names");
  const char *op = names[next_integer(r, "the op's index", 0, name_count - 1)];
  if (r->failed) return;
  snprintf(r->where, sizeof r->where, "instruction %lld (%.40s): ", (long long)index, op);
  one->entry = ft_find_kernel(target, op);
  const ft_signature *signature = ft_find_signature(op);
  if (one->entry == NULL || signature == NULL) {
    FAIL(r, "the cpu has no kernel for op '%.60s'", op);
    return;
  }
  ft_call *call = &one->call;
  int64_t least, most;
  ft_tensor_range(signature->inputs, &least, &most);
  call->n_in = (int32_t)next_integer(r, "the number of inputs", least, most);
  ft_tensor_range(signature->outputs, &least, &most);
  call->n_out = (int32_t)next_integer(r, "the number of outputs", least, most);
  const int wanted = ft_attr_count(signature);
  next_integer(r, "the number of attributes", wanted, wanted);
  const int64_t workspace_offset = next_integer(r, "the workspace offset", 0, (int64_t)1 << 52);
  call->workspace_bytes = next_integer(r, "the workspace size", 0, (int64_t)1 << 52);
  if (r->failed) return;
  if (workspace_offset % ALIGNMENT != 0) FAIL(r, "workspace offset %lld is not a multiple of %d", (long long)workspace_offset, ALIGNMENT);
  if (call->workspace_bytes > 0 && workspace_offset + call->workspace_bytes > arena_bytes) {
    FAIL(r, "its workspace ends at byte %lld of an arena of %lld", (long long)(workspace_offset + call->workspace_bytes), (long long)arena_bytes);
  }
  call->workspace = arena == NULL ? NULL : arena + (call->workspace_bytes > 0 ? workspace_offset : 0);
  call->in = program->tensors + *tensors;
  call->out = call->in + call->n_in;
  int activation = -1; /* dtype of the activations before */
  for (int32_t i = 0; i < call->n_in + call->n_out && !r->failed; i++) {
    ft_tensor *tensor = &program->tensors[(*tensors)++];
    read_tensor(r, tensor, arena, arena_bytes);
    const bool is_input = i < call->n_in;
    const int32_t index = is_input ? i : i - call->n_in;
    const char *const letters = is_input ? signature->inputs : signature->outputs, *const side = is_input ? "input" : "output";
    static const char *const dtypes[] = {"f32", "bf16", "f16", "i32", "u8"};
    if (!ft_takes_dtype(letters, index, tensor->dtype)) {
      FAIL(r, "%s %d is %s, which the kernel does not take", side, index, dtypes[tensor->dtype]);
    } else if (ft_is_activation(letters, index)) {
      if (activation >= 0 && tensor->dtype != activation) {
        FAIL(r, "%s %d is %s and another activation %s: the kernel takes one type", side, index, dtypes[tensor->dtype], dtypes[activation]);
      }
      activation = tensor->dtype;
    }
  }
  call->attrs = program->attrs + *attrs;
  for (int i = 0; i < wanted && !r->failed; i++) program->attrs[(*attrs)++] = next_number(r);
  if (r->failed || arena == NULL) return;
  check_file(r, call, op, program->io);
  call->io = program->io;
  if (one->entry->workspace == NULL) return;
  const int64_t needed = one->entry->workspace(call, threads);
  if (needed > call->workspace_bytes) {
    FAIL(r, "it needs %lld bytes of workspace with %d threads and the plan gives %lld", (long long)needed, threads, (long long)call->workspace_bytes);
  }
}

ft_program *ft_program_load(const double *code, int64_t length, const char *const *names, int64_t name_count, const ft_target *target,
                            int threads, char *arena, int64_t arena_bytes, struct ft_io *io, char message[FT_MESSAGE]) {
  reader r = {.code = code, .length = length, .message = message};
  next_integer(&r, "the version", 1, 1);
  const int64_t needed = next_integer(&r, "the arena size", 0, (int64_t)1 << 52);
  if (arena != NULL && needed > arena_bytes) {
    FAIL(&r, "the program needs an arena of %lld bytes, this one has %lld", (long long)needed, (long long)arena_bytes);
  }
  const int64_t commit = next_integer(&r, "the commit index", 0, length);
  const int64_t count = next_integer(&r, "the number of instructions", 0, length);
  if (!r.failed && commit > count) FAIL(&r, "commit index %lld of %lld instructions", (long long)commit, (long long)count);
  if (r.failed) return NULL;

  ft_program *program = calloc(1, sizeof *program);
  if (program == NULL) {
    FAIL(&r, "out of memory");
    return NULL;
  }
  program->arena = arena;
  program->arena_bytes = arena_bytes;
  program->io = io;
  program->length = count;
  program->commit = commit;
  /* A tensor takes at least three numbers of code, an attribute one: `length` bounds both. */
  program->instructions = calloc((size_t)count + 1, sizeof *program->instructions);
  program->tensors = calloc((size_t)(length / 3) + 1, sizeof *program->tensors);
  program->attrs = calloc((size_t)length + 1, sizeof *program->attrs);
  program->nanoseconds = calloc((size_t)count + 1, sizeof *program->nanoseconds);
  if (!program->instructions || !program->tensors || !program->attrs || !program->nanoseconds) FAIL(&r, "out of memory");

  int64_t tensors = 0, attrs = 0;
  for (int64_t i = 0; i < count && !r.failed; i++) {
    read_instruction(&r, program, i, names, name_count, target, threads, arena, arena == NULL ? (int64_t)1 << 52 : arena_bytes, &tensors, &attrs);
  }
  r.where[0] = '\0';
  if (r.at != length) FAIL(&r, "%lld numbers too many in the encoded program", (long long)(length - r.at));
  if (r.failed) {
    ft_program_free(program);
    return NULL;
  }
  return program;
}

void ft_program_free(ft_program *program) {
  if (program == NULL) return;
  free(program->instructions);
  free(program->tensors);
  free(program->attrs);
  free(program->nanoseconds);
  free(program);
}

static double now_nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* In sanitizer builds, a kernel that touches a byte of the arena which is neither operand nor workspace of its instruction is caught. */
static void fence(const ft_program *program, const ft_call *call) {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_POISON_MEMORY_REGION(program->arena, (size_t)program->arena_bytes);
  for (int32_t i = 0; i < call->n_in + call->n_out; i++) {
    ASAN_UNPOISON_MEMORY_REGION(call->in[i].data, (size_t)(call->in[i].count * ft_dtype_bytes(call->in[i].dtype)));
  }
  ASAN_UNPOISON_MEMORY_REGION(call->workspace, (size_t)call->workspace_bytes);
#else
  (void)program;
  (void)call;
#endif
}

static void unfence(const ft_program *program) {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(program->arena, (size_t)program->arena_bytes);
#else
  (void)program;
#endif
}

/* A transfer that failed ends the run: nothing that follows would have its values. */
static bool file_failed(const ft_program *program) { return program->io != NULL && ft_io_failed(program->io); }

static bool run_instructions(ft_program *program, struct ft_pool *pool, atomic_int *state) {
  memset(program->nanoseconds, 0, (size_t)program->length * sizeof *program->nanoseconds);
  atomic_store(&program->progress, 0);
  double before = now_nanoseconds();
  for (int64_t i = 0; i <= program->length; i++) {
    if (i == program->commit) {
      if (program->io != NULL) ft_io_drain(program->io); /* nothing is changed before all that was begun is known to have worked */
      if (file_failed(program)) return false;
      int running = FT_STATE_RUNNING;
      if (!atomic_compare_exchange_strong(state, &running, FT_STATE_COMMITTED)) return false;
    }
    if ((atomic_load(state) & 1) != 0 || file_failed(program)) return false;
    if (i == program->length) break;
    instruction *one = &program->instructions[i];
    one->call.pool = pool;
    fence(program, &one->call);
    one->entry->run(&one->call);
    unfence(program);
    const double after = now_nanoseconds();
    program->nanoseconds[i] = after - before;
    before = after;
    atomic_store_explicit(&program->progress, i + 1, memory_order_relaxed);
  }
  return true;
}

bool ft_program_run(ft_program *program, struct ft_pool *pool, atomic_int *state) {
  const bool completed = run_instructions(program, pool, state);
  if (program->io == NULL) return completed;
  ft_io_drain(program->io);
  return completed && !ft_io_failed(program->io);
}

int64_t ft_program_length(const ft_program *program) { return program->length; }

int64_t ft_program_progress(const ft_program *program) { return atomic_load(&program->progress); }

const double *ft_program_nanoseconds(const ft_program *program) { return program->nanoseconds; }

int64_t ft_program_workspace(const ft_program *program, int64_t index, int threads) {
  const instruction *one = &program->instructions[index];
  return one->entry->workspace == NULL ? 0 : one->entry->workspace(&one->call, threads);
}
