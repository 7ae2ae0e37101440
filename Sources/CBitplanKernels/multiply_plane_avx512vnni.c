#if defined(__x86_64__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))),    \
    apply_to = function)

#include "avx512.h"

#pragma STDC FP_CONTRACT OFF

// Binary coding of one bit for one or two tokens on AVX-512 with VNNI: masked bytes of its plane are
// multiplied as they are. More tokens, and more bits, expand bits to bytes (multiply_avx512vnni.c).

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
      bp512_sum_plane(1, tokens, codes, group_size, a, ones);
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
