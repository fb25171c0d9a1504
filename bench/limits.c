/*
 * What this machine can do at most, measured: multiply-adds with everything in registers, and streams that read R arrays and write W.
 * Frozen: figures of different times are shares of the same limit only while this file stays as it is.
 *
 * Reads questions from standard input and answers each with one line of JSON; between questions it sleeps.
 *   fma THREADS                               → {"flopsPerSecond":…}
 *   stream R W IN_PLACE BYTES THREADS         → {"bytesPerSecond":…}   BYTES of each array; the first IN_PLACE arrays that are written are
 *                                               the first ones read. Bytes read and written both count.
 *
 * Built by support/limits.js for the machine's own instruction set (AVX-512, AVX2, NEON, else SSE2), which also checks the disassembly of
 * fma_rounds: its loop must not touch memory. A chain is a variable of its own because compilers keep arrays of accumulators on the stack.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define ISA "avx512"
#define LANES 16
#define FMA(a, b, c) ((vector)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define STORE_PAST_CACHE(p, v) _mm512_stream_ps((float *)(p), (__m512)(v))
#elif defined(__AVX2__) && defined(__FMA__)
#define ISA "avx2"
#define LANES 8
#define FMA(a, b, c) ((vector)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define STORE_PAST_CACHE(p, v) _mm256_stream_ps((float *)(p), (__m256)(v))
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#define ISA "neon"
#define LANES 4
#define FMA(a, b, c) ((vector)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define STORE_PAST_CACHE(p, v) (*(p) = (v))
#else
#define ISA "baseline"
#define LANES 4
#define FMA(a, b, c) ((a) * (b) + (c))
#define STORE_PAST_CACHE(p, v) (*(p) = (v))
#endif
typedef float vector __attribute__((vector_size(LANES * 4)));

#define MOST_THREADS 256
#define MOST_ARRAYS 6

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- multiply-adds --- */

/* Latency 4 times two units needs 8 chains; more where there are 32 registers, for up to four units. */
#define TWELVE(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11)
#if defined(__AVX512F__) || defined(__ARM_NEON)
#define EACH(do) TWELVE(do) do(12) do(13) do(14) do(15) do(16) do(17) do(18) do(19) do(20) do(21) do(22) do(23)
#define CHAINS 24
#else
#define EACH(do) TWELVE(do)
#define CHAINS 12
#endif
#if defined(__AVX512F__)
#define REGISTER "+v"
#elif defined(__x86_64__)
#define REGISTER "+x"
#else
#define REGISTER "+w"
#endif

double fma_rounds(int64_t rounds);
__attribute__((noinline)) double fma_rounds(int64_t rounds) {
  const vector zero = {0};
  const vector factor = zero + 0.999f, term = zero + 0.001f;
#define START(i) vector chain##i = zero + (float)i;
#define ADVANCE(i) chain##i = FMA(chain##i, factor, term);
#define KEEP(i) __asm__ volatile("" : REGISTER(chain##i));
  EACH(START)
  for (int64_t r = 0; r < rounds; r++) {
    EACH(ADVANCE)
    EACH(KEEP)
  }
  return (double)rounds * CHAINS * LANES * 2;
}

/* --- streams --- */

/* Written arrays get the sum of what was read: one addition per array hides behind the memory. */
static inline __attribute__((always_inline)) void stream_loop(int reads, int writes, bool past_cache, const vector *const *in, vector *const *out, int64_t count,
                                                              vector *sink) {
  vector total[4] = {{0}};
  for (int64_t i = 0; i < count; i += 4) {
    vector value[4];
    for (int u = 0; u < 4; u++) {
      value[u] = (vector){0};
      for (int r = 0; r < reads; r++) value[u] += in[r][i + u];
    }
    for (int w = 0; w < writes; w++) {
      for (int u = 0; u < 4; u++) {
        if (past_cache) STORE_PAST_CACHE(&out[w][i + u], value[u]);
        else out[w][i + u] = value[u];
      }
    }
    if (writes == 0) {
      for (int u = 0; u < 4; u++) total[u] += value[u];
    }
  }
  *sink = total[0] + total[1] + total[2] + total[3];
}

typedef void stream_function(const vector *const *in, vector *const *out, int64_t count, vector *sink);
#define STREAM(reads, writes) \
  static void stream_##reads##_##writes(const vector *const *in, vector *const *out, int64_t count, vector *sink) { stream_loop(reads, writes, false, in, out, count, sink); } \
  static void past_##reads##_##writes(const vector *const *in, vector *const *out, int64_t count, vector *sink) { stream_loop(reads, writes, true, in, out, count, sink); }
#define READS(writes) STREAM(1, writes) STREAM(2, writes) STREAM(3, writes) STREAM(4, writes) STREAM(5, writes)
READS(0) READS(1) READS(2) READS(3)
STREAM(0, 1)
#define NAMES(kind, writes) {kind##_1_##writes, kind##_2_##writes, kind##_3_##writes, kind##_4_##writes, kind##_5_##writes}
static stream_function *const streams[4][5] = {NAMES(stream, 0), NAMES(stream, 1), NAMES(stream, 2), NAMES(stream, 3)};
static stream_function *const streams_past_cache[4][5] = {NAMES(past, 0), NAMES(past, 1), NAMES(past, 2), NAMES(past, 3)};

/* --- threads: started for each trial, let go together --- */

typedef struct {
  int64_t rounds; /* of multiply-adds; 0: a stream */
  stream_function *stream;
  const vector *in[MOST_ARRAYS];
  vector *out[MOST_ARRAYS];
  int64_t count; /* vectors of each array */
  int repeats;
  double work, end;
} task;

static atomic_int waiting;
static atomic_bool go;

static void *run_task(void *context) {
  task *t = context;
  vector sink;
  if (t->stream != NULL) t->stream(t->in, t->out, t->count < 4096 ? t->count : 4096, &sink);
  atomic_fetch_add(&waiting, 1);
  while (!atomic_load_explicit(&go, memory_order_acquire)) {
  }
  if (t->stream == NULL) t->work = fma_rounds(t->rounds);
  else
    for (int i = 0; i < t->repeats; i++) t->stream(t->in, t->out, t->count, &sink);
  __asm__ volatile("" : : "r"(&sink) : "memory");
  t->end = seconds();
  return NULL;
}

/* Seconds from letting all go to the end of the last. */
static double run_together(task *tasks, int threads) {
  pthread_t ids[MOST_THREADS];
  atomic_store(&waiting, 0);
  atomic_store(&go, false);
  for (int i = 1; i < threads; i++) {
    if (pthread_create(&ids[i], NULL, run_task, &tasks[i]) != 0) exit(1);
  }
  while (atomic_load(&waiting) < threads - 1) {
  }
  const double start = seconds();
  atomic_store_explicit(&go, true, memory_order_release);
  run_task(&tasks[0]);
  double end = tasks[0].end;
  for (int i = 1; i < threads; i++) {
    pthread_join(ids[i], NULL);
    if (tasks[i].end > end) end = tasks[i].end;
  }
  return end - start;
}

#define TRIALS 3
#define TRIAL_SECONDS 0.015

static double fma_rate(int threads) {
  static task tasks[MOST_THREADS];
  static int64_t rounds = 100000;
  double best = 0;
  for (int trial = 0; trial < TRIALS; trial++) {
    for (int i = 0; i < threads; i++) tasks[i] = (task){.rounds = rounds};
    const double took = run_together(tasks, threads);
    double work = 0;
    for (int i = 0; i < threads; i++) work += tasks[i].work;
    if (work / took > best) best = work / took;
    /* The fastest rate seen decides the length: a trial that was held up must not make the next ones short. */
    const int64_t enough = (int64_t)(TRIAL_SECONDS * best / threads / (CHAINS * LANES * 2));
    if (enough > rounds) rounds = enough;
  }
  return best;
}

static char *arrays[MOST_ARRAYS];
static size_t array_bytes;

/* Arrays in huge pages, each page present, starting at different places of a page so that they do not fall into the same sets of the caches. */
static void need_arrays(size_t bytes) {
  const size_t huge = (size_t)2 << 20, room = (bytes + 3 * huge) / huge * huge;
  if (room <= array_bytes) return;
  for (int i = 0; i < MOST_ARRAYS; i++) {
    if (arrays[i] != NULL) munmap(arrays[i], array_bytes);
    arrays[i] = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arrays[i] == MAP_FAILED) exit(1);
#ifdef MADV_HUGEPAGE
    madvise(arrays[i], room, MADV_HUGEPAGE);
#endif
    memset(arrays[i], 0, room);
  }
  array_bytes = room;
}

static double stream_rate(int reads, int writes, int in_place, size_t bytes, int threads) {
  static task tasks[MOST_THREADS];
  need_arrays(bytes);
  const size_t huge = (size_t)2 << 20;
  const int64_t vectors = (int64_t)(bytes / sizeof(vector)), each = vectors / threads / 4 * 4;
  const double moved = (double)(reads + writes) * (double)each * threads * sizeof(vector);
  double best = 0;
  for (int trial = 0; trial < 2 * TRIALS; trial++) {
    const bool past_cache = trial % 2 == 1; /* faster for what no cache holds */
    if (past_cache && writes == 0) continue;
    int repeats = (int)(TRIAL_SECONDS * 20e9 / moved) + 1;
    for (int i = 0; i < threads; i++) {
      tasks[i] = (task){.stream = reads == 0 ? (past_cache ? past_0_1 : stream_0_1) : (past_cache ? streams_past_cache : streams)[writes][reads - 1], .count = each, .repeats = repeats};
      for (int a = 0; a < reads + writes; a++) {
        const int array = a < reads ? a : a - reads < in_place ? a - reads : a - in_place;
        char *base = arrays[array];
        base += (huge - ((uintptr_t)base & (huge - 1))) % huge + (size_t)array * 4160;
        vector *start = (vector *)base + each * i;
        if (a < reads) tasks[i].in[a] = start;
        else tasks[i].out[a - reads] = start;
      }
    }
    const double rate = moved * repeats / run_together(tasks, threads);
    if (rate > best) best = rate;
  }
  return best;
}

int main(void) {
  char line[200];
  printf("{\"ready\":true,\"isa\":\"%s\"}\n", ISA);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) != NULL) {
    int threads, reads, writes, in_place;
    unsigned long long bytes;
    if (sscanf(line, "fma %d", &threads) == 1 && threads >= 1 && threads <= MOST_THREADS) {
      printf("{\"flopsPerSecond\":%.6e}\n", fma_rate(threads));
    } else if (sscanf(line, "stream %d %d %d %llu %d", &reads, &writes, &in_place, &bytes, &threads) == 5 && threads >= 1 && threads <= MOST_THREADS && reads >= 0 &&
               reads <= 5 && writes >= 0 && writes <= 3 && in_place <= writes && in_place <= reads && reads + writes - in_place <= MOST_ARRAYS && (reads > 0 || writes == 1)) {
      printf("{\"bytesPerSecond\":%.6e}\n", stream_rate(reads, writes, in_place, (size_t)bytes, threads));
    } else {
      printf("{\"error\":\"what is asked is not understood\"}\n");
    }
    fflush(stdout);
  }
  return 0;
}
