#if defined(__x86_64__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))),    \
    apply_to = function)

#include "avx512.h"

#pragma STDC FP_CONTRACT OFF

// Binary coding of one bit for one or two tokens on AVX-512 with VNNI. A byte of a plane holds one
// bit of eight units: the masked byte, whose bit j is worth 2^j, is multiplied as it is, and every j
// keeps a sum of its own. No shift in the inner loop, |sum| ≤ 128 · 127 · 16 units < 2^31. More
// tokens, and more bits, expand bits to bytes (multiply_avx512vnni.c).

/// What bits 1 of the plane of one group add, for `tokens` tokens.
BP_INLINE void sum_plane(
    const int tokens, const uint8_t *plane, int32_t group_size, const int8_t *a,
    __m512i ones[2]) {
  __m512i sums[2][8];
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    BP_UNROLL for (int u = 0; u < 8; u++) sums[t][u] = _mm512_setzero_si512();
  }
  for (int32_t chunk = 0; chunk < group_size; chunk += 32, plane += 64, a += 32 * tokens) {
    const __m512i bytes = bp512_load(plane);
    BP_UNROLL for (int u = 0; u < 8; u++) {
      const __m512i unit = _mm512_and_si512(bytes, _mm512_set1_epi8((char)(1 << u)));
      BP_UNROLL for (int t = 0; t < tokens; t++) {
        sums[t][u] = _mm512_dpbusd_epi32(
            sums[t][u], unit, bp512_broadcast(a + (u * tokens + t) * 4));
      }
    }
  }
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    ones[t] = sums[t][0];
    BP_UNROLL for (int u = 1; u < 8; u++) {
      ones[t] = _mm512_add_epi32(ones[t], _mm512_srai_epi32(sums[t][u], u));
    }
  }
}

BP_INLINE void multiply_tiles(
    const int tokens, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile_begin, int64_t tile_end) {
  const int32_t group_size = w->group_size;
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    __m512 sums[2];
    BP_UNROLL for (int t = 0; t < tokens; t++) sums[t] = _mm512_setzero_ps();
    const uint8_t *codes = bp_codes_at(w, tile, 0);
    const int8_t *a = x->codes;
    for (int64_t group = 0; group < w->groups; group++) {
      for (int32_t i = 0; i < 2 * group_size; i += 64) {
        _mm_prefetch((const char *)(codes + bp512_ahead(1) + i), _MM_HINT_T1);
      }
      __m512i ones[2];
      sum_plane(tokens, codes, group_size, a, ones);
      const __m512 scale = bp512_scales(bp_scales_at(w, tile, group));
      const __m512 offset = bp512_scales(bp_offsets_at(w, tile, group));
      BP_UNROLL for (int t = 0; t < tokens; t++) {
        const int32_t negated_sum = x->negated_sums[group * tokens + t];
        const float activation_scale = x->scales[group * tokens + t];
        // Twice what bits 1 add minus everything: the zero point 1 of codes 0 and 2.
        sums[t] = bp512_accumulate(
            sums[t], _mm512_add_epi32(ones[t], ones[t]), _mm512_set1_epi32(1), negated_sum, scale,
            activation_scale);
        sums[t] = bp512_add_offset(sums[t], offset, negated_sum, activation_scale);
      }
      codes += 2 * group_size;
      a += group_size * tokens;
    }
    BP_UNROLL for (int t = 0; t < tokens; t++) bp512_store(y, t, tile, w->rows, sums[t]);
  }
}

void bp_multiply_plane_avx512vnni(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end) {
  assert(w->family == BP_FAMILY_BINARY && w->bit_width == 1 && x->block <= 2 && x->depth == 4);
  if (x->block == 1) {
    multiply_tiles(1, w, x, y, tile_begin, tile_end);
  } else {
    multiply_tiles(2, w, x, y, tile_begin, tile_end);
  }
}

#pragma clang attribute pop

#endif
