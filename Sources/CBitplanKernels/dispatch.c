#if defined(__linux__)
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "internal.h"

// Which kernels this CPU can run: one table, looked up once by the caller and then passed on.

#if defined(__x86_64__) && defined(__linux__)
/// Asks the operating system to save the tile registers of this process's threads
/// (Documentation/arch/x86/xstate.rst of the Linux kernel); asking again is harmless.
static int tiles_permitted(void) {
  const long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#endif

int bp_isa_supported(bp_isa isa) {
  switch (isa) {
    case BP_ISA_SCALAR:
      return 1;
#if defined(__x86_64__)
    // The compiler's runtime reads cpuid and, by xgetbv, whether the operating system saves the
    // registers.
    case BP_ISA_AVX2:
      __builtin_cpu_init();
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
          && __builtin_cpu_supports("f16c");
    case BP_ISA_AVX512VNNI:
      __builtin_cpu_init();
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
          && __builtin_cpu_supports("f16c") && __builtin_cpu_supports("avx512f")
          && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
          && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#endif
#if defined(__x86_64__) && defined(__linux__)
    case BP_ISA_AVX512AMX:
      return bp_isa_supported(BP_ISA_AVX512VNNI) && __builtin_cpu_supports("amx-tile")
          && __builtin_cpu_supports("amx-int8") && tiles_permitted();
#endif
    default:
      return 0;
  }
}

const bp_kernels *bp_kernels_for(bp_isa isa) {
  if (!bp_isa_supported(isa)) return NULL;
  switch (isa) {
    case BP_ISA_SCALAR:
      return &bp_kernels_scalar;
#if defined(__x86_64__)
    case BP_ISA_AVX2:
      return &bp_kernels_avx2;
    case BP_ISA_AVX512VNNI:
      return &bp_kernels_avx512vnni;
#endif
#if defined(__x86_64__) && defined(__linux__)
    case BP_ISA_AVX512AMX:
      return &bp_kernels_avx512amx;
#endif
    default:
      return NULL;
  }
}

const bp_vector_operations *bp_vector_operations_for(bp_isa isa) {
  if (!bp_isa_supported(isa)) return NULL;
  switch (isa) {
    case BP_ISA_SCALAR:
      return &bp_vector_operations_scalar;
#if defined(__x86_64__)
    case BP_ISA_AVX2:
      return &bp_vector_operations_avx2;
    case BP_ISA_AVX512VNNI:
    case BP_ISA_AVX512AMX:
      return &bp_vector_operations_avx512vnni;
#endif
    default:
      return NULL;
  }
}
