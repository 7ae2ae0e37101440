#if defined(__aarch64__)

#include "neon.h"

#pragma clang attribute push(__attribute__((target("dotprod,i8mm"))), apply_to = function)

#pragma STDC FP_CONTRACT OFF

// Integer kernels for NEON with the 8-bit matrix extension. usmmla multiplies 2 rows × 8 unsigned
// codes by 8 signed activations × 2 tokens, twice the work of a dot product. Up to 4 tokens are
// bound by memory and share the kernels of `neon_dotprod`.

/// Most tokens that unpack weights in registers.
#define DECODE_TOKENS 4
/// Tokens of a block: 4 pairs of rows × 6 pairs of tokens of sums are 24 of 32 registers.
#define BLOCK_TOKENS 12
#define BLOCK_PAIRS (BLOCK_TOKENS / 2)

static bp_activation_order activation_order(int64_t tokens, int32_t group_size) {
  (void)group_size;
  if (tokens <= DECODE_TOKENS) return (bp_activation_order){(int32_t)tokens, 4};
  return (bp_activation_order){BLOCK_TOKENS, 8};
}

static size_t scratch_bytes(const bp_matrix *w, int64_t tokens) {
  if (tokens <= DECODE_TOKENS) return 0;
  if (w->family == BP_FAMILY_PER_ROW || w->family == BP_FAMILY_TWO_LEVEL) {
    return bp_row_scratch_bytes_neon(w);
  }
  return (size_t)(bp_neon_tiles_together(w) * bp_neon_tile_bytes(w));
}

/// Codes as unsigned bytes, `[input features / 8][pair of rows][2][8]`.
BP_INLINE void expand_tile(
    const bp_family family, const int32_t bits, const bp_matrix *w, int64_t tile,
    bp_neon_tile out) {
  const int32_t low_bits = bp_low_bits(bits), high_bits = bits - low_bits;
  uint8_t *target = (uint8_t *)out.codes;
  for (int64_t group = 0; group < w->groups; group++) {
    const uint8_t *low = bp_codes_at(w, tile, group);
    const uint8_t *high = low + 2 * low_bits * w->group_size;
    bp_neon_binary binary;
    if (family == BP_FAMILY_BINARY) binary = bp_neon_read_binary(bits, w, tile, group, 128);
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32) {
      BP_UNROLL for (int u = 0; u < 8; u += 2) {
        BP_UNROLL for (int q = 0; q < 4; q++) {
          uint8x16_t units[2];
          BP_UNROLL for (int i = 0; i < 2; i++) {
            units[i] = family == BP_FAMILY_BINARY
                ? bp_neon_unpack_binary(bits, low, 2 * w->group_size, &binary, u + i, q)
                : bp_neon_unpack(bits, low, high, u + i, q);
            if (family == BP_FAMILY_NONLINEAR) units[i] = bp_neon_look_up(units[i]);
          }
          const uint32x4_t first = vreinterpretq_u32_u8(units[0]);
          const uint32x4_t second = vreinterpretq_u32_u8(units[1]);
          uint8_t *pair = target + 64 * u + 32 * q;
          vst1q_u8(pair, vreinterpretq_u8_u32(vzip1q_u32(first, second)));
          vst1q_u8(pair + 16, vreinterpretq_u8_u32(vzip2q_u32(first, second)));
        }
      }
      low += bp_neon_low_bytes(family, bits);
      high += 64 * high_bits;
      target += 512;
    }
  }
  bp_neon_expand_scales(bits, w, tile, 0, out);
}

static void expand(const bp_matrix *w, int64_t tile, bp_neon_tile out) {
  if (w->family == BP_FAMILY_NONLINEAR) {
    expand_tile(BP_FAMILY_NONLINEAR, 4, w, tile, out);
    return;
  }
  if (w->family == BP_FAMILY_BINARY) {
    switch (w->bit_width) {
      case 1: expand_tile(BP_FAMILY_BINARY, 1, w, tile, out); break;
      case 2: expand_tile(BP_FAMILY_BINARY, 2, w, tile, out); break;
      case 3: expand_tile(BP_FAMILY_BINARY, 3, w, tile, out); break;
      default: expand_tile(BP_FAMILY_BINARY, 4, w, tile, out); break;
    }
    return;
  }
  switch (w->bit_width) {
    case 2: expand_tile(BP_FAMILY_INTEGER, 2, w, tile, out); break;
    case 3: expand_tile(BP_FAMILY_INTEGER, 3, w, tile, out); break;
    case 4: expand_tile(BP_FAMILY_INTEGER, 4, w, tile, out); break;
    case 5: expand_tile(BP_FAMILY_INTEGER, 5, w, tile, out); break;
    case 6: expand_tile(BP_FAMILY_INTEGER, 6, w, tile, out); break;
    default: expand_tile(BP_FAMILY_INTEGER, 8, w, tile, out); break;
  }
}

/// Half a tile, 8 rows, times the first `pairs` pairs of tokens of a block.
BP_INLINE void multiply_half(
    const int pairs, const bp_neon_tile *ready, const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile, int half, int64_t block) {
  const int64_t first_row = tile * BP_TILE_HEIGHT + 8 * half;
  if (first_row >= w->rows) return;
  float32x4_t sums[BLOCK_TOKENS][2];
  BP_UNROLL for (int t = 0; t < 2 * pairs; t++) sums[t][0] = sums[t][1] = vdupq_n_f32(0);
  const uint8_t *codes = ready->codes + 64 * half;
  const int8_t *a = bp_activation_block(x, block);
  const float *activation_scales = x->scales + block * x->groups * BLOCK_TOKENS;
  const int32_t *negated_sums = x->negated_sums + block * x->groups * BLOCK_TOKENS;
  const int32_t group_size = w->group_size;
  for (int64_t group = 0; group < w->groups; group++) {
    // Rows 2p and 2p + 1 times tokens 2q and 2q + 1, row by row.
    int32x4_t products[4][BLOCK_PAIRS];
    BP_UNROLL for (int p = 0; p < 4; p++) {
      BP_UNROLL for (int q = 0; q < pairs; q++) products[p][q] = vdupq_n_s32(0);
    }
    for (int32_t k = 0; k < group_size; k += 8) {
      uint8x16_t rows[4];
      BP_UNROLL for (int p = 0; p < 4; p++) rows[p] = vld1q_u8(codes + 16 * p);
      BP_UNROLL for (int q = 0; q < pairs; q++) {
        const int8x16_t values = vld1q_s8(a + 16 * q);
        BP_UNROLL for (int p = 0; p < 4; p++) {
          products[p][q] = vusmmlaq_s32(products[p][q], rows[p], values);
        }
      }
      codes += 128;
      a += 8 * BLOCK_TOKENS;
    }
    BP_UNROLL for (int j = 0; j < 2; j++) {
      const int64_t place = group * BP_TILE_HEIGHT + 8 * half + 4 * j;
      const float32x4_t scale = vld1q_f32(ready->scales + place);
      const int32x4_t zero = vld1q_s32(ready->zeros + place);
      BP_UNROLL for (int q = 0; q < pairs; q++) {
        const int32x4_t even = vuzp1q_s32(products[2 * j][q], products[2 * j + 1][q]);
        const int32x4_t odd = vuzp2q_s32(products[2 * j][q], products[2 * j + 1][q]);
        sums[2 * q][j] = bp_neon_accumulate(
            sums[2 * q][j], even, zero, negated_sums[2 * q], scale, activation_scales[2 * q]);
        sums[2 * q + 1][j] = bp_neon_accumulate(
            sums[2 * q + 1][j], odd, zero, negated_sums[2 * q + 1], scale,
            activation_scales[2 * q + 1]);
      }
      if (ready->offsets) {
        const float32x4_t offset = vld1q_f32(ready->offsets + place);
        BP_UNROLL for (int t = 0; t < 2 * pairs; t++) {
          sums[t][j] = bp_neon_add_offset(
              sums[t][j], offset, negated_sums[t], activation_scales[t]);
        }
      }
    }
    negated_sums += BLOCK_TOKENS;
    activation_scales += BLOCK_TOKENS;
  }
  // With an odd number of tokens the last one of the last pair is padding.
  BP_UNROLL for (int t = 0; t < 2 * pairs; t++) {
    const int64_t token = block * BLOCK_TOKENS + t;
    if (token < x->tokens) bp_neon_store(y, token, first_row, w->rows, 2, sums[t]);
  }
}

#define PAIRS_CASE(pairs)                                                                      \
  case pairs: multiply_half(pairs, ready, w, x, y, tile, half, block); break;

static void multiply_block(
    const bp_neon_tile *ready, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile, int64_t block) {
  const int64_t tokens = BP_MIN(BLOCK_TOKENS, x->tokens - block * BLOCK_TOKENS);
  for (int half = 0; half < 2; half++) {
    switch ((tokens + 1) / 2) {
      PAIRS_CASE(1)
      PAIRS_CASE(2)
      PAIRS_CASE(3)
      PAIRS_CASE(4)
      PAIRS_CASE(5)
      PAIRS_CASE(6)
    }
  }
}

static void multiply(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  if (x->depth == 4) {
    bp_multiply_neon_dotprod(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
    return;
  }
  if (block_begin >= block_end) return;
  assert(x->block == BLOCK_TOKENS && x->depth == 8);
  if (w->family == BP_FAMILY_PER_ROW || w->family == BP_FAMILY_TWO_LEVEL) {
    bp_multiply_row_neon_i8mm(
        w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
    return;
  }
  const int64_t together = bp_neon_tiles_together(w);
  for (int64_t first = tile_begin; first < tile_end; first += together) {
    const int64_t last = BP_MIN(tile_end, first + together);
    for (int64_t tile = first; tile < last; tile++) {
      expand(w, tile, bp_neon_tile_at(w, scratch, tile - first));
    }
    for (int64_t block = block_begin; block < block_end; block++) {
      for (int64_t tile = first; tile < last; tile++) {
        const bp_neon_tile ready = bp_neon_tile_at(w, scratch, tile - first);
        multiply_block(&ready, w, x, y, tile, block);
      }
    }
  }
}

const bp_kernels bp_kernels_neon_i8mm = {
    .isa = BP_ISA_NEON_I8MM,
    .name = "neon_i8mm",
    .activation_order = activation_order,
    .quantize = bp_quantize_neon,
    .scratch_bytes = scratch_bytes,
    .multiply = multiply,
    .multiply_float16 = bp_multiply_float16_neon,
    .families = BP_ALL_FAMILIES,
};

#pragma clang attribute pop

#endif
