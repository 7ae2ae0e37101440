#if defined(__aarch64__)

#pragma clang attribute push(__attribute__((target("dotprod,i8mm"))), apply_to = function)

#include "neon.h"

#pragma STDC FP_CONTRACT OFF

// Weights with one scale a row, for NEON with the 8-bit matrix extension: more than 4 tokens by
// smmla, which multiplies 2 rows × 8 signed weights by 8 signed activations × 2 tokens.

/// As in multiply_neon_i8mm.c, whose activation order this file shares.
#define BLOCK_TOKENS 12
#define BLOCK_PAIRS (BLOCK_TOKENS / 2)

/// Signed bytes, `[input features / 8][pair of rows][2][8]`.
BP_INLINE void expand_tile(
    const int two_level, const bp_matrix *w, int64_t tile, int8_t *target) {
  const uint8_t *codes = bp_codes_at(w, tile, 0);
  for (int64_t group = 0; group < w->groups; group++) {
    const uint8x16_t level =
        two_level ? vld1q_u8(bp_two_level_at(w, tile, group)) : vdupq_n_u8(0);
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32) {
      BP_UNROLL for (int u = 0; u < 8; u += 2) {
        BP_UNROLL for (int q = 0; q < 4; q++) {
          const int32x4_t first =
              vreinterpretq_s32_s8(bp_neon_row_bytes(two_level, codes, level, u, q));
          const int32x4_t second =
              vreinterpretq_s32_s8(bp_neon_row_bytes(two_level, codes, level, u + 1, q));
          int8_t *pair = target + 64 * u + 32 * q;
          vst1q_s8(pair, vreinterpretq_s8_s32(vzip1q_s32(first, second)));
          vst1q_s8(pair + 16, vreinterpretq_s8_s32(vzip2q_s32(first, second)));
        }
      }
      codes += two_level ? 256 : 512;
      target += 512;
    }
  }
}

/// Half a tile, 8 rows, times the first `pairs` pairs of tokens of a block.
BP_INLINE void multiply_half(
    const int pairs, const int8_t *ready, const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile, int half, int64_t block) {
  const int64_t first_row = tile * BP_TILE_HEIGHT + 8 * half;
  if (first_row >= w->rows) return;
  // Rows 2p and 2p + 1 times tokens 2q and 2q + 1, row by row.
  int32x4_t products[4][BLOCK_PAIRS];
  BP_UNROLL for (int p = 0; p < 4; p++) {
    BP_UNROLL for (int q = 0; q < pairs; q++) products[p][q] = vdupq_n_s32(0);
  }
  const int8_t *bytes = ready + 64 * half, *a = bp_activation_block(x, block);
  const int64_t depth = w->groups * w->group_size;
  for (int64_t k = 0; k < depth; k += 8) {
    int8x16_t rows[4];
    BP_UNROLL for (int p = 0; p < 4; p++) rows[p] = vld1q_s8(bytes + 16 * p);
    BP_UNROLL for (int q = 0; q < pairs; q++) {
      const int8x16_t values = vld1q_s8(a + 16 * q);
      BP_UNROLL for (int p = 0; p < 4; p++) {
        products[p][q] = vmmlaq_s32(products[p][q], rows[p], values);
      }
    }
    bytes += 128;
    a += 8 * BLOCK_TOKENS;
  }
  float32x4_t scale[4];
  bp_neon_scales(bp_row_scales_at(w, tile), scale);
  // With an odd number of tokens the last one of the last pair is padding.
  BP_UNROLL for (int t = 0; t < 2 * pairs; t++) {
    const int64_t token = block * BLOCK_TOKENS + t;
    if (token >= x->tokens) break;
    float32x4_t results[2];
    BP_UNROLL for (int j = 0; j < 2; j++) {
      const int32x4_t upper = products[2 * j][t / 2], lower = products[2 * j + 1][t / 2];
      const int32x4_t sum = t % 2 == 0 ? vuzp1q_s32(upper, lower) : vuzp2q_s32(upper, lower);
      results[j] = bp_neon_row_result(
          sum, half == 0 ? scale[j] : scale[2 + j], x->scales[token]);
    }
    bp_neon_store(y, token, first_row, w->rows, 2, results);
  }
}

#define PAIRS_CASE(pairs)                                                                      \
  case pairs: multiply_half(pairs, ready, w, x, y, tile, half, block); break;

static void multiply_block(
    const int8_t *ready, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile, int64_t block) {
  const int64_t tokens = BP_MIN(BLOCK_TOKENS, x->tokens - block * BLOCK_TOKENS);
  for (int half = 0; half < 2; half++) {
    switch ((tokens + 1) / 2) {
      PAIRS_CASE(1)
      PAIRS_CASE(2)
      PAIRS_CASE(3)
      PAIRS_CASE(4)
      PAIRS_CASE(5)
      PAIRS_CASE(6)
    }
  }
}

void bp_multiply_row_neon_i8mm(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  const int64_t bytes = w->groups * w->group_size * BP_TILE_HEIGHT;
  const int64_t together = (int64_t)bp_row_scratch_bytes_neon(w) / bytes;
  for (int64_t first = tile_begin; first < tile_end; first += together) {
    const int64_t last = BP_MIN(tile_end, first + together);
    for (int64_t tile = first; tile < last; tile++) {
      int8_t *target = (int8_t *)scratch + (tile - first) * bytes;
      if (w->family == BP_FAMILY_TWO_LEVEL) {
        expand_tile(1, w, tile, target);
      } else {
        expand_tile(0, w, tile, target);
      }
    }
    for (int64_t block = block_begin; block < block_end; block++) {
      for (int64_t tile = first; tile < last; tile++) {
        multiply_block((const int8_t *)scratch + (tile - first) * bytes, w, x, y, tile, block);
      }
    }
  }
}

#pragma clang attribute pop

#endif
