#if defined(__aarch64__)

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)

#include "neon_dotprod.h"

#pragma STDC FP_CONTRACT OFF

// Integer kernels for NEON with the dot-product extension. sdot multiplies signed bytes by signed
// bytes: codes of up to 6 bits are at most 63 and serve as they are; 8-bit codes become u − 128 by
// flipping their top bit, and the zero points are lowered by 128 to match:
// The levels of the non-linear formats are treated as 8-bit codes are; the planes of binary coding
// are expanded to u − 128 at once.
//   Σ u·a − z·Σ a = Σ (u − 128)·a − (z − 128)·Σ a,
// where |Σ (u − 128)·a| ≤ 128·127·128 = 2,080,768 and |(z − 128)·Σ a| ≤ 128·16,256 = 2,080,768.

/// Tokens of a block: 4 tokens × 4 quarters of sums are half of the 32 registers. Up to so many
/// tokens unpack codes in registers.
#define BLOCK_TOKENS 4

static bp_activation_order activation_order(int64_t tokens, int32_t group_size) {
  (void)group_size;
  return (bp_activation_order){tokens <= BLOCK_TOKENS ? (int32_t)tokens : BLOCK_TOKENS, 4};
}

static size_t scratch_bytes(const bp_matrix *w, int64_t tokens) {
  if (tokens <= BLOCK_TOKENS) return 0;
  if (w->family == BP_FAMILY_PER_ROW || w->family == BP_FAMILY_TWO_LEVEL) {
    return bp_row_scratch_bytes_neon(w);
  }
  return (size_t)(bp_neon_tiles_together(w) * bp_neon_tile_bytes(w));
}

/// What is taken off 8-bit codes, off levels and off the bytes of binary coding.
BP_INLINE int32_t code_offset(const bp_family family, const int32_t bits) {
  return bits == 8 || family == BP_FAMILY_NONLINEAR || family == BP_FAMILY_BINARY ? 128 : 0;
}

/// One unit of a quarter of a tile as signed bytes.
BP_INLINE int8x16_t signed_codes(
    const bp_family family, const int32_t bits, const uint8_t *low, const uint8_t *high,
    int32_t group_size, const bp_neon_binary *binary, int unit, int quarter) {
  if (family == BP_FAMILY_BINARY) {
    return vreinterpretq_s8_u8(
        bp_neon_unpack_binary(bits, low, 2 * group_size, binary, unit, quarter));
  }
  uint8x16_t codes = bp_neon_unpack(bits, low, high, unit, quarter);
  if (family == BP_FAMILY_NONLINEAR) codes = bp_neon_look_up(codes);
  return vreinterpretq_s8_u8(codes ^ vdupq_n_u8((uint8_t)code_offset(family, bits)));
}

/// One tile times `tokens` tokens that lie in blocks of `stride`. With `ready` codes, scales and
/// zero points come from there; without, they are unpacked on the way.
BP_INLINE void multiply_tile(
    const bp_family family, const int32_t bits, const int tokens, const int stride,
    const bp_neon_tile *ready, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile, int64_t block) {
  // Independent sums hide the latency of the dot product.
  const int chains = tokens == 1 ? 2 : 1;
  const int32_t low_bits = bp_low_bits(bits), high_bits = bits - low_bits;
  const int32_t group_size = w->group_size;
  float32x4_t sums[BLOCK_TOKENS][4];
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    BP_UNROLL for (int q = 0; q < 4; q++) sums[t][q] = vdupq_n_f32(0);
  }
  const uint8_t *codes = ready ? ready->codes : NULL;
  const int8_t *a = bp_activation_block(x, block);
  const float *activation_scales = x->scales + block * x->groups * stride;
  const int32_t *negated_sums = x->negated_sums + block * x->groups * stride;
  for (int64_t group = 0; group < w->groups; group++) {
    int32x4_t products[BLOCK_TOKENS][2][4];
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      BP_UNROLL for (int q = 0; q < 4; q++) {
        products[t][0][q] = products[t][1][q] = vdupq_n_s32(0);
      }
    }
    const uint8_t *low = bp_codes_at(w, tile, group), *high = low + 2 * low_bits * group_size;
    bp_neon_binary binary;
    if (family == BP_FAMILY_BINARY && !ready) {
      binary = bp_neon_read_binary(bits, w, tile, group, 0);
    }
    for (int32_t chunk = 0; chunk < group_size; chunk += 32) {
      BP_UNROLL for (int u = 0; u < 8; u++) {
        int8x16_t unit[4];
        BP_UNROLL for (int q = 0; q < 4; q++) {
          unit[q] = ready ? vreinterpretq_s8_u8(vld1q_u8(codes + 64 * u + 16 * q))
                          : signed_codes(
                                family, bits, low, high, group_size, &binary, u, q);
        }
        BP_UNROLL for (int t = 0; t < tokens; t++) {
          const int place = u * stride + t;
          const int8x16_t values = vld1q_s8(a + place / 4 * 16);
          BP_UNROLL for (int q = 0; q < 4; q++) {
            products[t][u % chains][q] =
                bp_neon_dot_lane(products[t][u % chains][q], unit[q], values, place % 4);
          }
        }
      }
      low += bp_neon_low_bytes(family, bits);
      high += 64 * high_bits;
      if (ready) codes += 512;
      a += 32 * stride;
    }
    float32x4_t scale[4];
    int32x4_t zero[4];
    if (ready) {
      BP_UNROLL for (int q = 0; q < 4; q++) {
        scale[q] = vld1q_f32(ready->scales + group * 16 + 4 * q);
        zero[q] = vld1q_s32(ready->zeros + group * 16 + 4 * q);
      }
    } else {
      bp_neon_group_scales(w, tile, group, scale);
      bp_neon_zero_points(bits, w, tile, group, zero);
      BP_UNROLL for (int q = 0; q < 4; q++) {
        zero[q] -= vdupq_n_s32(code_offset(family, bits));
      }
    }
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      BP_UNROLL for (int q = 0; q < 4; q++) {
        const int32x4_t sum =
            chains == 1 ? products[t][0][q] : products[t][0][q] + products[t][1][q];
        sums[t][q] = bp_neon_accumulate(
            sums[t][q], sum, zero[q], negated_sums[t], scale[q], activation_scales[t]);
      }
    }
    if (ready ? ready->offsets != NULL : family == BP_FAMILY_BINARY) {
      float32x4_t offset[4];
      bp_neon_scales(bp_offsets_at(w, tile, group), offset);
      BP_UNROLL for (int t = 0; t < tokens; t++) {
        BP_UNROLL for (int q = 0; q < 4; q++) {
          sums[t][q] = bp_neon_add_offset(
              sums[t][q], offset[q], negated_sums[t], activation_scales[t]);
        }
      }
    }
    negated_sums += stride;
    activation_scales += stride;
  }
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    bp_neon_store(y, block * stride + t, tile * BP_TILE_HEIGHT, w->rows, 4, sums[t]);
  }
}

/// Codes as signed bytes, units in order.
BP_INLINE void expand_tile(
    const bp_family family, const int32_t bits, const bp_matrix *w, int64_t tile,
    bp_neon_tile out) {
  const int32_t low_bits = bp_low_bits(bits), high_bits = bits - low_bits;
  int8_t *target = (int8_t *)out.codes;
  for (int64_t group = 0; group < w->groups; group++) {
    const uint8_t *low = bp_codes_at(w, tile, group);
    const uint8_t *high = low + 2 * low_bits * w->group_size;
    bp_neon_binary binary;
    if (family == BP_FAMILY_BINARY) binary = bp_neon_read_binary(bits, w, tile, group, 0);
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32) {
      BP_UNROLL for (int u = 0; u < 8; u++) {
        BP_UNROLL for (int q = 0; q < 4; q++) {
          vst1q_s8(
              target + 64 * u + 16 * q,
              signed_codes(family, bits, low, high, w->group_size, &binary, u, q));
        }
      }
      low += bp_neon_low_bytes(family, bits);
      high += 64 * high_bits;
      target += 512;
    }
  }
  bp_neon_expand_scales(bits, w, tile, code_offset(family, bits), out);
}

/// A tile that is ready times one block of tokens; the codes' width no longer matters.
static void multiply_ready(
    const bp_neon_tile *ready, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile, int64_t block) {
  switch (BP_MIN(BLOCK_TOKENS, x->tokens - block * BLOCK_TOKENS)) {
    case 1: multiply_tile(BP_FAMILY_INTEGER, 8, 1, 4, ready, w, x, y, tile, block); break;
    case 2: multiply_tile(BP_FAMILY_INTEGER, 8, 2, 4, ready, w, x, y, tile, block); break;
    case 3: multiply_tile(BP_FAMILY_INTEGER, 8, 3, 4, ready, w, x, y, tile, block); break;
    default: multiply_tile(BP_FAMILY_INTEGER, 8, 4, 4, ready, w, x, y, tile, block); break;
  }
}

BP_INLINE void multiply_width(
    const bp_family family, const int32_t bits, const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile_begin, int64_t tile_end, int64_t block_begin,
    int64_t block_end, uint8_t *scratch) {
  if (x->tokens <= BLOCK_TOKENS) {
    for (int64_t tile = tile_begin; tile < tile_end; tile++) {
      switch (x->block) {
        case 1: multiply_tile(family, bits, 1, 1, NULL, w, x, y, tile, 0); break;
        case 2: multiply_tile(family, bits, 2, 2, NULL, w, x, y, tile, 0); break;
        case 3: multiply_tile(family, bits, 3, 3, NULL, w, x, y, tile, 0); break;
        default: multiply_tile(family, bits, 4, 4, NULL, w, x, y, tile, 0); break;
      }
    }
    return;
  }
  const int64_t together = bp_neon_tiles_together(w);
  for (int64_t first = tile_begin; first < tile_end; first += together) {
    const int64_t last = BP_MIN(tile_end, first + together);
    for (int64_t tile = first; tile < last; tile++) {
      expand_tile(family, bits, w, tile, bp_neon_tile_at(w, scratch, tile - first));
    }
    for (int64_t block = block_begin; block < block_end; block++) {
      for (int64_t tile = first; tile < last; tile++) {
        const bp_neon_tile ready = bp_neon_tile_at(w, scratch, tile - first);
        multiply_ready(&ready, w, x, y, tile, block);
      }
    }
  }
}

#include "multiply_widths.inc.h"

void bp_multiply_neon_dotprod(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  if (block_begin >= block_end) return;
  assert(x->depth == 4);
  if (w->family == BP_FAMILY_PER_ROW || w->family == BP_FAMILY_TWO_LEVEL) {
    bp_multiply_row_neon_dotprod(
        w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
    return;
  }
  multiply_for(w)(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
}

const bp_kernels bp_kernels_neon_dotprod = {
    .isa = BP_ISA_NEON_DOTPROD,
    .name = "neon_dotprod",
    .activation_order = activation_order,
    .quantize = bp_quantize_neon,
    .scratch_bytes = scratch_bytes,
    .multiply = bp_multiply_neon_dotprod,
    .multiply_float16 = bp_multiply_float16_neon,
    .families = BP_ALL_FAMILIES,
};

#pragma clang attribute pop

#endif
