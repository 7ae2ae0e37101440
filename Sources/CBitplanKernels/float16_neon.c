#if defined(__aarch64__)

#include "neon.h"

#pragma STDC FP_CONTRACT OFF

// binary16 weights times float activations, for NEON.

BP_INLINE void multiply_float16_block(
    const int tiles, const int tokens, const uint16_t *w, int64_t rows, int64_t input_features,
    const float *x, int64_t x_stride, const bp_output *y, int64_t tile, int64_t token) {
  float32x4_t sums[4][4][4];
  BP_UNROLL for (int r = 0; r < tiles; r++) {
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      BP_UNROLL for (int q = 0; q < 4; q++) sums[r][t][q] = vdupq_n_f32(0);
    }
  }
  const uint16_t *weights = w + tile * input_features * BP_TILE_HEIGHT;
  const float *values = x + token * x_stride;
  for (int64_t k = 0; k < input_features; k++) {
    BP_UNROLL for (int r = 0; r < tiles; r++) {
      float32x4_t column[4];
      bp_neon_scales(weights + (r * input_features + k) * BP_TILE_HEIGHT, column);
      BP_UNROLL for (int t = 0; t < tokens; t++) {
        const float value = values[t * x_stride + k];
        BP_UNROLL for (int q = 0; q < 4; q++) {
          sums[r][t][q] = vfmaq_n_f32(sums[r][t][q], column[q], value);
        }
      }
    }
  }
  BP_UNROLL for (int r = 0; r < tiles; r++) {
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      bp_neon_store(y, token + t, (tile + r) * BP_TILE_HEIGHT, rows, 4, sums[r][t]);
    }
  }
}

void bp_multiply_float16_neon(
    const uint16_t *w, int64_t rows, int64_t input_features, const float *x, int64_t x_stride,
    const bp_output *y, int64_t tile_begin, int64_t tile_end, int64_t token_begin,
    int64_t token_end) {
  int64_t tile = tile_begin;
  if (token_end - token_begin == 1) {
    // One token: four tiles at once hide the latency of the multiply-adds.
    for (; tile + 4 <= tile_end; tile += 4) {
      multiply_float16_block(4, 1, w, rows, input_features, x, x_stride, y, tile, token_begin);
    }
  }
  for (; tile < tile_end; tile++) {
    int64_t token = token_begin;
    for (; token + 4 <= token_end; token += 4) {
      multiply_float16_block(1, 4, w, rows, input_features, x, x_stride, y, tile, token);
    }
    for (; token < token_end; token++) {
      multiply_float16_block(1, 1, w, rows, input_features, x, x_stride, y, tile, token);
    }
  }
}

#endif
