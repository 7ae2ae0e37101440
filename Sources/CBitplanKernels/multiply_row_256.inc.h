// Weights with one scale a row on 256-bit registers, for AVX2 and AVX-VNNI: everything but the dot
// product. A row is one integer sum, so the inner loop has no float in it; sums may wrap on the way,
// the result cannot.
//
// The including file says how it multiplies:
//   DECODE_TOKENS, BLOCK_TOKENS   as the order of activations that it shares has them
//   CHAINS(tokens)                independent sums of a row and token
//   ROW_CONSTANT                  what is added to the signed bytes of weights: 0 or 128
//   weight_bytes, split_weights   half a tile of one unit, ready to be multiplied
//   token_bytes, split_token      four activations in every lane, likewise
//   add_products                  a sum and the products of both
//   first_sum                     what the sum of a token starts from

/// What turns the codes of half a tile of one group of a two-level format into bytes.
typedef struct {
  /// The group scale of a row in both 16-bit halves of its lane.
  __m256i scale;
  /// Group scale · zero point, minus the constant, in all bytes of the row's lane, modulo 256.
  __m256i offset;
} two_level_half;

BP_INLINE two_level_half read_two_level(const uint8_t *p) {
  const __m256i codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
  const __m256i scale = _mm256_add_epi32(_mm256_srli_epi32(codes, 4), _mm256_set1_epi32(1));
  const __m256i zero = _mm256_and_si256(codes, _mm256_set1_epi32(15));
  const __m256i first_bytes = _mm256_setr_epi8(
      0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8,
      12, 12, 12, 12);
  const __m256i offset = _mm256_sub_epi32(
      _mm256_mullo_epi16(scale, zero), _mm256_set1_epi32(ROW_CONSTANT));
  return (two_level_half){
      _mm256_or_si256(scale, _mm256_slli_epi32(scale, 16)),
      _mm256_shuffle_epi8(offset, first_bytes)};
}

/// One unit, half a tile, as the bytes that are multiplied. Codes · scale ≤ 15 · 16 = 240, so nothing
/// is carried from one byte to the next; per-row codes are their signed bytes plus 128.
BP_INLINE __m256i read_unit(
    const int two_level, const uint8_t *codes, const two_level_half *level, int unit, int half) {
  if (!two_level) {
    const __m256i bytes = bp256_load(codes + 64 * unit + 32 * half);
    return ROW_CONSTANT ? bytes : _mm256_xor_si256(bytes, _mm256_set1_epi8((char)0x80));
  }
  return _mm256_sub_epi8(
      _mm256_mullo_epi16(bp256_plane(4, codes, unit, half), level->scale), level->offset);
}

/// One tile times `tokens` tokens that lie in blocks of `stride`. With `expanded`, `codes` are
/// the bytes that are multiplied.
BP_INLINE void multiply_tile(
    const int two_level, const int expanded, const int tokens, const int stride,
    const uint8_t *codes, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile, int64_t block) {
  const int chains = CHAINS(tokens);
  __m256i products[BLOCK_TOKENS][4][2];
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    products[t][0][0] = products[t][0][1] = first_sum(x, block, t);
    BP_UNROLL for (int c = 1; c < chains; c++) {
      products[t][c][0] = products[t][c][1] = _mm256_setzero_si256();
    }
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
        weight_bytes weights[2];
        BP_UNROLL for (int half = 0; half < 2; half++) {
          weights[half] = split_weights(
              expanded ? bp256_load(codes + 64 * u + 32 * half)
                       : read_unit(two_level, codes, level + half, u, half));
        }
        BP_UNROLL for (int t = 0; t < tokens; t++) {
          int32_t four;
          memcpy(&four, a + (u * stride + t) * 4, 4);
          const token_bytes token = split_token(_mm256_set1_epi32(four));
          BP_UNROLL for (int half = 0; half < 2; half++) {
            __m256i *sum = &products[t][u % chains][half];
            *sum = add_products(*sum, weights[half], token);
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
      __m256i sum = products[t][0][half];
      BP_UNROLL for (int c = 1; c < chains; c++) {
        sum = _mm256_add_epi32(sum, products[t][c][half]);
      }
      const __m256 scale =
          _mm256_mul_ps(bp256_scales(scales + 8 * half), _mm256_set1_ps(x->scales[token]));
      results[half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, _mm256_setzero_ps());
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
    TILE_CASE(1, BLOCK_TOKENS)
    TILE_CASE(2, BLOCK_TOKENS)
    TILE_CASE(3, BLOCK_TOKENS)
    TILE_CASE(4, BLOCK_TOKENS)
#if BLOCK_TOKENS > 4
    TILE_CASE(5, BLOCK_TOKENS)
    TILE_CASE(6, BLOCK_TOKENS)
#endif
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

BP_INLINE void multiply_rows(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  const int two_level = w->family == BP_FAMILY_TWO_LEVEL, few = x->tokens <= DECODE_TOKENS;
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
