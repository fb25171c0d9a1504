/* The kernels of every family and target, for programs that run more than products and attention. */
#ifndef FULLTUNE_TESTING_TABLES_H
#define FULLTUNE_TESTING_TABLES_H

#include "testing.h"

#define EACH_FAMILY(do, target)                                                                                                            \
  do(norm, target) do(pointwise, target) do(optimizer, target) do(optimizer_adafactor, target) do(optimizer_8bit, target)                 \
  do(rotary, target) do(embedding, target) do(movement, target) do(loss, target) do(linear_loss, target) do(matmul, target) do(attention, target)
#define FAMILIES 12
#define DECLARE_TABLE(family, target) extern const ft_entry family##_entries_##target[];
#define TABLE_OF(family, target) family##_entries_##target,
#define DECLARE_TABLES(target) EACH_FAMILY(DECLARE_TABLE, target)
#define TABLES(target) {EACH_FAMILY(TABLE_OF, target)}

/* FOR_EACH_TARGET(do): do(name, whether this processor runs it) */
#if defined(__x86_64__)
DECLARE_TABLES(baseline)
DECLARE_TABLES(avx2)
DECLARE_TABLES(avx512)
#define FOR_EACH_TARGET(do) do(baseline, true), do(avx2, test_has(TEST_AVX2)), do(avx512, test_has(TEST_AVX512))
#else
DECLARE_TABLES(neon)
#define FOR_EACH_TARGET(do) do(neon, true)
#endif

static inline const ft_entry *table_entry(const ft_entry *const *tables, const char *op) {
  for (int i = 0; i < FAMILIES; i++) {
    for (const ft_entry *e = tables[i]; e->op != NULL; e++) {
      if (strcmp(e->op, op) == 0) return e;
    }
  }
  abort();
}

#endif
