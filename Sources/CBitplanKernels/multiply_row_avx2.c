#if defined(__x86_64__)

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

#include "avx2.h"

#pragma STDC FP_CONTRACT OFF

// Weights with one scale a row, for AVX2: signed bytes are split into even and odd ones and
// multiplied as 16-bit numbers into one integer sum a row.

/// As in multiply_avx2.c, whose activation order this file shares.
#define DECODE_TOKENS 4
#define BLOCK_TOKENS 4
/// Most of the work is not a product that waits for the one before.
#define CHAINS(tokens) 1
#define ROW_CONSTANT 0

/// Bytes as 16-bit numbers.
typedef struct {
  __m256i even, odd;
} signed_pairs;

BP_INLINE signed_pairs split(__m256i bytes) {
  return (signed_pairs){
      _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8), _mm256_srai_epi16(bytes, 8)};
}

typedef signed_pairs weight_bytes, token_bytes;
#define split_weights split
#define split_token split

BP_INLINE __m256i add_products(__m256i sum, signed_pairs weights, signed_pairs token) {
  return _mm256_add_epi32(
      sum, _mm256_add_epi32(
               _mm256_madd_epi16(weights.even, token.even),
               _mm256_madd_epi16(weights.odd, token.odd)));
}

BP_INLINE __m256i first_sum(const bp_activations *x, int64_t block, int token) {
  (void)x, (void)block, (void)token;
  return _mm256_setzero_si256();
}

#include "multiply_row_256.inc.h"

size_t bp_row_scratch_bytes_avx2(const bp_matrix *w, int64_t tokens) {
  if (tokens <= DECODE_TOKENS || w->family == BP_FAMILY_PER_ROW) return 0;
  return (size_t)(w->groups * w->group_size) * BP_TILE_HEIGHT;
}

void bp_multiply_row_avx2(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  multiply_rows(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
}

#pragma clang attribute pop

#endif
