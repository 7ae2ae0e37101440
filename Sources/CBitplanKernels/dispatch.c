#if defined(__linux__)
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "internal.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

// Which kernels this CPU can run: one table, looked up once by the caller and then passed on.

#if defined(__x86_64__) && defined(__linux__)
/// Asks the operating system to save the tile registers of this process's threads
/// (Documentation/arch/x86/xstate.rst of the Linux kernel); asking again is harmless.
static int tiles_permitted(void) {
  const long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#endif

#if defined(__x86_64__)
/// AVX-VNNI: bit 4 of eax of cpuid's leaf 7, subleaf 1 (Intel's manual, volume 2, CPUID). Its
/// registers are those of AVX2.
static int has_avxvnni(void) {
#if defined(BP_AVXVNNI_AS_AVX512)
  return bp_isa_supported(BP_ISA_AVX512VNNI);
#else
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  // Subleaf 0 says in eax which subleaves there are.
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || eax < 1) return 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4) % 2 == 1;
#endif
}
#endif

#if defined(__aarch64__)
/// Extensions of NEON.
typedef enum { EXTENSION_DOTPROD, EXTENSION_I8MM } extension;

/// Whether the operating system reports the extension; unknown systems report none.
static int has_extension(extension which) {
#if defined(__linux__)
  // HWCAP_ASIMDDP and HWCAP2_I8MM (Documentation/arch/arm64/elf_hwcaps.rst of the Linux kernel).
  return which == EXTENSION_DOTPROD ? (getauxval(AT_HWCAP) >> 20) % 2 == 1
                                    : (getauxval(AT_HWCAP2) >> 13) % 2 == 1;
#elif defined(__APPLE__)
  int value = 0;
  size_t size = sizeof value;
  const char *name = which == EXTENSION_DOTPROD ? "hw.optional.arm.FEAT_DotProd"
                                                : "hw.optional.arm.FEAT_I8MM";
  return sysctlbyname(name, &value, &size, NULL, 0) == 0 && value != 0;
#else
  (void)which;
  return 0;
#endif
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
    case BP_ISA_AVXVNNI:
      return bp_isa_supported(BP_ISA_AVX2) && has_avxvnni();
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
#if defined(__aarch64__)
    case BP_ISA_NEON_DOTPROD:
      return has_extension(EXTENSION_DOTPROD);
    case BP_ISA_NEON_I8MM:
      return bp_isa_supported(BP_ISA_NEON_DOTPROD) && has_extension(EXTENSION_I8MM);
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
    case BP_ISA_AVXVNNI:
      return &bp_kernels_avxvnni;
    case BP_ISA_AVX512VNNI:
      return &bp_kernels_avx512vnni;
#endif
#if defined(__x86_64__) && defined(__linux__)
    case BP_ISA_AVX512AMX:
      return &bp_kernels_avx512amx;
#endif
#if defined(__aarch64__)
    case BP_ISA_NEON_DOTPROD:
      return &bp_kernels_neon_dotprod;
    case BP_ISA_NEON_I8MM:
      return &bp_kernels_neon_i8mm;
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
#if defined(__aarch64__)
    // Every 64-bit Arm CPU has NEON, so the compiler has used it already.
    case BP_ISA_NEON_DOTPROD:
    case BP_ISA_NEON_I8MM:
      return &bp_vector_operations_scalar;
#endif
#if defined(__x86_64__)
    case BP_ISA_AVX2:
    case BP_ISA_AVXVNNI:
      return &bp_vector_operations_avx2;
    case BP_ISA_AVX512VNNI:
    case BP_ISA_AVX512AMX:
      return &bp_vector_operations_avx512vnni;
#endif
    default:
      return NULL;
  }
}
