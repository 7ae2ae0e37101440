#if defined(__x86_64__)

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

#include "avx2.h"

#pragma STDC FP_CONTRACT OFF

// Binary coding for AVX2: bits as bytes of 0 and 1. A pair of products adds up to 254 at most and
// the 32 units of a group to 8,128, which fits in 16 bits; sums are widened once a group.

/// As in multiply_avx2.c, whose activation order this file shares.
#define BLOCK_TOKENS 4

BP_INLINE void multiply_tile(
    const int tokens, const int stride, const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile, int64_t block) {
  const __m256i words = _mm256_set1_epi16(1);
  __m256 sums[BLOCK_TOKENS][2];
  BP_UNROLL for (int t = 0; t < tokens; t++) sums[t][0] = sums[t][1] = _mm256_setzero_ps();
  const uint8_t *codes = bp_codes_at(w, tile, 0);
  const uint16_t *scales = bp_binary_scales_at(w, tile, 0);
  const int8_t *group_start = bp_activation_block(x, block);
  const float *activation_scales = x->scales + block * x->groups * stride;
  const int32_t *negated_sums = x->negated_sums + block * x->groups * stride;
  for (int64_t group = 0; group < w->groups; group++) {
    for (int32_t bit = 0; bit < w->bit_width; bit++) {
      __m256i pairs[BLOCK_TOKENS][2];
      BP_UNROLL for (int t = 0; t < tokens; t++) pairs[t][0] = pairs[t][1] = _mm256_setzero_si256();
      const int8_t *a = group_start;
      for (int32_t chunk = 0; chunk < w->group_size; chunk += 32) {
        BP_UNROLL for (int u = 0; u < 8; u++) {
          const __m256i unit[2] = {
              bp256_plane(1, codes, u, 0), bp256_plane(1, codes, u, 1)};
          BP_UNROLL for (int t = 0; t < tokens; t++) {
            int32_t four;
            memcpy(&four, a + (u * stride + t) * 4, 4);
            const __m256i value = _mm256_set1_epi32(four);
            BP_UNROLL for (int half = 0; half < 2; half++) {
              pairs[t][half] = _mm256_add_epi16(
                  pairs[t][half], _mm256_maddubs_epi16(unit[half], value));
            }
          }
        }
        codes += 64;
        a += 32 * stride;
      }
      BP_UNROLL for (int half = 0; half < 2; half++) {
        const __m256 weight_scale = bp256_scales(scales + 8 * half);
        BP_UNROLL for (int t = 0; t < tokens; t++) {
          const __m256i ones = _mm256_madd_epi16(pairs[t][half], words);
          const __m256i d = _mm256_add_epi32(
              _mm256_add_epi32(ones, ones), _mm256_set1_epi32(negated_sums[t]));
          const __m256 scale =
              _mm256_mul_ps(weight_scale, _mm256_set1_ps(activation_scales[t]));
          sums[t][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(d), scale, sums[t][half]);
        }
      }
      scales += BP_TILE_HEIGHT;
    }
    BP_UNROLL for (int half = 0; half < 2; half++) {
      const __m256 offset = bp256_scales(bp_offsets_at(w, tile, group) + 8 * half);
      BP_UNROLL for (int t = 0; t < tokens; t++) {
        const __m256 scale = _mm256_mul_ps(offset, _mm256_set1_ps(activation_scales[t]));
        sums[t][half] = _mm256_fmadd_ps(
            _mm256_cvtepi32_ps(_mm256_set1_epi32(-negated_sums[t])), scale, sums[t][half]);
      }
    }
    group_start += w->group_size * stride;
    negated_sums += stride;
    activation_scales += stride;
  }
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    bp256_store(y, block * stride + t, tile, w->rows, sums[t]);
  }
}

#define TILE_CASE(tokens, stride)                                                              \
  case tokens: multiply_tile(tokens, stride, w, x, y, tile, block); break;

static void multiply_few(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile,
    int64_t block) {
  switch (x->block) {
    TILE_CASE(1, 1)
    TILE_CASE(2, 2)
    TILE_CASE(3, 3)
    TILE_CASE(4, 4)
  }
}

static void multiply_many(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile,
    int64_t block) {
  switch (BP_MIN(BLOCK_TOKENS, x->tokens - block * BLOCK_TOKENS)) {
    TILE_CASE(1, BLOCK_TOKENS)
    TILE_CASE(2, BLOCK_TOKENS)
    TILE_CASE(3, BLOCK_TOKENS)
    TILE_CASE(4, BLOCK_TOKENS)
  }
}

void bp_multiply_binary_avx2(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end) {
  const int few = x->tokens <= BLOCK_TOKENS;
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    for (int64_t block = block_begin; block < block_end; block++) {
      (few ? multiply_few : multiply_many)(w, x, y, tile, block);
    }
  }
}

#pragma clang attribute pop

#endif
