#ifndef BITPLAN_PEAKS_NEON_H
#define BITPLAN_PEAKS_NEON_H

// The loops of bitplan_peaks.h for 64-bit Arm.

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

// Keeps the compiler from moving what depends on `x` out of a loop.
#define BP_PEAK_KEEP(x) __asm__ volatile("" : "+w"(x))

/// Reads `lines` times 64 bytes and returns a checksum.
static inline uint64_t bp_peak_read_neon(const uint8_t *data, size_t lines) {
  uint8x16_t s[8];
  for (int k = 0; k < 8; k++) s[k] = vdupq_n_u8(0);
  for (size_t i = 0; i + 2 <= lines; i += 2, data += 128) {
    __builtin_prefetch(data + 2048);
    for (int k = 0; k < 8; k++) s[k] = veorq_u8(s[k], vld1q_u8(data + 16 * k));
  }
  for (int k = 1; k < 8; k++) s[0] = veorq_u8(s[0], s[k]);
  return vgetq_lane_u64(vreinterpretq_u64_u8(s[0]), 0)
      ^ vgetq_lane_u64(vreinterpretq_u64_u8(s[0]), 1);
}

__attribute__((target("dotprod"))) static inline int32_t bp_peak_int8_dotprod(
    int64_t n, int64_t *multiply_adds) {
  int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(2);
  int32x4_t acc[16];
  for (int k = 0; k < 16; k++) acc[k] = vdupq_n_s32(k);
  for (int64_t i = 0; i < n; i++) {
    BP_PEAK_KEEP(a);
    for (int k = 0; k < 16; k++) acc[k] = vdotq_s32(acc[k], a, b);
  }
  for (int k = 1; k < 16; k++) acc[0] = vaddq_s32(acc[0], acc[k]);
  *multiply_adds = n * 16 * 16;
  return vaddvq_s32(acc[0]);
}

__attribute__((target("i8mm"))) static inline int32_t bp_peak_int8_i8mm(
    int64_t n, int64_t *multiply_adds) {
  uint8x16_t a = vdupq_n_u8(3);
  const int8x16_t b = vdupq_n_s8(2);
  int32x4_t acc[16];
  for (int k = 0; k < 16; k++) acc[k] = vdupq_n_s32(k);
  for (int64_t i = 0; i < n; i++) {
    BP_PEAK_KEEP(a);
    for (int k = 0; k < 16; k++) acc[k] = vusmmlaq_s32(acc[k], a, b);
  }
  for (int k = 1; k < 16; k++) acc[0] = vaddq_s32(acc[0], acc[k]);
  *multiply_adds = n * 16 * 32;
  return vaddvq_s32(acc[0]);
}

static inline float bp_peak_float32_neon(int64_t n, int64_t *multiply_adds) {
  float32x4_t a = vdupq_n_f32(0.999f);
  const float32x4_t b = vdupq_n_f32(1.0f);
  float32x4_t acc[16];
  for (int k = 0; k < 16; k++) acc[k] = vdupq_n_f32((float)k);
  for (int64_t i = 0; i < n; i++) {
    BP_PEAK_KEEP(a);
    for (int k = 0; k < 16; k++) acc[k] = vfmaq_f32(b, acc[k], a);
  }
  for (int k = 1; k < 16; k++) acc[0] = vaddq_f32(acc[0], acc[k]);
  *multiply_adds = n * 16 * 4;
  return vaddvq_f32(acc[0]);
}

#endif
