#if defined(__x86_64__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))),    \
    apply_to = function)

#include "avx512.h"

#pragma STDC FP_CONTRACT OFF

// Binary coding for AVX-512 with VNNI. A byte of a plane holds one bit of eight units. One or two
// tokens multiply the masked byte, whose bit j is worth 2^j, and keep one sum for every j: no
// shift in the inner loop, |sum| ≤ 128 · 127 · 16 units < 2^31. More tokens share one shift.

/// As in multiply_avx512vnni.c, whose activation order this file shares.
#define DECODE_TOKENS 8
#define PANEL_TOKENS 12

/// y + d · (s·t), where d = 2 · (what bits 1 add) − Σ a.
BP_INLINE __m512 accumulate(
    __m512 y, __m512i ones, int32_t negated_sum, __m512 weight_scale, float activation_scale) {
  const __m512i d =
      _mm512_add_epi32(_mm512_add_epi32(ones, ones), _mm512_set1_epi32(negated_sum));
  const __m512 scale = _mm512_mul_ps(weight_scale, _mm512_set1_ps(activation_scale));
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(d), scale, y);
}

/// What bits 1 of one plane of one group add, for `tokens` tokens in blocks of `stride`.
BP_INLINE void sum_plane(
    const int tokens, const int stride, const uint8_t *plane, int32_t group_size,
    const int8_t *a, __m512i ones[PANEL_TOKENS]) {
  if (tokens <= 2) {
    __m512i sums[2][8];
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      BP_UNROLL for (int u = 0; u < 8; u++) sums[t][u] = _mm512_setzero_si512();
    }
    for (int32_t chunk = 0; chunk < group_size; chunk += 32, plane += 64, a += 32 * stride) {
      const __m512i bytes = bp512_load(plane);
      BP_UNROLL for (int u = 0; u < 8; u++) {
        const __m512i unit = _mm512_and_si512(bytes, _mm512_set1_epi8((char)(1 << u)));
        BP_UNROLL for (int t = 0; t < tokens; t++) {
          sums[t][u] = _mm512_dpbusd_epi32(
              sums[t][u], unit, bp512_broadcast(a + (u * stride + t) * 4));
        }
      }
    }
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      ones[t] = sums[t][0];
      BP_UNROLL for (int u = 1; u < 8; u++) {
        ones[t] = _mm512_add_epi32(ones[t], _mm512_srai_epi32(sums[t][u], u));
      }
    }
    return;
  }
  BP_UNROLL for (int t = 0; t < tokens; t++) ones[t] = _mm512_setzero_si512();
  const __m512i lowest = _mm512_set1_epi8(1);
  for (int32_t chunk = 0; chunk < group_size; chunk += 32, plane += 64, a += 32 * stride) {
    const __m512i bytes = bp512_load(plane);
    BP_UNROLL for (int u = 0; u < 8; u++) {
      const __m512i unit = _mm512_and_si512(_mm512_srli_epi16(bytes, u), lowest);
      BP_UNROLL for (int t = 0; t < tokens; t++) {
        ones[t] =
            _mm512_dpbusd_epi32(ones[t], unit, bp512_broadcast(a + (u * stride + t) * 4));
      }
    }
  }
}

/// One tile times `tokens` tokens of one block.
BP_INLINE void multiply_tile(
    const int tokens, const int stride, const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile, int64_t block) {
  __m512 sums[PANEL_TOKENS];
  BP_UNROLL for (int t = 0; t < tokens; t++) sums[t] = _mm512_setzero_ps();
  const int32_t bits = w->bit_width, group_size = w->group_size;
  const uint8_t *codes = bp_codes_at(w, tile, 0);
  const uint16_t *scales = bp_binary_scales_at(w, tile, 0);
  const int8_t *a = bp_activation_block(x, block);
  const float *activation_scales = x->scales + block * x->groups * stride;
  const int32_t *negated_sums = x->negated_sums + block * x->groups * stride;
  for (int64_t group = 0; group < w->groups; group++) {
    if (stride <= DECODE_TOKENS) {
      for (int32_t i = 0; i < 2 * bits * group_size; i += 64) {
        _mm_prefetch((const char *)(codes + bp512_ahead(1) + i), _MM_HINT_T1);
      }
    }
    for (int32_t bit = 0; bit < bits; bit++) {
      __m512i ones[PANEL_TOKENS];
      sum_plane(tokens, stride, codes, group_size, a, ones);
      const __m512 scale = bp512_scales(scales);
      BP_UNROLL for (int t = 0; t < tokens; t++) {
        sums[t] =
            accumulate(sums[t], ones[t], negated_sums[t], scale, activation_scales[t]);
      }
      codes += 2 * group_size;
      scales += BP_TILE_HEIGHT;
    }
    const __m512 offset = bp512_scales(bp_offsets_at(w, tile, group));
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      const __m512 scale = _mm512_mul_ps(offset, _mm512_set1_ps(activation_scales[t]));
      sums[t] = _mm512_fmadd_ps(
          _mm512_cvtepi32_ps(_mm512_set1_epi32(-negated_sums[t])), scale, sums[t]);
    }
    a += group_size * stride;
    negated_sums += stride;
    activation_scales += stride;
  }
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    bp512_store(y, block * stride + t, tile, w->rows, sums[t]);
  }
}

#define TILE_CASE(tokens, stride)                                                              \
  case tokens: multiply_tile(tokens, stride, w, x, y, tile, block); break;

static void multiply_few(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile,
    int64_t block) {
  switch (x->block) {
    TILE_CASE(1, 1)
    TILE_CASE(2, 2)
    TILE_CASE(3, 3)
    TILE_CASE(4, 4)
    TILE_CASE(5, 5)
    TILE_CASE(6, 6)
    TILE_CASE(7, 7)
    TILE_CASE(8, 8)
  }
}

static void multiply_many(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile,
    int64_t block) {
  switch (BP_MIN(PANEL_TOKENS, x->tokens - block * PANEL_TOKENS)) {
    TILE_CASE(1, PANEL_TOKENS)
    TILE_CASE(2, PANEL_TOKENS)
    TILE_CASE(3, PANEL_TOKENS)
    TILE_CASE(4, PANEL_TOKENS)
    TILE_CASE(5, PANEL_TOKENS)
    TILE_CASE(6, PANEL_TOKENS)
    TILE_CASE(7, PANEL_TOKENS)
    TILE_CASE(8, PANEL_TOKENS)
    TILE_CASE(9, PANEL_TOKENS)
    TILE_CASE(10, PANEL_TOKENS)
    TILE_CASE(11, PANEL_TOKENS)
    TILE_CASE(12, PANEL_TOKENS)
  }
}

void bp_multiply_binary_avx512vnni(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end) {
  const int few = x->block <= DECODE_TOKENS;
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    for (int64_t block = block_begin; block < block_end; block++) {
      (few ? multiply_few : multiply_many)(w, x, y, tile, block);
    }
  }
}

#pragma clang attribute pop

#endif
