#ifndef BITPLAN_INTERNAL_H
#define BITPLAN_INTERNAL_H

// What the kernel files share: where the parts of a packed group lie, and binary16.

#include "bitplan_kernels.h"

#include <assert.h>
#include <string.h>

#define BP_INLINE static inline __attribute__((always_inline))

/// Bits of the first plane of a code: 3 = 2 + 1, 5 = 4 + 1, 6 = 4 + 2.
BP_INLINE int32_t bp_low_bits(int32_t bit_width) {
  return bit_width == 3 ? 2 : bit_width == 5 || bit_width == 6 ? 4 : bit_width;
}

/// Bytes of the codes of one group of one tile.
BP_INLINE int64_t bp_code_bytes(const bp_matrix *w) {
  return 2 * (int64_t)w->bit_width * w->group_size;
}

/// Codes of one group of one tile.
BP_INLINE const uint8_t *bp_codes_at(const bp_matrix *w, int64_t tile, int64_t group) {
  return w->codes + (tile * w->groups + group) * bp_code_bytes(w);
}

/// Scales of one group of one tile.
BP_INLINE const uint16_t *bp_scales_at(const bp_matrix *w, int64_t tile, int64_t group) {
  return w->scales + (tile * w->groups + group) * BP_TILE_HEIGHT;
}

/// Zero points of one group of one tile; not to be called without any.
BP_INLINE const uint8_t *bp_zero_points_at(const bp_matrix *w, int64_t tile, int64_t group) {
  return w->zero_points + (tile * w->groups + group) * 2 * w->bit_width;
}

/// Scales of one tile whose rows have one each.
BP_INLINE const uint16_t *bp_row_scales_at(const bp_matrix *w, int64_t tile) {
  return w->scales + tile * BP_TILE_HEIGHT;
}

/// Exponents of one group of one tile of block floating point.
BP_INLINE const uint8_t *bp_exponents_at(const bp_matrix *w, int64_t tile, int64_t group) {
  return w->exponents + (tile * w->groups + group) * BP_TILE_HEIGHT;
}

/// Two-level codes of one group of one tile.
BP_INLINE const uint8_t *bp_two_level_at(const bp_matrix *w, int64_t tile, int64_t group) {
  return w->zero_points + (tile * w->groups + group) * BP_TILE_HEIGHT;
}

/// Offsets of one group of one tile of binary coding, which plane weights follow.
BP_INLINE const uint16_t *bp_offsets_at(const bp_matrix *w, int64_t tile, int64_t group) {
  const int64_t halves = (w->bit_width == 1 ? 2 : 2 + w->bit_width) * BP_TILE_HEIGHT / 2;
  return w->offsets + (tile * w->groups + group) * halves;
}

/// Plane weights of one group of one tile of binary coding, `[bit][16]`.
BP_INLINE const uint8_t *bp_plane_weights_at(const bp_matrix *w, int64_t tile, int64_t group) {
  static const uint8_t ones[BP_TILE_HEIGHT] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  if (w->bit_width == 1) return ones;
  return (const uint8_t *)(bp_offsets_at(w, tile, group) + BP_TILE_HEIGHT);
}

/// The levels of the non-linear formats plus 128 (`NonlinearLevels` in BitplanCore).
static const uint8_t bp_nonlinear_bytes[16] __attribute__((aligned(16), unused)) = {
    1, 36, 57, 74, 88, 100, 111, 121, 131, 141, 153, 165, 179, 196, 215, 241};

/// The zero point of every group where none are stored.
BP_INLINE int32_t bp_middle(const bp_matrix *w) {
  const int is_byte = w->family == BP_FAMILY_NONLINEAR || w->family == BP_FAMILY_BINARY;
  return is_byte ? 128 : 1 << (w->bit_width - 1);
}

/// Codes of one block of tokens.
BP_INLINE const int8_t *bp_activation_block(const bp_activations *x, int64_t block) {
  return x->codes + block * x->block * x->groups * x->group_size;
}

/// binary16 as float; exact, and quiet for every NaN as the conversion instructions are.
BP_INLINE float bp_float_from_half(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  uint32_t exponent = (half >> 10) & 0x1F, mantissa = half & 0x3FF, bits;
  if (exponent == 0x1F) {
    bits = sign | 0x7F800000u | (mantissa << 13) | (mantissa ? 0x400000u : 0);
  } else if (exponent != 0) {
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else {
    // Subnormal: mantissa · 2^-24, exact in float.
    float magnitude = (float)mantissa * 0x1p-24f;
    memcpy(&bits, &magnitude, 4);
    bits |= sign;
  }
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

/// The scale of one group of one row as a float.
BP_INLINE float bp_group_scale(const bp_matrix *w, int64_t row, int64_t group) {
  if (w->family != BP_FAMILY_BLOCK_FLOAT) return bp_float_from_half(bp_scale(w, row, group));
  // The byte is the exponent field of a float: 2^(exponent − 127), and 0 for exponent 0.
  const uint32_t bits = (uint32_t)bp_exponent(w, row, group) << 23;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

/// The integer weight that a code of a two-level group stands for; quantizers keep the product
/// within −127…127, other content wraps.
BP_INLINE int8_t bp_two_level_byte(uint8_t two_level, uint8_t code) {
  return (int8_t)(uint8_t)(((two_level >> 4) + 1) * (code - (two_level & 15)));
}

/// The integer weight that a code of binary coding stands for, Σ ±q, plus where the bit is 1;
/// `plane_weights` are those of its row, 16 apart. Quantizers keep Σ q ≤ 127, so that it is within
/// −127…127; other content wraps.
BP_INLINE int8_t bp_binary_byte(const uint8_t *plane_weights, int32_t bits, uint8_t code) {
  uint8_t sum = 0;
  for (int32_t bit = 0; bit < bits; bit++) {
    const uint8_t weight = plane_weights[bit * BP_TILE_HEIGHT];
    sum = (uint8_t)((code >> bit) & 1 ? sum + weight : sum - weight);
  }
  return (int8_t)sum;
}

/// Smallest group maximum that is not treated as zero: below it 127 / maximum would overflow.
#define BP_SMALLEST_MAXIMUM 0x1p-110f

/// Copies the codes of one group of one token to where the kernels read them.
BP_INLINE void bp_place_group(
    const int8_t *codes, const bp_activations *out, int64_t token, int64_t group) {
  const int64_t block = out->block, depth = out->depth;
  int8_t *target = out->codes + (token / block) * block * out->groups * out->group_size
      + group * out->group_size * block + (token % block) * depth;
  if (depth == 4) {
    for (int32_t k = 0; k < out->group_size; k += 4, target += block * 4) {
      memcpy(target, codes + k, 4);
    }
  } else {
    for (int32_t k = 0; k < out->group_size; k += out->depth, target += block * depth) {
      memcpy(target, codes + k, (size_t)depth);
    }
  }
}

/// Fills the tokens that pad the last block with zeros.
BP_INLINE void bp_place_padding(const bp_activations *out, int64_t block) {
  static const int8_t zeros[128] = {0};
  for (int64_t token = block * out->block; token < (block + 1) * out->block; token++) {
    if (token < out->tokens) continue;
    if (out->per_token) out->scales[token] = 0;
    for (int64_t group = 0; group < out->groups; group++) {
      bp_place_group(zeros, out, token, group);
      int64_t index = (block * out->groups + group) * out->block + token % out->block;
      if (!out->per_token) out->scales[index] = 0;
      out->negated_sums[index] = 0;
    }
  }
}

#define BP_MIN(a, b) ((a) < (b) ? (a) : (b))

// Unrolls the loop that follows completely; its trip count is a constant after inlining.
#define BP_UNROLL _Pragma("clang loop unroll(full)")

/// All bits of `families`.
#define BP_FAMILY_BIT(family) (1u << (family))
#define BP_ALL_FAMILIES                                                                        \
  (BP_FAMILY_BIT(BP_FAMILY_NONLINEAR) | BP_FAMILY_BIT(BP_FAMILY_BLOCK_FLOAT)                   \
   | BP_FAMILY_BIT(BP_FAMILY_PER_ROW) | BP_FAMILY_BIT(BP_FAMILY_TWO_LEVEL)                     \
   | BP_FAMILY_BIT(BP_FAMILY_BINARY))

extern const bp_kernels bp_kernels_scalar;
void bp_multiply_scalar(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch);
/// Per-row and two-level weights, in plain C.
void bp_multiply_row_scalar(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end);
void bp_quantize_tokens_scalar(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end);
extern const bp_vector_operations bp_vector_operations_scalar;
void bp_quantize_scalar(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end);
#if defined(__x86_64__)
extern const bp_kernels bp_kernels_avx2;
extern const bp_vector_operations bp_vector_operations_avx2;
void bp_quantize_avx2(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end);
void bp_multiply_float16_avx2(
    const uint16_t *w, int64_t rows, int64_t input_features, const float *x, int64_t x_stride,
    const bp_output *y, int64_t tile_begin, int64_t tile_end, int64_t token_begin,
    int64_t token_end);
extern const bp_kernels bp_kernels_avxvnni;
void bp_multiply_row_avxvnni(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch);
void bp_quantize_tokens_avx2(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end);
size_t bp_row_scratch_bytes_avx2(const bp_matrix *w, int64_t tokens);
void bp_multiply_row_avx2(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch);
extern const bp_kernels bp_kernels_avx512vnni;
void bp_multiply_lookup_avx512vbmi(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, void *scratch);
extern const bp_vector_operations bp_vector_operations_avx512vnni;
void bp_multiply_avx512vnni(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch);
void bp_quantize_avx512vnni(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end);
void bp_multiply_float16_avx512vnni(
    const uint16_t *w, int64_t rows, int64_t input_features, const float *x, int64_t x_stride,
    const bp_output *y, int64_t tile_begin, int64_t tile_end, int64_t token_begin,
    int64_t token_end);
void bp_quantize_tokens_avx512vnni(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end);
size_t bp_row_scratch_bytes_avx512vnni(const bp_matrix *w, int64_t tokens);
void bp_multiply_row_avx512vnni(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch);
void bp_decode_avx512vnni(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end);
void bp_multiply_plane_avx512vnni(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end);
#endif
#if defined(__x86_64__) && defined(__linux__)
extern const bp_kernels bp_kernels_avx512amx;
size_t bp_row_scratch_bytes_avx512amx(const bp_matrix *w, int64_t tokens);
void bp_multiply_row_avx512amx(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch);
#endif

#if defined(__aarch64__)
extern const bp_kernels bp_kernels_neon_dotprod;
extern const bp_kernels bp_kernels_neon_i8mm;
size_t bp_row_scratch_bytes_neon(const bp_matrix *w);
void bp_multiply_row_neon_dotprod(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch);
void bp_multiply_row_neon_i8mm(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch);
void bp_multiply_neon_dotprod(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch);
void bp_quantize_neon(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end);
void bp_multiply_float16_neon(
    const uint16_t *w, int64_t rows, int64_t input_features, const float *x, int64_t x_stride,
    const bp_output *y, int64_t tile_begin, int64_t tile_end, int64_t token_begin,
    int64_t token_end);
#endif

#endif
