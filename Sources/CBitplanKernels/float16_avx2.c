#if defined(__x86_64__)

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

#include "avx2.h"

#pragma STDC FP_CONTRACT OFF

// binary16 weights times float activations, for AVX2.

BP_INLINE void multiply_float16_block(
    const int tiles, const int tokens, const uint16_t *w, int64_t rows, int64_t input_features,
    const float *x, int64_t x_stride, const bp_output *y, int64_t tile, int64_t token) {
  __m256 sums[4][4][2];
  BP_UNROLL for (int r = 0; r < tiles; r++) {
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      sums[r][t][0] = sums[r][t][1] = _mm256_setzero_ps();
    }
  }
  const uint16_t *weights = w + tile * input_features * BP_TILE_HEIGHT;
  const float *values = x + token * x_stride;
  for (int64_t k = 0; k < input_features; k++) {
    __m256 column[4][2];
    BP_UNROLL for (int r = 0; r < tiles; r++) {
      const uint16_t *p = weights + (r * input_features + k) * BP_TILE_HEIGHT;
      column[r][0] = bp256_scales(p);
      column[r][1] = bp256_scales(p + 8);
    }
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      const __m256 value = _mm256_set1_ps(values[t * x_stride + k]);
      BP_UNROLL for (int r = 0; r < tiles; r++) {
        BP_UNROLL for (int half = 0; half < 2; half++) {
          sums[r][t][half] = _mm256_fmadd_ps(column[r][half], value, sums[r][t][half]);
        }
      }
    }
  }
  BP_UNROLL for (int r = 0; r < tiles; r++) {
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      bp256_store(y, token + t, tile + r, rows, sums[r][t]);
    }
  }
}

void bp_multiply_float16_avx2(
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

#pragma clang attribute pop

#endif
