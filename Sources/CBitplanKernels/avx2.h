#ifndef BITPLAN_AVX2_H
#define BITPLAN_AVX2_H

// What the AVX2 files share. A tile of 16 output features is two registers: rows 0–7 and 8–15. To
// be included after the target attribute has been pushed.

#include "internal.h"

#include <immintrin.h>

BP_INLINE __m256i bp256_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

/// One unit (4 input features of 16 output features) of one plane, half a tile: bytes with the
/// plane's bits at the bottom.
BP_INLINE __m256i bp256_plane(const int32_t bits, const uint8_t *plane, int unit, int half) {
  const int per_byte = 8 / bits;
  const __m256i bytes = bp256_load(plane + 64 * (unit / per_byte) + 32 * half);
  if (bits == 8) return bytes;
  const __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
  return _mm256_and_si256(_mm256_srli_epi16(bytes, bits * (unit % per_byte)), mask);
}

/// Unit `unit` of a chunk of 8, half a tile, as unsigned bytes.
BP_INLINE __m256i bp256_unpack(
    const int32_t bits, const uint8_t *low, const uint8_t *high, int unit, int half) {
  const int32_t low_bits = bp_low_bits(bits);
  __m256i codes = bp256_plane(low_bits, low, unit, half);
  if (bits != low_bits) {
    const __m256i above = bp256_plane(bits - low_bits, high, unit, half);
    codes = _mm256_or_si256(codes, _mm256_slli_epi16(above, low_bits));
  }
  return codes;
}

/// The codes of a non-linear format replaced by their levels plus 128.
BP_INLINE __m256i bp256_look_up(__m256i codes) {
  return _mm256_shuffle_epi8(
      _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)bp_nonlinear_bytes)), codes);
}

/// What turns the planes of one group of one tile of binary coding into bytes, by halves.
typedef struct {
  /// A constant minus all plane weights of a row, in all four bytes of the row.
  __m256i base[2];
  /// What a bit 1 adds to that: twice its plane weight.
  __m256i twice[4][2];
} bp256_binary;

/// 16 bytes, each in all bytes of its 32-bit lane, half of them.
BP_INLINE __m256i bp256_spread(__m128i bytes, int half) {
  const __m256i places = _mm256_setr_epi32(
      0x00000000, 0x01010101, 0x02020202, 0x03030303, 0x04040404, 0x05050505, 0x06060606,
      0x07070707);
  return _mm256_shuffle_epi8(
      _mm256_broadcastsi128_si256(bytes),
      _mm256_add_epi8(places, _mm256_set1_epi8((char)(8 * half))));
}

/// Reads the plane weights of a group; `constant` is added to every byte.
BP_INLINE bp256_binary bp256_read_binary(
    const int32_t bits, const uint8_t *plane_weights, const int constant) {
  bp256_binary result;
  __m128i base = _mm_set1_epi8((char)constant);
  BP_UNROLL for (int bit = 0; bit < bits; bit++) {
    const __m128i weight = _mm_loadu_si128((const __m128i *)(plane_weights + 16 * bit));
    base = _mm_sub_epi8(base, weight);
    BP_UNROLL for (int half = 0; half < 2; half++) {
      result.twice[bit][half] = bp256_spread(_mm_add_epi8(weight, weight), half);
    }
  }
  BP_UNROLL for (int half = 0; half < 2; half++) result.base[half] = bp256_spread(base, half);
  return result;
}

/// Unit `unit` of a chunk of 8 of binary coding, half a tile, as bytes; planes are `plane_bytes`
/// apart.
BP_INLINE __m256i bp256_unpack_binary(
    const int32_t bits, const uint8_t *planes, int64_t plane_bytes, const bp256_binary *binary,
    int unit, int half) {
  const __m256i mask = _mm256_set1_epi8((char)(1 << unit));
  __m256i result = binary->base[half];
  BP_UNROLL for (int bit = 0; bit < bits; bit++) {
    const __m256i bytes = bp256_load(planes + bit * plane_bytes + 32 * half);
    const __m256i ones = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, mask), mask);
    result = _mm256_add_epi8(result, _mm256_and_si256(ones, binary->twice[bit][half]));
  }
  return result;
}

/// What is added to the weights of binary coding to make them unsigned, the zero point of the
/// bytes: with one bit, whose bytes are 0 and 2, small enough for sums of 16 bits.
BP_INLINE int32_t bp256_binary_zero(const int32_t bits) { return bits == 1 ? 1 : 128; }

/// Unit `unit` of a chunk of 8 of any family, half a tile, as the unsigned bytes that are
/// multiplied. `low` and `high` are the chunk's parts of two planes; binary coding has all its
/// planes, `2 · group_size` apart, at `low`.
BP_INLINE __m256i bp256_unit(
    const bp_family family, const int32_t bits, const uint8_t *low, const uint8_t *high,
    int32_t group_size, const bp256_binary *binary, int unit, int half) {
  if (family == BP_FAMILY_BINARY) {
    return bp256_unpack_binary(bits, low, 2 * group_size, binary, unit, half);
  }
  const __m256i codes = bp256_unpack(bits, low, high, unit, half);
  return family == BP_FAMILY_NONLINEAR ? bp256_look_up(codes) : codes;
}

/// One plane of 16 zero points as bytes.
BP_INLINE __m128i bp256_zero_plane(const int32_t bits, const uint8_t *p) {
  if (bits == 8) return _mm_loadu_si128((const __m128i *)p);
  if (bits == 4) {
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)p);
    return _mm_and_si128(
        _mm_unpacklo_epi64(bytes, _mm_srli_epi16(bytes, 4)), _mm_set1_epi8(0x0F));
  }
  if (bits == 2) {
    int32_t word;
    memcpy(&word, p, 4);
    return _mm_and_si128(
        _mm_srlv_epi32(_mm_set1_epi32(word), _mm_setr_epi32(0, 2, 4, 6)), _mm_set1_epi8(3));
  }
  int16_t word;
  memcpy(&word, p, 2);
  // Bits 0 and 8 of `word >> j`, for j = 0…7: moved to bits 7 and 15 by a product, then down.
  const __m128i moved = _mm_mullo_epi16(
      _mm_set1_epi16(word), _mm_setr_epi16(128, 64, 32, 16, 8, 4, 2, 1));
  return _mm_and_si128(_mm_srli_epi16(moved, 7), _mm_set1_epi8(1));
}

/// The 16 zero points of one group of one tile, in two registers.
BP_INLINE void bp256_zero_points(const int32_t bits, const uint8_t *p, __m256i zero[2]) {
  const int32_t low = bp_low_bits(bits);
  __m128i bytes = bp256_zero_plane(low, p);
  if (bits != low) {
    const __m128i high = bp256_zero_plane(bits - low, p + 2 * low);
    bytes = _mm_or_si128(bytes, _mm_slli_epi16(high, low));  // parts stay inside their bytes
  }
  zero[0] = _mm256_cvtepu8_epi32(bytes);
  zero[1] = _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8));
}

BP_INLINE __m256 bp256_scales(const uint16_t *p) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

/// The scales of 8 exponents of block floating point: floats with that exponent field.
BP_INLINE __m256 bp256_exponents(const uint8_t *p) {
  const __m256i exponents = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(exponents, 23));
}

/// y + d · (s·t), where d is `sum` without its zero points' part. The multiply-add of 16-bit pairs
/// is exact: zero ≤ 255 and |negated sum| ≤ 16,256 both fit in 16 bits, the upper halves of zero
/// are 0.
BP_INLINE __m256 bp256_accumulate(
    __m256 y, __m256i sum, __m256i zero, int32_t negated_sum, __m256 weight_scale,
    float activation_scale) {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(zero, _mm256_set1_epi32(negated_sum)));
  const __m256 scale = _mm256_mul_ps(weight_scale, _mm256_set1_ps(activation_scale));
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, y);
}

/// y + Σ a·t · offset of binary coding, from −Σ a.
BP_INLINE __m256 bp256_add_offset(
    __m256 y, __m256 offset, int32_t negated_sum, float activation_scale) {
  const float scaled = (float)negated_sum * activation_scale;
  return _mm256_fnmadd_ps(_mm256_set1_ps(scaled), offset, y);
}

/// Writes the results of one tile for one token.
BP_INLINE void bp256_store(
    const bp_output *y, int64_t token, int64_t tile, int64_t rows, const __m256 value[2]) {
  const int64_t first = tile * BP_TILE_HEIGHT, count = BP_MIN(BP_TILE_HEIGHT, rows - first);
  float *target = y->values + token * y->stride;
  if (y->row_map == NULL && count == BP_TILE_HEIGHT) {
    _mm256_storeu_ps(target + first, value[0]);
    _mm256_storeu_ps(target + first + 8, value[1]);
    return;
  }
  float values[BP_TILE_HEIGHT];
  _mm256_storeu_ps(values, value[0]);
  _mm256_storeu_ps(values + 8, value[1]);
  for (int64_t row = 0; row < count; row++) {
    target[y->row_map ? (int64_t)y->row_map[first + row] : first + row] = values[row];
  }
}

/// The bytes of one tile, one a code, to `out` at a multiple of 32.
BP_INLINE void bp256_expand_tile(
    const bp_family family, const int32_t bits, const bp_matrix *w, int64_t tile, uint8_t *out) {
  const int32_t low_bits = bp_low_bits(bits), high_bits = bits - low_bits;
  const int32_t group_size = w->group_size;
  for (int64_t group = 0; group < w->groups; group++) {
    const uint8_t *low = bp_codes_at(w, tile, group);
    const uint8_t *high = low + 2 * low_bits * group_size;
    bp256_binary binary;
    if (family == BP_FAMILY_BINARY) {
      binary = bp256_read_binary(
          bits, bp_plane_weights_at(w, tile, group), bp256_binary_zero(bits));
    }
    for (int32_t chunk = 0; chunk < group_size; chunk += 32) {
      BP_UNROLL for (int u = 0; u < 8; u++) {
        BP_UNROLL for (int half = 0; half < 2; half++) {
          _mm256_store_si256(
              (__m256i *)(out + 64 * u + 32 * half),
              bp256_unit(family, bits, low, high, group_size, &binary, u, half));
        }
      }
      low += family == BP_FAMILY_BINARY ? 64 : 64 * low_bits;
      high += 64 * high_bits;
      out += 512;
    }
  }
}

#endif
