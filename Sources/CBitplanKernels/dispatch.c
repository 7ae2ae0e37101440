#include "internal.h"

// Which kernels this CPU can run: one table, looked up once by the caller and then passed on.

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
      return &bp_vector_operations_avx512vnni;
#endif
    default:
      return NULL;
  }
}
