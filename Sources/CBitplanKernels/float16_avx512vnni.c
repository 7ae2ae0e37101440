#if defined(__x86_64__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))),    \
    apply_to = function)

#include "avx512.h"

#pragma STDC FP_CONTRACT OFF

// binary16 weights times float activations, for AVX-512.

BP_INLINE void multiply_float16_block(
    const int tiles, const int tokens, const uint16_t *w, int64_t rows, int64_t input_features,
    const float *x, int64_t x_stride, const bp_output *y, int64_t tile, int64_t token) {
  __m512 sums[4][8];
  BP_UNROLL for (int r = 0; r < tiles; r++) {
    BP_UNROLL for (int t = 0; t < tokens; t++) sums[r][t] = _mm512_setzero_ps();
  }
  const uint16_t *weights = w + tile * input_features * BP_TILE_HEIGHT;
  const float *values = x + token * x_stride;
  for (int64_t k = 0; k < input_features; k++) {
    __m512 column[4];
    BP_UNROLL for (int r = 0; r < tiles; r++) {
      column[r] = bp512_scales(weights + (r * input_features + k) * BP_TILE_HEIGHT);
    }
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      const __m512 value = _mm512_set1_ps(values[t * x_stride + k]);
      BP_UNROLL for (int r = 0; r < tiles; r++) {
        sums[r][t] = _mm512_fmadd_ps(column[r], value, sums[r][t]);
      }
    }
  }
  BP_UNROLL for (int r = 0; r < tiles; r++) {
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      bp512_store(y, token + t, tile + r, rows, sums[r][t]);
    }
  }
}

void bp_multiply_float16_avx512vnni(
    const uint16_t *w, int64_t rows, int64_t input_features, const float *x, int64_t x_stride,
    const bp_output *y, int64_t tile_begin, int64_t tile_end, int64_t token_begin,
    int64_t token_end) {
  int64_t tile = tile_begin;
  if (token_end - token_begin < 4) {
    // Few tokens: four tiles at once hide the latency of the multiply-adds.
    for (; tile + 4 <= tile_end; tile += 4) {
      switch (token_end - token_begin) {
        case 1:
          multiply_float16_block(
              4, 1, w, rows, input_features, x, x_stride, y, tile, token_begin);
          break;
        case 2:
          multiply_float16_block(
              4, 2, w, rows, input_features, x, x_stride, y, tile, token_begin);
          break;
        case 3:
          multiply_float16_block(
              4, 3, w, rows, input_features, x, x_stride, y, tile, token_begin);
          break;
      }
    }
  }
  for (; tile + 2 <= tile_end; tile += 2) {
    int64_t token = token_begin;
    for (; token + 8 <= token_end; token += 8) {
      multiply_float16_block(2, 8, w, rows, input_features, x, x_stride, y, tile, token);
    }
    for (; token + 4 <= token_end; token += 4) {
      multiply_float16_block(2, 4, w, rows, input_features, x, x_stride, y, tile, token);
    }
    for (; token < token_end; token++) {
      multiply_float16_block(2, 1, w, rows, input_features, x, x_stride, y, tile, token);
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
