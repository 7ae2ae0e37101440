#if defined(__x86_64__)

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

#include "avx2.h"

#pragma STDC FP_CONTRACT OFF

// Integer kernels for AVX2. vpmaddubsw adds two products of an unsigned and a signed byte with
// 16-bit saturation, so it is used only where no sum can saturate:
//   2 bits: 3 · 127 · 2 =    762 a pair; 8 pairs ≤  6,096
//   3 bits: 7 · 127 · 2 =  1,778;        8 pairs ≤ 14,224
//   4 bits: 15 · 127 · 2 = 3,810;        8 pairs ≤ 30,480
//   5 bits: 31 · 127 · 2 = 7,874;        4 pairs ≤ 31,496
//   6 bits: 63 · 127 · 2 = 16,002;       2 pairs ≤ 32,004    (all ≤ 32,767)
// 8-bit codes, the levels of non-linear ones and the bytes of binary coding are split into even and
// odd bytes and multiplied as 16-bit numbers instead: 2 · 255 · 127 = 64,770 a lane. Binary coding
// of one bit has bytes 0 and 2, which fit like 2-bit codes.

/// Tokens of a block: 4 tokens × 2 registers of sums leave room for weights.
#define BLOCK_TOKENS 4

static bp_activation_order activation_order(int64_t tokens, int32_t group_size) {
  (void)group_size;
  return (bp_activation_order){tokens <= BLOCK_TOKENS ? (int32_t)tokens : BLOCK_TOKENS, 4};
}

static size_t scratch_bytes(const bp_matrix *w, int64_t tokens) {
  if (w->family == BP_FAMILY_PER_ROW || w->family == BP_FAMILY_TWO_LEVEL) {
    return bp_row_scratch_bytes_avx2(w, tokens);
  }
  if (tokens <= BLOCK_TOKENS || w->bit_width == 8) return 0;
  return (size_t)(w->groups * w->group_size) * BP_TILE_HEIGHT;
}

/// Units whose products are added in 16 bits before they are widened (see above).
BP_INLINE int units_per_sum(const int32_t bits) { return bits <= 4 ? 8 : bits == 5 ? 4 : 2; }

BP_INLINE __m256i broadcast(const int8_t *a) {
  int32_t bits;
  memcpy(&bits, a, 4);
  return _mm256_set1_epi32(bits);
}

/// One tile times `tokens` tokens that lie in blocks of `stride`. `bits` is the width of the codes;
/// with `expanded`, they lie one a byte in `codes` whatever their width, levels and binary coding
/// as the bytes that they stand for.
BP_INLINE void multiply_tile(
    const bp_family family, const int32_t bits, const int expanded, const int tokens,
    const int stride, const uint8_t *codes, const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile, int64_t block) {
  const bp_family stored_family = expanded ? BP_FAMILY_INTEGER : family;
  const int is_byte = bits == 8 || family == BP_FAMILY_NONLINEAR
      || (family == BP_FAMILY_BINARY && bits > 1);
  const int32_t stored_bits = expanded ? 8 : bits;
  const int32_t low_bits = bp_low_bits(stored_bits), high_bits = stored_bits - low_bits;
  const int32_t group_size = w->group_size;
  const __m256i ones = _mm256_set1_epi16(1);
  __m256 sums[BLOCK_TOKENS][2];
  BP_UNROLL for (int t = 0; t < tokens; t++) sums[t][0] = sums[t][1] = _mm256_setzero_ps();
  const int8_t *a = bp_activation_block(x, block);
  const float *activation_scales = x->scales + block * x->groups * stride;
  const int32_t *negated_sums = x->negated_sums + block * x->groups * stride;
  for (int64_t group = 0; group < w->groups; group++) {
    __m256i products[BLOCK_TOKENS][2];
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      products[t][0] = products[t][1] = _mm256_setzero_si256();
    }
    const uint8_t *low = codes, *high = codes + 2 * low_bits * group_size;
    bp256_binary binary;
    if (stored_family == BP_FAMILY_BINARY) {
      binary = bp256_read_binary(
          bits, bp_plane_weights_at(w, tile, group), bp256_binary_zero(bits));
    }
    for (int32_t chunk = 0; chunk < group_size; chunk += 32) {
      if (is_byte) {
        const __m256i even_bytes = _mm256_set1_epi16(0x00FF);
        BP_UNROLL for (int u = 0; u < 8; u++) {
          __m256i even[2], odd[2];
          BP_UNROLL for (int half = 0; half < 2; half++) {
            const __m256i unit = bp256_unit(
                stored_family, stored_bits, low, high, group_size, &binary, u, half);
            even[half] = _mm256_and_si256(unit, even_bytes);
            odd[half] = _mm256_srli_epi16(unit, 8);
          }
          BP_UNROLL for (int t = 0; t < tokens; t++) {
            const __m256i value = broadcast(a + (u * stride + t) * 4);
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
      } else {
        const int run = units_per_sum(bits);
        BP_UNROLL for (int first = 0; first < 8; first += run) {
          __m256i pairs[BLOCK_TOKENS][2];
          BP_UNROLL for (int u = first; u < first + run; u++) {
            __m256i unit[2];
            BP_UNROLL for (int half = 0; half < 2; half++) {
              unit[half] = bp256_unit(
                  stored_family, stored_bits, low, high, group_size, &binary, u, half);
            }
            BP_UNROLL for (int t = 0; t < tokens; t++) {
              const __m256i value = broadcast(a + (u * stride + t) * 4);
              BP_UNROLL for (int half = 0; half < 2; half++) {
                const __m256i pair = _mm256_maddubs_epi16(unit[half], value);
                pairs[t][half] = u == first ? pair : _mm256_add_epi16(pairs[t][half], pair);
              }
            }
          }
          BP_UNROLL for (int t = 0; t < tokens; t++) {
            BP_UNROLL for (int half = 0; half < 2; half++) {
              products[t][half] = _mm256_add_epi32(
                  products[t][half], _mm256_madd_epi16(pairs[t][half], ones));
            }
          }
        }
      }
      low += stored_family == BP_FAMILY_BINARY ? 64 : 64 * low_bits;
      high += 64 * high_bits;
      a += 32 * stride;
    }
    codes += 2 * stored_bits * group_size;
    __m256i zero[2];
    if (w->zero_points) {
      bp256_zero_points(bits, bp_zero_points_at(w, tile, group), zero);
    } else {
      zero[0] = zero[1] = _mm256_set1_epi32(
          family == BP_FAMILY_BINARY ? bp256_binary_zero(bits) : bp_middle(w));
    }
    BP_UNROLL for (int half = 0; half < 2; half++) {
      const __m256 scale = w->family == BP_FAMILY_BLOCK_FLOAT
          ? bp256_exponents(bp_exponents_at(w, tile, group) + 8 * half)
          : bp256_scales(bp_scales_at(w, tile, group) + 8 * half);
      BP_UNROLL for (int t = 0; t < tokens; t++) {
        sums[t][half] = bp256_accumulate(
            sums[t][half], products[t][half], zero[half], negated_sums[t], scale,
            activation_scales[t]);
      }
      if (family == BP_FAMILY_BINARY) {
        const __m256 offset = bp256_scales(bp_offsets_at(w, tile, group) + 8 * half);
        BP_UNROLL for (int t = 0; t < tokens; t++) {
          sums[t][half] = bp256_add_offset(
              sums[t][half], offset, negated_sums[t], activation_scales[t]);
        }
      }
    }
    negated_sums += stride;
    activation_scales += stride;
  }
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    bp256_store(y, block * stride + t, tile, w->rows, sums[t]);
  }
}

BP_INLINE void multiply_width(
    const bp_family family, const int32_t bits, const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile_begin, int64_t tile_end, int64_t block_begin,
    int64_t block_end, uint8_t *scratch) {
  const int expanded = bits != 8;
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    const uint8_t *codes = bp_codes_at(w, tile, 0);
    if (x->tokens <= BLOCK_TOKENS) {
      switch (x->block) {
        case 1: multiply_tile(family, bits, 0, 1, 1, codes, w, x, y, tile, 0); break;
        case 2: multiply_tile(family, bits, 0, 2, 2, codes, w, x, y, tile, 0); break;
        case 3: multiply_tile(family, bits, 0, 3, 3, codes, w, x, y, tile, 0); break;
        default: multiply_tile(family, bits, 0, 4, 4, codes, w, x, y, tile, 0); break;
      }
      continue;
    }
    if (expanded) {
      bp256_expand_tile(family, bits, w, tile, scratch);
      codes = scratch;
    }
    for (int64_t block = block_begin; block < block_end; block++) {
      switch (BP_MIN(BLOCK_TOKENS, x->tokens - block * BLOCK_TOKENS)) {
        case 1: multiply_tile(family, bits, expanded, 1, 4, codes, w, x, y, tile, block); break;
        case 2: multiply_tile(family, bits, expanded, 2, 4, codes, w, x, y, tile, block); break;
        case 3: multiply_tile(family, bits, expanded, 3, 4, codes, w, x, y, tile, block); break;
        default: multiply_tile(family, bits, expanded, 4, 4, codes, w, x, y, tile, block); break;
      }
    }
  }
}

#include "multiply_widths.inc.h"

static void multiply(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  if (block_begin >= block_end) return;
  if (w->family == BP_FAMILY_PER_ROW || w->family == BP_FAMILY_TWO_LEVEL) {
    bp_multiply_row_avx2(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  } else {
    multiply_for(w)(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  }
}

const bp_kernels bp_kernels_avx2 = {
    BP_ISA_AVX2,   "avx2",   activation_order,         bp_quantize_avx2,
    scratch_bytes, multiply, bp_multiply_float16_avx2, BP_ALL_FAMILIES,
    bp_quantize_tokens_avx2, NULL,
};

#pragma clang attribute pop

#endif
