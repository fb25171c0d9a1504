/* Detects the processor's instruction sets: the CPUID bits, and XGETBV for whether the system saves the wide registers. */
#include "target.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define DECLARE(name)                                 \
  extern const ft_entry *const kernels_##name[];      \
  extern double peak_##name(int64_t rounds);

#if defined(__x86_64__)
DECLARE(baseline)
DECLARE(avx2)
DECLARE(avx512)

static uint64_t enabled_registers(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((uint64_t)high << 32) | low;
}

static void detect(bool *avx2, bool *avx512) {
  uint32_t a, b, c, d;
  *avx2 = *avx512 = false;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return;
  const uint32_t fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
  const uint32_t wanted = fma | osxsave | avx | f16c;
  if ((c & wanted) != wanted) return;
  const uint64_t saved = enabled_registers();
  if ((saved & 0x6) != 0x6) return; /* SSE and AVX state */
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
  *avx2 = (b & (1u << 5)) != 0;
  const uint32_t f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
  *avx512 = *avx2 && (b & (f | dq | bw | vl)) == (f | dq | bw | vl) && (saved & 0xe6) == 0xe6; /* opmask and ZMM state too */
}

static ft_target targets[] = {
    {"baseline", true, kernels_baseline, peak_baseline},
    {"avx2", false, kernels_avx2, peak_avx2},
    {"avx512", false, kernels_avx512, peak_avx512},
};
#elif defined(__aarch64__)
DECLARE(neon)
static ft_target targets[] = {{"neon", true, kernels_neon, peak_neon}};
#else
#error "fulltune has kernels for x86-64 and aarch64"
#endif

const ft_target *ft_targets(int *count) {
  *count = (int)(sizeof targets / sizeof targets[0]);
#if defined(__x86_64__)
  detect(&targets[1].supported, &targets[2].supported);
#endif
  return targets;
}

const ft_entry *ft_find_kernel(const ft_target *target, const char *op) {
  for (const ft_entry *const *table = target->kernels; *table != NULL; table++) {
    for (const ft_entry *entry = *table; entry->op != NULL; entry++) {
      if (strcmp(entry->op, op) == 0) return entry;
    }
  }
  return NULL;
}
