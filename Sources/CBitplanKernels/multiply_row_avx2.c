#if defined(__x86_64__)

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

#include "avx2.h"

#pragma STDC FP_CONTRACT OFF

// Weights with one scale a row, for AVX2: signed bytes are split into even and odd ones and
// multiplied as 16-bit numbers into one integer sum a row.

/// As in multiply_avx2.c, whose activation order this file shares.
#define BLOCK_TOKENS 4

size_t bp_row_scratch_bytes_avx2(const bp_matrix *w, int64_t tokens) {
  if (tokens <= BLOCK_TOKENS || w->family == BP_FAMILY_PER_ROW) return 0;
  return (size_t)(w->groups * w->group_size) * BP_TILE_HEIGHT;
}

/// What turns the codes of half a tile of one group of a two-level format into bytes.
typedef struct {
  /// The group scale of a row in both 16-bit halves of its lane.
  __m256i scale;
  /// Group scale · zero point in all bytes of the row's lane, modulo 256.
  __m256i offset;
} two_level_half;

BP_INLINE two_level_half read_two_level(const uint8_t *p) {
  const __m256i codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
  const __m256i scale = _mm256_add_epi32(_mm256_srli_epi32(codes, 4), _mm256_set1_epi32(1));
  const __m256i zero = _mm256_and_si256(codes, _mm256_set1_epi32(15));
  const __m256i first_bytes = _mm256_setr_epi8(
      0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8,
      12, 12, 12, 12);
  return (two_level_half){
      _mm256_or_si256(scale, _mm256_slli_epi32(scale, 16)),
      _mm256_shuffle_epi8(_mm256_mullo_epi16(scale, zero), first_bytes)};
}

/// One unit, half a tile, as signed bytes. Codes · scale ≤ 15 · 16 = 240, so nothing is carried
/// from one byte to the next; per-row codes lose their zero point of 128.
BP_INLINE __m256i read_unit(
    const int two_level, const uint8_t *codes, const two_level_half *level, int unit, int half) {
  if (!two_level) {
    return _mm256_xor_si256(
        bp256_load(codes + 64 * unit + 32 * half), _mm256_set1_epi8((char)0x80));
  }
  return _mm256_sub_epi8(
      _mm256_mullo_epi16(bp256_plane(4, codes, unit, half), level->scale), level->offset);
}

/// One tile times `tokens` tokens that lie in blocks of `stride`. With `expanded`, `codes` are
/// signed bytes.
BP_INLINE void multiply_tile(
    const int two_level, const int expanded, const int tokens, const int stride,
    const uint8_t *codes, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile, int64_t block) {
  __m256i products[BLOCK_TOKENS][2];
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    products[t][0] = products[t][1] = _mm256_setzero_si256();
  }
  const int8_t *a = bp_activation_block(x, block);
  for (int64_t group = 0; group < w->groups; group++) {
    two_level_half level[2];
    if (two_level && !expanded) {
      level[0] = read_two_level(bp_two_level_at(w, tile, group));
      level[1] = read_two_level(bp_two_level_at(w, tile, group) + 8);
    }
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32) {
      BP_UNROLL for (int u = 0; u < 8; u++) {
        __m256i even[2], odd[2];
        BP_UNROLL for (int half = 0; half < 2; half++) {
          const __m256i unit = expanded ? bp256_load(codes + 64 * u + 32 * half)
                                        : read_unit(two_level, codes, level + half, u, half);
          even[half] = _mm256_srai_epi16(_mm256_slli_epi16(unit, 8), 8);
          odd[half] = _mm256_srai_epi16(unit, 8);
        }
        BP_UNROLL for (int t = 0; t < tokens; t++) {
          int32_t four;
          memcpy(&four, a + (u * stride + t) * 4, 4);
          const __m256i value = _mm256_set1_epi32(four);
          const __m256i odd_value = _mm256_srai_epi16(value, 8);
          const __m256i even_value = _mm256_srai_epi16(_mm256_slli_epi16(value, 8), 8);
          BP_UNROLL for (int half = 0; half < 2; half++) {
            products[t][half] = _mm256_add_epi32(
                products[t][half],
                _mm256_add_epi32(
                    _mm256_madd_epi16(even[half], even_value),
                    _mm256_madd_epi16(odd[half], odd_value)));
          }
        }
      }
      codes += two_level && !expanded ? 256 : 512;
      a += 32 * stride;
    }
  }
  const uint16_t *scales = bp_row_scales_at(w, tile);
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    const int64_t token = block * stride + t;
    __m256 results[2];
    BP_UNROLL for (int half = 0; half < 2; half++) {
      const __m256 scale =
          _mm256_mul_ps(bp256_scales(scales + 8 * half), _mm256_set1_ps(x->scales[token]));
      results[half] = _mm256_fmadd_ps(
          _mm256_cvtepi32_ps(products[t][half]), scale, _mm256_setzero_ps());
    }
    bp256_store(y, token, tile, w->rows, results);
  }
}

static void expand_tile(const bp_matrix *w, int64_t tile, uint8_t *out) {
  const uint8_t *codes = bp_codes_at(w, tile, 0);
  for (int64_t group = 0; group < w->groups; group++) {
    const uint8_t *two_level = bp_two_level_at(w, tile, group);
    const two_level_half level[2] = {read_two_level(two_level), read_two_level(two_level + 8)};
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32, codes += 256, out += 512) {
      BP_UNROLL for (int u = 0; u < 8; u++) {
        BP_UNROLL for (int half = 0; half < 2; half++) {
          _mm256_store_si256(
              (__m256i *)(out + 64 * u + 32 * half),
              read_unit(1, codes, level + half, u, half));
        }
      }
    }
  }
}

#define TILE_CASE(tokens, stride)                                                              \
  case tokens:                                                                                 \
    multiply_tile(two_level, expanded, tokens, stride, codes, w, x, y, tile, block);           \
    break;

BP_INLINE void multiply_block(
    const int two_level, const int expanded, const int few, const uint8_t *codes,
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile,
    int64_t block) {
  if (few) {
    switch (x->block) {
      TILE_CASE(1, 1)
      TILE_CASE(2, 2)
      TILE_CASE(3, 3)
      TILE_CASE(4, 4)
    }
    return;
  }
  switch (BP_MIN(BLOCK_TOKENS, x->tokens - block * BLOCK_TOKENS)) {
    TILE_CASE(1, 4)
    TILE_CASE(2, 4)
    TILE_CASE(3, 4)
    TILE_CASE(4, 4)
  }
}

#define BLOCK_FUNCTION(name, two_level, expanded, few)                                         \
  static void name(                                                                            \
      const uint8_t *codes, const bp_matrix *w, const bp_activations *x, const bp_output *y,   \
      int64_t tile, int64_t block) {                                                           \
    multiply_block(two_level, expanded, few, codes, w, x, y, tile, block);                     \
  }

BLOCK_FUNCTION(per_row_few, 0, 0, 1)
BLOCK_FUNCTION(per_row_many, 0, 0, 0)
BLOCK_FUNCTION(two_level_few, 1, 0, 1)
BLOCK_FUNCTION(two_level_many, 1, 1, 0)

void bp_multiply_row_avx2(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  const int two_level = w->family == BP_FAMILY_TWO_LEVEL, few = x->tokens <= BLOCK_TOKENS;
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    const uint8_t *codes = bp_codes_at(w, tile, 0);
    if (two_level && !few) {
      expand_tile(w, tile, scratch);
      codes = scratch;
    }
    for (int64_t block = block_begin; block < block_end; block++) {
      if (two_level) {
        (few ? two_level_few : two_level_many)(codes, w, x, y, tile, block);
      } else {
        (few ? per_row_few : per_row_many)(codes, w, x, y, tile, block);
      }
    }
  }
}

#pragma clang attribute pop

#endif
