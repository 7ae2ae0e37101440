#if defined(__x86_64__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,"       \
                          "avx512vbmi"))),                                                     \
    apply_to = function)

#include "avx512.h"

#pragma STDC FP_CONTRACT OFF

// Binary coding of one bit by tables, for one token on AVX-512 with VBMI (the idea of Park et al. 2024,
// LUT-GEMM, arXiv:2206.09557, with tables of 16 entries as in T-MAC, arXiv:2407.00088, but exact).
//
// Bits 0–3 of byte `4 · row + c` of a plane belong to the input features c, 4 + c, 8 + c and 12 + c
// of 16; bits 4–7 to those 16 further on. A table of 64 entries, c · 16 + four bits, holds what the
// four bits add, so one vpermb looks up 64 of them. Entries are 512 plus a sum of four activations,
// 512 ± 508, split into a low byte and a high byte of at most 3.

/// Bytes of the tables of 16 input features: low bytes, high bytes.
#define TABLE_BYTES 128

_Static_assert(TABLE_BYTES == 16 * BP_LOOKUP_BYTES, "callers provide the tables' memory");

/// Fills the tables of all input features of one token.
static void fill_tables(const bp_activations *x, uint8_t *tables) {
  // In every 32-bit lane i, the four bits of i as bytes.
  const __m512i lanes =
      _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i spread = _mm512_or_si512(
      _mm512_or_si512(lanes, _mm512_slli_epi32(lanes, 7)),
      _mm512_or_si512(_mm512_slli_epi32(lanes, 14), _mm512_slli_epi32(lanes, 21)));
  const __m512i bits = _mm512_and_si512(spread, _mm512_set1_epi8(1));
  const __m128i transposed =
      _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int64_t k = 0; k < x->groups * x->group_size; k += 16, tables += TABLE_BYTES) {
    int32_t fours[4];
    _mm_storeu_si128(
        (__m128i *)fours,
        _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(x->codes + k)), transposed));
    for (int c = 0; c < 4; c++) {
      const __m512i entries =
          _mm512_dpbusd_epi32(_mm512_set1_epi32(512), bits, _mm512_set1_epi32(fours[c]));
      _mm_storeu_si128((__m128i *)(tables + 16 * c), _mm512_cvtepi32_epi8(entries));
      _mm_storeu_si128(
          (__m128i *)(tables + 64 + 16 * c),
          _mm512_cvtepi32_epi8(_mm512_srli_epi32(entries, 8)));
    }
  }
}

static void multiply_tiles(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, const uint8_t *tables) {
  const int32_t plane_bytes = 2 * w->group_size, chunks = w->group_size / 32;
  const __m512i four_bits = _mm512_set1_epi8(15), one = _mm512_set1_epi8(1);
  const __m512i table_of_byte = _mm512_set1_epi32(0x30201000);
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    __m512 sum = _mm512_setzero_ps();
    const uint8_t *codes = bp_codes_at(w, tile, 0), *table = tables;
    for (int64_t group = 0; group < w->groups; group++) {
      // Every lane adds 8 entries a chunk; a byte of `high` adds 2 of at most 3, and a group has
      // 4 chunks at most.
      __m512i low = _mm512_set1_epi32(-512 * 8 * chunks), high = _mm512_setzero_si512();
      for (int32_t i = 0; i < plane_bytes; i += 64) {
        _mm_prefetch((const char *)(codes + bp512_ahead(1) + i), _MM_HINT_T1);
      }
      for (int32_t chunk = 0; chunk < chunks; chunk++, table += 2 * TABLE_BYTES) {
        const __m512i bytes = bp512_load(codes + 64 * chunk);
        // 0xEA is "(first and second) or third".
        const __m512i first = _mm512_ternarylogic_epi32(bytes, four_bits, table_of_byte, 0xEA);
        const __m512i second = _mm512_ternarylogic_epi32(
            _mm512_srli_epi16(bytes, 4), four_bits, table_of_byte, 0xEA);
        low = _mm512_dpbusd_epi32(low, _mm512_permutexvar_epi8(first, bp512_load(table)), one);
        low = _mm512_dpbusd_epi32(
            low, _mm512_permutexvar_epi8(second, bp512_load(table + 128)), one);
        high = _mm512_add_epi8(
            high, _mm512_add_epi8(
                      _mm512_permutexvar_epi8(first, bp512_load(table + 64)),
                      _mm512_permutexvar_epi8(second, bp512_load(table + 192))));
      }
      codes += plane_bytes;
      const __m512i highs = _mm512_dpbusd_epi32(_mm512_setzero_si512(), high, one);
      const __m512i ones = _mm512_add_epi32(low, _mm512_slli_epi32(highs, 8));
      const int32_t negated_sum = x->negated_sums[group];
      // Twice what bits 1 add minus everything: the zero point 1 of codes 0 and 2.
      sum = bp512_accumulate(
          sum, _mm512_add_epi32(ones, ones), _mm512_set1_epi32(1), negated_sum,
          bp512_scales(bp_scales_at(w, tile, group)), x->scales[group]);
      sum = bp512_add_offset(
          sum, bp512_scales(bp_offsets_at(w, tile, group)), negated_sum, x->scales[group]);
    }
    bp512_store(y, 0, tile, w->rows, sum);
  }
}

void bp_multiply_lookup_avx512vbmi(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, void *scratch) {
  assert(w->family == BP_FAMILY_BINARY && w->bit_width == 1);
  assert(x->tokens == 1 && x->block == 1 && x->depth == 4);
  if (tile_begin >= tile_end) return;
  fill_tables(x, scratch);
  multiply_tiles(w, x, y, tile_begin, tile_end, scratch);
}

#pragma clang attribute pop

#endif
