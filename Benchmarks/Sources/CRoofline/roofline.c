#include "roofline.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static uint64_t read_512(const char *p, size_t bytes) {
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
  for (size_t i = 0; i < bytes; i += 256) {
    a = _mm512_or_si512(a, _mm512_load_si512(p + i));
    b = _mm512_or_si512(b, _mm512_load_si512(p + i + 64));
    c = _mm512_or_si512(c, _mm512_load_si512(p + i + 128));
    d = _mm512_or_si512(d, _mm512_load_si512(p + i + 192));
  }
  a = _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d));
  return (uint64_t)_mm512_reduce_or_epi64(a);
}

#define CHAINS(step, operands)                                                                 \
  __asm__ volatile(step operands : "+v"(s0) : "v"(a), "v"(b));                                 \
  __asm__ volatile(step operands : "+v"(s1) : "v"(a), "v"(b));                                 \
  __asm__ volatile(step operands : "+v"(s2) : "v"(a), "v"(b));                                 \
  __asm__ volatile(step operands : "+v"(s3) : "v"(a), "v"(b));                                 \
  __asm__ volatile(step operands : "+v"(s4) : "v"(a), "v"(b));                                 \
  __asm__ volatile(step operands : "+v"(s5) : "v"(a), "v"(b));                                 \
  __asm__ volatile(step operands : "+v"(s6) : "v"(a), "v"(b));                                 \
  __asm__ volatile(step operands : "+v"(s7) : "v"(a), "v"(b));                                 \
  __asm__ volatile(step operands : "+v"(s8) : "v"(a), "v"(b));                                 \
  __asm__ volatile(step operands : "+v"(s9) : "v"(a), "v"(b));                                 \
  __asm__ volatile(step operands : "+v"(s10) : "v"(a), "v"(b));                                \
  __asm__ volatile(step operands : "+v"(s11) : "v"(a), "v"(b));

__attribute__((target("avx512f,avx512vnni"))) static void vnni(uint64_t rounds) {
  __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(2);
  __m512i s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a;
  __m512i s6 = a, s7 = a, s8 = a, s9 = a, s10 = a, s11 = a;
  for (uint64_t i = 0; i < rounds; i++) { CHAINS("vpdpbusd ", "%1, %2, %0") }
}

__attribute__((target("avx512f"))) static void float_512(uint64_t rounds) {
  __m512 a = _mm512_set1_ps(0.5f), b = a;
  __m512 s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a;
  __m512 s6 = a, s7 = a, s8 = a, s9 = a, s10 = a, s11 = a;
  for (uint64_t i = 0; i < rounds; i++) { CHAINS("vfmadd213ps ", "%1, %2, %0") }
}

__attribute__((target("amx-tile,amx-int8"))) static void amx(uint64_t rounds) {
  uint8_t shapes[64] __attribute__((aligned(64))) = {1};
  for (int i = 0; i < 8; i++) {
    shapes[16 + 2 * i] = 64;
    shapes[48 + i] = 16;
  }
  _tile_loadconfig(shapes);
  for (uint64_t i = 0; i < rounds; i++) {
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    _tile_dpbsud(2, 5, 6);
    _tile_dpbsud(3, 5, 7);
  }
  _tile_release();
}
#endif

uint64_t bp_probe_read(const void *start, size_t bytes) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return read_512(start, bytes);
#endif
  const uint64_t *p = start;
  uint64_t a = 0, b = 0, c = 0, d = 0;
  for (size_t i = 0; i < bytes / 8; i += 4) {
    a |= p[i];
    b |= p[i + 1];
    c |= p[i + 2];
    d |= p[i + 3];
  }
  return a | b | c | d;
}

uint64_t bp_probe_vnni(uint64_t rounds) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512vnni")) {
    vnni(rounds);
    return rounds * 12 * 64;
  }
#endif
  (void)rounds;
  return 0;
}

uint64_t bp_probe_amx(uint64_t rounds) {
#if defined(__x86_64__) && defined(__linux__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("amx-int8")) {
    amx(rounds);
    return rounds * 4 * 16384;
  }
#endif
  (void)rounds;
  return 0;
}

uint64_t bp_probe_float(uint64_t rounds) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) {
    float_512(rounds);
    return rounds * 12 * 16;
  }
#endif
  (void)rounds;
  return 0;
}
