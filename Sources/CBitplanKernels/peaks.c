#include "bitplan_kernels.h"
#include "bitplan_peaks.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include "peaks_neon.h"
#endif

bp_peak_isa bp_peak_best_isa(void) {
#if defined(__x86_64__)
  if (bp_isa_supported(BP_ISA_AVX512VNNI)) return BP_PEAK_AVX512VNNI;
  if (bp_isa_supported(BP_ISA_AVXVNNI)) return BP_PEAK_AVXVNNI;
  if (bp_isa_supported(BP_ISA_AVX2)) return BP_PEAK_AVX2;
#elif defined(__aarch64__)
  if (bp_isa_supported(BP_ISA_NEON_I8MM)) return BP_PEAK_NEON_I8MM;
  if (bp_isa_supported(BP_ISA_NEON_DOTPROD)) return BP_PEAK_NEON_DOTPROD;
  return BP_PEAK_NEON;
#endif
  return BP_PEAK_SCALAR;
}

// The loops are told apart from dead code by returning a value that depends on every register.

static uint64_t read_scalar(const uint64_t *data, size_t words) {
  uint64_t sum[8] = {0};
  for (size_t i = 0; i + 8 <= words; i += 8) {
    for (int k = 0; k < 8; k++) sum[k] ^= data[i + k];
  }
  uint64_t all = 0;
  for (int k = 0; k < 8; k++) all ^= sum[k];
  return all;
}

static int32_t int8_scalar(int64_t iterations, int64_t *multiply_adds) {
  int32_t acc[16] = {0};
  int8_t a[16];
  for (int k = 0; k < 16; k++) a[k] = (int8_t)(k + 1);
  for (int64_t i = 0; i < iterations; i++) {
    int8_t b = (int8_t)i;
    for (int k = 0; k < 16; k++) acc[k] += a[k] * b;
    __asm__ volatile("" ::: "memory");
  }
  *multiply_adds = iterations * 16;
  int32_t all = 0;
  for (int k = 0; k < 16; k++) all += acc[k];
  return all;
}

static float float_scalar(int64_t iterations, int64_t *multiply_adds) {
  float acc[16] = {0};
  for (int64_t i = 0; i < iterations; i++) {
    for (int k = 0; k < 16; k++) acc[k] = acc[k] * 0.999f + 1.0f;
    __asm__ volatile("" ::: "memory");
  }
  *multiply_adds = iterations * 16;
  float all = 0;
  for (int k = 0; k < 16; k++) all += acc[k];
  return all;
}

#if defined(__x86_64__)

#define KEEP(x) __asm__ volatile("" : "+v"(x))

__attribute__((target("avx2,fma"))) static uint64_t read_avx2(const __m256i *data, size_t count) {
  __m256i s[8];
  for (int k = 0; k < 8; k++) s[k] = _mm256_setzero_si256();
  for (size_t i = 0; i + 16 <= count; i += 16) {
    _mm_prefetch((const char *)(data + i) + 2048, _MM_HINT_T0);
    for (int k = 0; k < 16; k++) s[k & 7] = _mm256_xor_si256(s[k & 7], _mm256_load_si256(data + i + k));
  }
  for (int k = 1; k < 8; k++) s[0] = _mm256_xor_si256(s[0], s[k]);
  return (uint64_t)_mm256_extract_epi64(s[0], 0) ^ (uint64_t)_mm256_extract_epi64(s[0], 3);
}

__attribute__((target("avx2,fma"))) static int32_t int8_avx2(int64_t n, int64_t *multiply_adds) {
  __m256i acc[8], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(2), one = _mm256_set1_epi16(1);
  for (int k = 0; k < 8; k++) acc[k] = _mm256_setzero_si256();
  for (int64_t i = 0; i < n; i++) {
    KEEP(a);
    for (int k = 0; k < 8; k++) {
      __m256i pairs = _mm256_maddubs_epi16(a, _mm256_xor_si256(b, acc[k]));
      acc[k] = _mm256_add_epi32(acc[k], _mm256_madd_epi16(pairs, one));
    }
  }
  for (int k = 1; k < 8; k++) acc[0] = _mm256_add_epi32(acc[0], acc[k]);
  *multiply_adds = n * 8 * 32;
  return _mm256_extract_epi32(acc[0], 0);
}

__attribute__((target("avx2,avxvnni"))) static int32_t int8_avxvnni(
    int64_t n, int64_t *multiply_adds) {
  __m256i acc[12], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(2);
  for (int k = 0; k < 12; k++) acc[k] = _mm256_setzero_si256();
  for (int64_t i = 0; i < n; i++) {
    KEEP(a);
    for (int k = 0; k < 12; k++) acc[k] = _mm256_dpbusd_avx_epi32(acc[k], a, b);
  }
  for (int k = 1; k < 12; k++) acc[0] = _mm256_add_epi32(acc[0], acc[k]);
  *multiply_adds = n * 12 * 32;
  return _mm256_extract_epi32(acc[0], 0);
}

__attribute__((target("avx2,fma"))) static float float_avx2(int64_t n, int64_t *multiply_adds) {
  __m256 acc[12], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(1.0f);
  for (int k = 0; k < 12; k++) acc[k] = _mm256_setzero_ps();
  for (int64_t i = 0; i < n; i++) {
    KEEP(a);
    for (int k = 0; k < 12; k++) acc[k] = _mm256_fmadd_ps(acc[k], a, b);
  }
  for (int k = 1; k < 12; k++) acc[0] = _mm256_add_ps(acc[0], acc[k]);
  *multiply_adds = n * 12 * 8;
  return _mm256_cvtss_f32(acc[0]);
}

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

AVX512 static uint64_t read_avx512(const __m512i *data, size_t count) {
  __m512i s[8];
  for (int k = 0; k < 8; k++) s[k] = _mm512_setzero_si512();
  for (size_t i = 0; i + 8 <= count; i += 8) {
    _mm_prefetch((const char *)(data + i) + 2048, _MM_HINT_T0);
    for (int k = 0; k < 8; k++) s[k] = _mm512_xor_si512(s[k], _mm512_load_si512(data + i + k));
  }
  for (int k = 1; k < 8; k++) s[0] = _mm512_xor_si512(s[0], s[k]);
  return (uint64_t)_mm512_reduce_add_epi64(s[0]);
}

AVX512 static int32_t int8_avx512(int64_t n, int64_t *multiply_adds) {
  __m512i acc[12], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(2);
  for (int k = 0; k < 12; k++) acc[k] = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i++) {
    KEEP(a);
    for (int k = 0; k < 12; k++) acc[k] = _mm512_dpbusd_epi32(acc[k], a, b);
  }
  for (int k = 1; k < 12; k++) acc[0] = _mm512_add_epi32(acc[0], acc[k]);
  *multiply_adds = n * 12 * 64;
  return _mm512_reduce_add_epi32(acc[0]);
}

AVX512 static float float_avx512(int64_t n, int64_t *multiply_adds) {
  __m512 acc[12], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(1.0f);
  for (int k = 0; k < 12; k++) acc[k] = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; i++) {
    KEEP(a);
    for (int k = 0; k < 12; k++) acc[k] = _mm512_fmadd_ps(acc[k], a, b);
  }
  for (int k = 1; k < 12; k++) acc[0] = _mm512_add_ps(acc[0], acc[k]);
  *multiply_adds = n * 12 * 16;
  return _mm512_reduce_add_ps(acc[0]);
}

#endif

uint64_t bp_peak_read(const void *data, size_t bytes, bp_peak_isa isa) {
#if defined(__x86_64__)
  if (isa == BP_PEAK_AVX512VNNI) return read_avx512(data, bytes / 64);
  if (isa == BP_PEAK_AVX2 || isa == BP_PEAK_AVXVNNI) return read_avx2(data, bytes / 32);
#elif defined(__aarch64__)
  if (isa != BP_PEAK_SCALAR) return bp_peak_read_neon(data, bytes / 64);
#endif
  (void)isa;
  return read_scalar(data, bytes / 8);
}

int32_t bp_peak_int8(int64_t iterations, bp_peak_isa isa, int64_t *multiply_adds) {
#if defined(__x86_64__)
  if (isa == BP_PEAK_AVX512VNNI) return int8_avx512(iterations, multiply_adds);
  if (isa == BP_PEAK_AVXVNNI) return int8_avxvnni(iterations, multiply_adds);
  if (isa == BP_PEAK_AVX2) return int8_avx2(iterations, multiply_adds);
#elif defined(__aarch64__)
  if (isa == BP_PEAK_NEON_I8MM) return bp_peak_int8_i8mm(iterations, multiply_adds);
  if (isa == BP_PEAK_NEON_DOTPROD) return bp_peak_int8_dotprod(iterations, multiply_adds);
#endif
  (void)isa;
  return int8_scalar(iterations, multiply_adds);
}

float bp_peak_float32(int64_t iterations, bp_peak_isa isa, int64_t *multiply_adds) {
#if defined(__x86_64__)
  if (isa == BP_PEAK_AVX512VNNI) return float_avx512(iterations, multiply_adds);
  if (isa == BP_PEAK_AVX2 || isa == BP_PEAK_AVXVNNI) return float_avx2(iterations, multiply_adds);
#elif defined(__aarch64__)
  if (isa != BP_PEAK_SCALAR) return bp_peak_float32_neon(iterations, multiply_adds);
#endif
  (void)isa;
  return float_scalar(iterations, multiply_adds);
}
