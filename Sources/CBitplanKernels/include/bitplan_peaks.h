#ifndef BITPLAN_PEAKS_H
#define BITPLAN_PEAKS_H

#include <stddef.h>
#include <stdint.h>

// What this CPU can do at most, measured by loops that do nothing else. Each function runs on the
// calling thread; callers time it and run one on every thread for a machine's total.

/// Instruction sets that the loops are written for; those of one architecture best last.
typedef enum {
  BP_PEAK_SCALAR = 0,
  BP_PEAK_AVX2 = 1,
  BP_PEAK_AVXVNNI = 2,
  BP_PEAK_AVX512VNNI = 3,
  BP_PEAK_NEON = 4,
  BP_PEAK_NEON_DOTPROD = 5,
  BP_PEAK_NEON_I8MM = 6,
} bp_peak_isa;

/// The best of them that this CPU and operating system can run.
bp_peak_isa bp_peak_best_isa(void);

/// Reads `bytes` (a multiple of 512, 64-byte aligned) once and returns a checksum.
uint64_t bp_peak_read(const void *data, size_t bytes, bp_peak_isa isa);

/// Runs `iterations` of independent 8-bit dot-product instructions; writes the multiply-adds done.
int32_t bp_peak_int8(int64_t iterations, bp_peak_isa isa, int64_t *multiply_adds);

/// Runs `iterations` of independent fused multiply-adds; writes the multiply-adds done.
float bp_peak_float32(int64_t iterations, bp_peak_isa isa, int64_t *multiply_adds);

#endif
