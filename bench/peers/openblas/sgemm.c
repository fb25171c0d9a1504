/*
 * OpenBLAS's sgemm on the three products of a linear layer, as bench/kernels.js asks for them: questions from standard input, one line of JSON
 * each. `LAYOUT TOKENS N K REPEATS` → {"ms":…} of one call. Argument: threads. Matrices are row-major, as in the models.
 */
#include <cblas.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern char *openblas_get_config(void);
extern char *openblas_get_corename(void);
extern void openblas_set_num_threads(int);

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

typedef struct { float *data; size_t count; } matrix;

static float *room(matrix *m, size_t count) {
  if (m->count < count) {
    free(m->data);
    m->data = aligned_alloc(64, (count * 4 + 63) / 64 * 64);
    if (m->data == NULL) exit(1);
    m->count = count;
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
      state = state * 1664525u + 1013904223u;
      m->data[i] = (float)(int32_t)state / 2147483648.0f;
    }
  }
  return m->data;
}

int main(int argc, char **argv) {
  static matrix x, w, y;
  openblas_set_num_threads(argc > 1 ? atoi(argv[1]) : 1);
  char version[40] = "";
  sscanf(openblas_get_config(), "OpenBLAS %39s", version);
  printf("{\"ready\":true,\"version\":\"%s\",\"kernel\":\"%s\"}\n", version, openblas_get_corename());
  fflush(stdout);
  char line[200], layout[3];
  int tokens, n, k, repeats;
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (sscanf(line, "%2s %d %d %d %d", layout, &tokens, &n, &k, &repeats) != 5) {
      printf("{\"error\":\"what is asked is not understood\"}\n");
      fflush(stdout);
      continue;
    }
    float *X = room(&x, (size_t)tokens * (size_t)k), *W = room(&w, (size_t)n * (size_t)k), *Y = room(&y, (size_t)tokens * (size_t)n);
    double start = 0;
    for (int i = -1; i < repeats; i++) {
      if (i == 0) start = seconds();
      if (strcmp(layout, "nt") == 0) cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, tokens, n, k, 1, X, k, W, k, 0, Y, n);
      else if (strcmp(layout, "nn") == 0) cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, tokens, k, n, 1, Y, n, W, k, 0, X, k);
      else cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n, k, tokens, 1, Y, n, X, k, 0, W, k);
    }
    printf("{\"ms\":%.6f}\n", (seconds() - start) * 1000 / repeats);
    fflush(stdout);
  }
  return 0;
}
