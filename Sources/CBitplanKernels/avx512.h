#ifndef BITPLAN_AVX512_H
#define BITPLAN_AVX512_H

// What the AVX-512 files share: unpacking of planes, zero points and scales. To be included after
// the target attribute has been pushed.

#include "internal.h"

#include <immintrin.h>

/// The four activation codes at `a` in every 32-bit lane.
BP_INLINE __m512i bp512_broadcast(const int8_t *a) {
  int32_t bits;
  memcpy(&bits, a, 4);
  return _mm512_set1_epi32(bits);
}

/// How many bytes ahead of the codes in use further ones are asked for, into L2, where that is
/// better than leaving it to the CPU's own prefetcher (`bp512_asks_ahead`). Measured on Zen 4, where
/// 3 KiB are too little for codes that take long to unpack (28 instead of 36 to 45 GB/s).
BP_INLINE int64_t bp512_ahead(const int32_t bits) { return bits >= 4 ? 6144 : 8192; }

/// Whether codes are asked for ahead. The CPU's own prefetcher follows a plain stream, and better
/// than instructions do, as long as little is computed between two lines: at a page's end it has to
/// start anew, which only instructions further on can hide that are under way already. Codes in two
/// planes that are read by turns are no plain stream.
BP_INLINE int bp512_asks_ahead(const int32_t bits, const int by_turns, const int tokens) {
  return bits != 8 && (bits < 4 || by_turns || tokens > 1);
}

BP_INLINE __m512i bp512_load(const void *p) { return _mm512_loadu_si512(p); }

/// Eight units (32 input features) of one tile as unsigned bytes. `low` and `high` point at the
/// chunk's part of the two planes, `8 · plane bits · 8` bytes each.
BP_INLINE void bp512_unpack(
    const int32_t bits, const uint8_t *low, const uint8_t *high, __m512i unit[8]) {
  if (bits == 8) {
    BP_UNROLL for (int u = 0; u < 8; u++) unit[u] = bp512_load(low + 64 * u);
    return;
  }
  if (bits == 4 || bits == 5 || bits == 6) {
    const __m512i mask = _mm512_set1_epi8(0x0F);
    BP_UNROLL for (int u = 0; u < 4; u++) {
      const __m512i bytes = bp512_load(low + 64 * u);
      unit[2 * u] = _mm512_and_si512(bytes, mask);
      unit[2 * u + 1] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), mask);
    }
  } else {
    const __m512i mask = _mm512_set1_epi8(0x03);
    BP_UNROLL for (int u = 0; u < 2; u++) {
      const __m512i bytes = bp512_load(low + 64 * u);
      unit[4 * u] = _mm512_and_si512(bytes, mask);
      unit[4 * u + 1] = _mm512_and_si512(_mm512_srli_epi16(bytes, 2), mask);
      unit[4 * u + 2] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), mask);
      unit[4 * u + 3] = _mm512_and_si512(_mm512_srli_epi16(bytes, 6), mask);
    }
  }
  // The high plane's bits are moved to where they belong; 0xF8 is "first or (second and third)".
  if (bits == 3) {
    const __m512i mask = _mm512_set1_epi8(0x04), bytes = bp512_load(high);
    unit[0] = _mm512_ternarylogic_epi32(unit[0], _mm512_slli_epi16(bytes, 2), mask, 0xF8);
    unit[1] = _mm512_ternarylogic_epi32(unit[1], _mm512_slli_epi16(bytes, 1), mask, 0xF8);
    unit[2] = _mm512_ternarylogic_epi32(unit[2], bytes, mask, 0xF8);
    unit[3] = _mm512_ternarylogic_epi32(unit[3], _mm512_srli_epi16(bytes, 1), mask, 0xF8);
    unit[4] = _mm512_ternarylogic_epi32(unit[4], _mm512_srli_epi16(bytes, 2), mask, 0xF8);
    unit[5] = _mm512_ternarylogic_epi32(unit[5], _mm512_srli_epi16(bytes, 3), mask, 0xF8);
    unit[6] = _mm512_ternarylogic_epi32(unit[6], _mm512_srli_epi16(bytes, 4), mask, 0xF8);
    unit[7] = _mm512_ternarylogic_epi32(unit[7], _mm512_srli_epi16(bytes, 5), mask, 0xF8);
  } else if (bits == 5) {
    const __m512i mask = _mm512_set1_epi8(0x10), bytes = bp512_load(high);
    unit[0] = _mm512_ternarylogic_epi32(unit[0], _mm512_slli_epi16(bytes, 4), mask, 0xF8);
    unit[1] = _mm512_ternarylogic_epi32(unit[1], _mm512_slli_epi16(bytes, 3), mask, 0xF8);
    unit[2] = _mm512_ternarylogic_epi32(unit[2], _mm512_slli_epi16(bytes, 2), mask, 0xF8);
    unit[3] = _mm512_ternarylogic_epi32(unit[3], _mm512_slli_epi16(bytes, 1), mask, 0xF8);
    unit[4] = _mm512_ternarylogic_epi32(unit[4], bytes, mask, 0xF8);
    unit[5] = _mm512_ternarylogic_epi32(unit[5], _mm512_srli_epi16(bytes, 1), mask, 0xF8);
    unit[6] = _mm512_ternarylogic_epi32(unit[6], _mm512_srli_epi16(bytes, 2), mask, 0xF8);
    unit[7] = _mm512_ternarylogic_epi32(unit[7], _mm512_srli_epi16(bytes, 3), mask, 0xF8);
  } else if (bits == 6) {
    const __m512i mask = _mm512_set1_epi8(0x30);
    BP_UNROLL for (int u = 0; u < 2; u++) {
      const __m512i bytes = bp512_load(high + 64 * u);
      __m512i *out = unit + 4 * u;
      out[0] = _mm512_ternarylogic_epi32(out[0], _mm512_slli_epi16(bytes, 4), mask, 0xF8);
      out[1] = _mm512_ternarylogic_epi32(out[1], _mm512_slli_epi16(bytes, 2), mask, 0xF8);
      out[2] = _mm512_ternarylogic_epi32(out[2], bytes, mask, 0xF8);
      out[3] = _mm512_ternarylogic_epi32(out[3], _mm512_srli_epi16(bytes, 2), mask, 0xF8);
    }
  }
}

/// Replaces the codes of the non-linear formats by their levels plus 128.
BP_INLINE void bp512_look_up(__m512i unit[8]) {
  const __m512i levels =
      _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)bp_nonlinear_bytes));
  BP_UNROLL for (int u = 0; u < 8; u++) unit[u] = _mm512_shuffle_epi8(levels, unit[u]);
}

/// The lowest byte of every 32-bit lane in all bytes of the lane.
BP_INLINE __m512i bp512_spread(__m512i lanes) {
  return _mm512_shuffle_epi8(
      lanes, _mm512_set4_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0x00000000));
}

/// What turns the codes of one group of one tile of a two-level format into bytes.
typedef struct {
  /// The group scale of a row in both 16-bit halves of its lane.
  __m512i scale;
  /// A constant minus group scale · zero point, in all bytes of the row's lane.
  __m512i offset;
} bp512_two_level;

/// Reads 16 two-level codes; `constant` is added to every byte.
BP_INLINE bp512_two_level bp512_read_two_level(const uint8_t *p, const int constant) {
  const __m512i codes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
  const __m512i scale =
      _mm512_add_epi32(_mm512_srli_epi32(codes, 4), _mm512_set1_epi32(1));
  const __m512i zero = _mm512_and_si512(codes, _mm512_set1_epi32(15));
  // Both are at most 16 · 15, so the 16-bit product is exact; the byte wraps as the format says.
  const __m512i offset =
      _mm512_sub_epi8(_mm512_set1_epi32(constant & 255), _mm512_mullo_epi16(scale, zero));
  return (bp512_two_level){
      _mm512_or_si512(scale, _mm512_slli_epi32(scale, 16)),
      bp512_spread(offset)};
}

/// Codes of a two-level format as bytes: code · scale ≤ 15 · 16 = 240, so nothing is carried from
/// one byte of a 16-bit half to the other.
BP_INLINE void bp512_apply_two_level(const bp512_two_level *level, __m512i unit[8]) {
  BP_UNROLL for (int u = 0; u < 8; u++) {
    unit[u] = _mm512_add_epi8(_mm512_mullo_epi16(unit[u], level->scale), level->offset);
  }
}

/// What turns the planes of one group of one tile of binary coding into bytes.
typedef struct {
  /// A constant minus all plane weights of a row.
  __m512i base;
  /// What a bit 1 adds to that: twice its plane weight.
  __m512i twice[4];
} bp512_binary;

/// Reads the plane weights of a group; `constant` is added to every byte.
BP_INLINE bp512_binary bp512_read_binary(
    const int32_t bits, const uint8_t *plane_weights, const int constant) {
  bp512_binary result;
  __m128i base = _mm_set1_epi8((char)constant);
  BP_UNROLL for (int bit = 0; bit < bits; bit++) {
    const __m128i weight = _mm_loadu_si128((const __m128i *)(plane_weights + 16 * bit));
    base = _mm_sub_epi8(base, weight);
    result.twice[bit] = bp512_spread(_mm512_cvtepu8_epi32(_mm_add_epi8(weight, weight)));
  }
  result.base = bp512_spread(_mm512_cvtepu8_epi32(base));
  return result;
}

/// Eight units of one tile of binary coding as bytes; planes are `plane_bytes` apart.
BP_INLINE void bp512_unpack_binary(
    const int32_t bits, const uint8_t *planes, int64_t plane_bytes, const bp512_binary *binary,
    __m512i unit[8]) {
  BP_UNROLL for (int u = 0; u < 8; u++) unit[u] = binary->base;
  BP_UNROLL for (int bit = 0; bit < bits; bit++) {
    const __m512i bytes = bp512_load(planes + bit * plane_bytes);
    BP_UNROLL for (int u = 0; u < 8; u++) {
      const __mmask64 ones = _mm512_test_epi8_mask(bytes, _mm512_set1_epi8((char)(1 << u)));
      unit[u] = _mm512_mask_add_epi8(unit[u], ones, unit[u], binary->twice[bit]);
    }
  }
}

/// Eight units of binary coding of one bit as bytes 0 and 2, whose zero point is 1: shifts, of which
/// a CPU has more beside its products than tests of bytes.
BP_INLINE void bp512_unpack_bit(const uint8_t *plane, __m512i unit[8]) {
  const __m512i bytes = bp512_load(plane), mask = _mm512_set1_epi8(2);
  unit[0] = _mm512_and_si512(_mm512_slli_epi16(bytes, 1), mask);
  BP_UNROLL for (int u = 1; u < 8; u++) {
    unit[u] = _mm512_and_si512(_mm512_srli_epi16(bytes, u - 1), mask);
  }
}

/// Σ u·a of one group and tile for every token, where u are the bits of one plane. A byte holds the
/// bits of several units: masked bytes are multiplied as they lie, those of every place into sums of
/// their own, which are whole multiples of the place's worth and shifted down at the end. So the inner
/// loop has no shift, and |sum| ≤ 255 · 127 · 128 < 2^31.
BP_INLINE void bp512_sum_plane(
    const int32_t bits, const int tokens, const uint8_t *plane, int32_t group_size,
    const int8_t *a, __m512i totals[2]) {
  const int places = 8 / bits;
  // Independent sums hide the latency of the dot product.
  const int chains = places == 1 ? 4 : places == 2 ? 2 : 1;
  __m512i sums[2][8];
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    BP_UNROLL for (int i = 0; i < places * chains; i++) sums[t][i] = _mm512_setzero_si512();
  }
  for (int32_t chunk = 0; chunk < group_size; chunk += 32) {
    BP_UNROLL for (int line = 0; line < bits; line++, plane += 64) {
      const __m512i bytes = bp512_load(plane);
      BP_UNROLL for (int i = 0; i < places; i++, a += 4 * tokens) {
        const int mask = ((1 << bits) - 1) << (bits * i);
        const __m512i unit =
            bits == 8 ? bytes : _mm512_and_si512(bytes, _mm512_set1_epi8((char)mask));
        BP_UNROLL for (int t = 0; t < tokens; t++) {
          __m512i *sum = &sums[t][i * chains + line % chains];
          *sum = _mm512_dpbusd_epi32(*sum, unit, bp512_broadcast(a + 4 * t));
        }
      }
    }
  }
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    totals[t] = _mm512_setzero_si512();
    BP_UNROLL for (int i = 0; i < places; i++) {
      __m512i sum = sums[t][i * chains];
      BP_UNROLL for (int c = 1; c < chains; c++) {
        sum = _mm512_add_epi32(sum, sums[t][i * chains + c]);
      }
      totals[t] = _mm512_add_epi32(totals[t], _mm512_srai_epi32(sum, bits * i));
    }
  }
}

/// One plane of 16 zero points as bytes.
BP_INLINE __m128i bp512_zero_plane(const int32_t bits, const uint8_t *p) {
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
  return _mm_and_si128(
      _mm_srlv_epi16(_mm_set1_epi16(word), _mm_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7)),
      _mm_set1_epi8(1));
}

/// The 16 zero points of one group of one tile.
BP_INLINE __m512i bp512_zero_points(const int32_t bits, const uint8_t *p) {
  const int32_t low = bp_low_bits(bits);
  __m128i zero = bp512_zero_plane(low, p);
  if (bits != low) {
    const __m128i high = bp512_zero_plane(bits - low, p + 2 * low);
    zero = _mm_or_si128(zero, _mm_slli_epi16(high, low));  // parts stay inside their bytes
  }
  return _mm512_cvtepu8_epi32(zero);
}

/// 16 binary16 scales as floats.
BP_INLINE __m512 bp512_scales(const uint16_t *p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

BP_INLINE void bp512_expand_planes(
    const int32_t bits, const bp_matrix *w, int64_t tile, int64_t begin, int64_t end,
    const int constant, uint8_t *out) {
  for (int64_t group = begin; group < end; group++) {
    const bp512_binary binary =
        bp512_read_binary(bits, bp_plane_weights_at(w, tile, group), constant);
    const uint8_t *planes = bp_codes_at(w, tile, group);
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32, planes += 64, out += 512) {
      __m512i unit[8];
      bp512_unpack_binary(bits, planes, 2 * w->group_size, &binary, unit);
      BP_UNROLL for (int u = 0; u < 8; u++) _mm512_store_si512(out + 64 * u, unit[u]);
    }
  }
}

/// The groups `[begin, end)` of one tile of binary coding as bytes, `constant` added to each, and
/// their offsets as floats.
BP_INLINE void bp512_expand_binary(
    const bp_matrix *w, int64_t tile, int64_t begin, int64_t end, const int constant,
    uint8_t *out, float *offsets) {
  switch (w->bit_width) {
    case 1: bp512_expand_planes(1, w, tile, begin, end, constant, out); break;
    case 2: bp512_expand_planes(2, w, tile, begin, end, constant, out); break;
    case 3: bp512_expand_planes(3, w, tile, begin, end, constant, out); break;
    default: bp512_expand_planes(4, w, tile, begin, end, constant, out); break;
  }
  for (int64_t group = begin; group < end; group++, offsets += BP_TILE_HEIGHT) {
    _mm512_store_ps(offsets, bp512_scales(bp_offsets_at(w, tile, group)));
  }
}

/// The scales of 16 exponents of block floating point: floats with that exponent field.
BP_INLINE __m512 bp512_exponents(const uint8_t *p) {
  const __m512i exponents = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(exponents, 23));
}

/// The scales of one group of one tile of any family that has group scales.
BP_INLINE __m512 bp512_group_scales(const bp_matrix *w, int64_t tile, int64_t group) {
  return w->family == BP_FAMILY_BLOCK_FLOAT ? bp512_exponents(bp_exponents_at(w, tile, group))
                                            : bp512_scales(bp_scales_at(w, tile, group));
}

/// y + d · (s·t), where d is `sum` without its zero points' part. The multiply-add of 16-bit pairs
/// is exact: zero ≤ 255 and |negated sum| ≤ 16,256 both fit in 16 bits, the upper halves of zero
/// are 0.
BP_INLINE __m512 bp512_accumulate(
    __m512 y, __m512i sum, __m512i zero, int32_t negated_sum, __m512 weight_scale,
    float activation_scale) {
  sum = _mm512_dpwssd_epi32(sum, zero, _mm512_set1_epi32(negated_sum));
  const __m512 scale = _mm512_mul_ps(weight_scale, _mm512_set1_ps(activation_scale));
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, y);
}

/// y + Σ a·t · offset of binary coding, from −Σ a.
BP_INLINE __m512 bp512_add_offset(
    __m512 y, __m512 offset, int32_t negated_sum, float activation_scale) {
  const float scaled = (float)negated_sum * activation_scale;
  return _mm512_fnmadd_ps(_mm512_set1_ps(scaled), offset, y);
}

/// Whether the rows of a tile go to places side by side, as all of an operator in one format do.
BP_INLINE int bp512_rows_together(const uint32_t *map, __mmask16 rows) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i together = _mm512_add_epi32(_mm512_set1_epi32((int32_t)map[0]), lanes);
  return _mm512_mask_cmpneq_epi32_mask(rows, _mm512_maskz_loadu_epi32(rows, map), together) == 0;
}

/// Writes 16 values, or as many as the tile has rows, to where the map says.
BP_INLINE void bp512_scatter(
    float *target, const uint32_t *map, int64_t count, const float *values) {
  if (count == BP_TILE_HEIGHT) {
    BP_UNROLL for (int row = 0; row < BP_TILE_HEIGHT; row++) target[map[row]] = values[row];
  } else {
    for (int64_t row = 0; row < count; row++) target[map[row]] = values[row];
  }
}

/// Writes the results of one tile for one token.
BP_INLINE void bp512_store(
    const bp_output *y, int64_t token, int64_t tile, int64_t rows, __m512 value) {
  const int64_t first = tile * BP_TILE_HEIGHT, count = BP_MIN(BP_TILE_HEIGHT, rows - first);
  const __mmask16 mask = (__mmask16)((1u << count) - 1);
  float *target = y->values + token * y->stride;
  const uint32_t *map = y->row_map ? y->row_map + first : NULL;
  if (map == NULL) {
    _mm512_mask_storeu_ps(target + first, mask, value);
  } else if (bp512_rows_together(map, mask)) {
    _mm512_mask_storeu_ps(target + map[0], mask, value);
  } else {
    float values[BP_TILE_HEIGHT];
    _mm512_storeu_ps(values, value);
    bp512_scatter(target, map, count, values);
  }
}

/// As `bp512_store` for `tokens` tokens from `token` on, whose values lie in memory, 16 a token.
BP_INLINE void bp512_store_tokens(
    const int tokens, const bp_output *y, int64_t token, int64_t tile, int64_t rows,
    const float *values) {
  const int64_t first = tile * BP_TILE_HEIGHT, count = BP_MIN(BP_TILE_HEIGHT, rows - first);
  const __mmask16 mask = (__mmask16)((1u << count) - 1);
  float *target = y->values + token * y->stride;
  const uint32_t *map = y->row_map ? y->row_map + first : NULL;
  if (map && !bp512_rows_together(map, mask)) {
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      bp512_scatter(target + t * y->stride, map, count, values + BP_TILE_HEIGHT * t);
    }
  } else {
    target += map ? map[0] : first;
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      _mm512_mask_storeu_ps(
          target + t * y->stride, mask, _mm512_load_ps(values + BP_TILE_HEIGHT * t));
    }
  }
}

#endif
