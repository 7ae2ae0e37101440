#if defined(__x86_64__)

#include "avxvnni.h"

#pragma clang attribute push(__attribute__((target(BP_AVXVNNI_TARGET))), apply_to = function)

#include "avx2.h"

#pragma STDC FP_CONTRACT OFF

// Integer kernels for AVX2 with VNNI on 256-bit registers, in the encoding that needs no AVX-512.
// vpdpbusd multiplies unsigned weights by signed activations and does not saturate. Everything
// else is that of `avx2`.

/// Most tokens that unpack codes in registers.
#define DECODE_TOKENS 4
/// Tokens of a block of expanded tiles: 6 tokens × 2 registers of sums, 2 of weights and one of
/// activations are 15 of 16.
#define BLOCK_TOKENS 6

static bp_activation_order activation_order(int64_t tokens, int32_t group_size) {
  (void)group_size;
  return (bp_activation_order){tokens <= DECODE_TOKENS ? (int32_t)tokens : BLOCK_TOKENS, 4};
}

static size_t scratch_bytes(const bp_matrix *w, int64_t tokens) {
  if (tokens <= DECODE_TOKENS || w->bit_width == 8) return 0;
  return (size_t)(w->groups * w->group_size) * BP_TILE_HEIGHT;
}

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
  // Independent sums hide the latency of the dot product.
  const int chains = tokens == 1 ? 4 : tokens == 2 ? 2 : 1;
  const int32_t stored_bits = expanded ? 8 : bits;
  const int32_t low_bits = bp_low_bits(stored_bits), high_bits = stored_bits - low_bits;
  const int32_t group_size = w->group_size;
  __m256 sums[BLOCK_TOKENS][2];
  BP_UNROLL for (int t = 0; t < tokens; t++) sums[t][0] = sums[t][1] = _mm256_setzero_ps();
  const int8_t *a = bp_activation_block(x, block);
  const float *activation_scales = x->scales + block * x->groups * stride;
  const int32_t *negated_sums = x->negated_sums + block * x->groups * stride;
  for (int64_t group = 0; group < w->groups; group++) {
    __m256i products[BLOCK_TOKENS][4][2];
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      BP_UNROLL for (int c = 0; c < chains; c++) {
        products[t][c][0] = products[t][c][1] = _mm256_setzero_si256();
      }
    }
    const uint8_t *low = codes, *high = codes + 2 * low_bits * group_size;
    bp256_binary binary;
    if (stored_family == BP_FAMILY_BINARY) {
      binary = bp256_read_binary(
          bits, bp_plane_weights_at(w, tile, group), bp256_binary_zero(bits));
    }
    for (int32_t chunk = 0; chunk < group_size; chunk += 32) {
      BP_UNROLL for (int u = 0; u < 8; u++) {
        __m256i unit[2];
        BP_UNROLL for (int half = 0; half < 2; half++) {
          unit[half] = bp256_unit(
              stored_family, stored_bits, low, high, group_size, &binary, u, half);
        }
        BP_UNROLL for (int t = 0; t < tokens; t++) {
          const __m256i value = broadcast(a + (u * stride + t) * 4);
          BP_UNROLL for (int half = 0; half < 2; half++) {
            __m256i *product = &products[t][u % chains][half];
            *product = bp256_dot(*product, unit[half], value);
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
        __m256i sum = products[t][0][half];
        BP_UNROLL for (int c = 1; c < chains; c++) {
          sum = _mm256_add_epi32(sum, products[t][c][half]);
        }
        sums[t][half] = bp256_accumulate(
            sums[t][half], sum, zero[half], negated_sums[t], scale, activation_scales[t]);
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

#define BLOCK_CASE(tokens)                                                                     \
  case tokens:                                                                                 \
    multiply_tile(                                                                             \
        family, bits, expanded, tokens, BLOCK_TOKENS, codes, w, x, y, tile, block);            \
    break;

BP_INLINE void multiply_width(
    const bp_family family, const int32_t bits, const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile_begin, int64_t tile_end, int64_t block_begin,
    int64_t block_end, uint8_t *scratch) {
  const int expanded = bits != 8;
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    const uint8_t *codes = bp_codes_at(w, tile, 0);
    if (x->tokens <= DECODE_TOKENS) {
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
        BLOCK_CASE(1)
        BLOCK_CASE(2)
        BLOCK_CASE(3)
        BLOCK_CASE(4)
        BLOCK_CASE(5)
        BLOCK_CASE(6)
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
    bp_multiply_row_avxvnni(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  } else {
    multiply_for(w)(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  }
}

const bp_kernels bp_kernels_avxvnni = {
    .isa = BP_ISA_AVXVNNI,
    .name = "avxvnni",
    .activation_order = activation_order,
    .quantize = bp_quantize_avx2,
    .scratch_bytes = scratch_bytes,
    .multiply = multiply,
    .multiply_float16 = bp_multiply_float16_avx2,
    .families = BP_ALL_FAMILIES,
    .quantize_tokens = bp_quantize_tokens_avx2,
};

#pragma clang attribute pop

#endif
