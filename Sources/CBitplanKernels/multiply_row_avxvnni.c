#if defined(__x86_64__)

#include "avxvnni.h"

#pragma clang attribute push(__attribute__((target(BP_AVXVNNI_TARGET))), apply_to = function)

#include "avx2.h"

#pragma STDC FP_CONTRACT OFF

// Weights with one scale a row, for AVX2 with VNNI: signed bytes b are multiplied as b + 128, which is
// unsigned; the row's sum of activations takes the 128 out again.

/// As in multiply_avxvnni.c, whose activation order and scratch memory this file shares.
#define DECODE_TOKENS 4
#define BLOCK_TOKENS 6
/// Independent sums hide the latency of the dot product.
#define CHAINS(tokens) ((tokens) == 1 ? 4 : (tokens) == 2 ? 2 : 1)
#define ROW_CONSTANT 128

typedef __m256i weight_bytes, token_bytes;
#define split_weights(bytes) (bytes)
#define split_token(bytes) (bytes)
#define add_products bp256_dot

/// −128 · Σ a of the whole row, modulo 2^32.
BP_INLINE __m256i first_sum(const bp_activations *x, int64_t block, int token) {
  uint32_t sum = 0;
  for (int64_t group = 0; group < x->groups; group++) {
    sum += (uint32_t)x->negated_sums[(block * x->groups + group) * x->block + token];
  }
  return _mm256_set1_epi32((int32_t)(sum << 7));
}

#include "multiply_row_256.inc.h"

void bp_multiply_row_avxvnni(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  multiply_rows(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
}

#pragma clang attribute pop

#endif
