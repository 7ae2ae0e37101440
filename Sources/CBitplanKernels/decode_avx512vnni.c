#if defined(__x86_64__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))),    \
    apply_to = function)

#include "avx512.h"

#pragma STDC FP_CONTRACT OFF

// Integer kernels for AVX-512 with VNNI, up to 8 tokens: codes are unpacked in registers and used at
// once, or, for one token, multiplied plane by plane.

/// As in multiply_avx512vnni.c, whose activation order this file shares.
#define DECODE_TOKENS 8

/// Whether one token takes plane by plane, so that codes are read in the order in which they lie.
/// Narrower codes have too many products a line for the CPU's prefetcher (`bp512_asks_ahead`).
BP_INLINE int takes_planes(const bp_family family, const int32_t bits) {
  return (family == BP_FAMILY_INTEGER || family == BP_FAMILY_BLOCK_FLOAT) && bits >= 4;
}

BP_INLINE void decode_planes(
    const bp_family family, const int32_t bits, const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile_begin, int64_t tile_end) {
  const int32_t low_bits = bp_low_bits(bits), high_bits = bits - low_bits;
  const int32_t group_size = w->group_size;
  const uint8_t *codes = bp_codes_at(w, tile_begin, 0);
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    __m512 result = _mm512_setzero_ps();
    const int8_t *a = x->codes;
    for (int64_t group = 0; group < w->groups; group++, a += group_size) {
      __m512i sum[2], high[2];
      bp512_sum_plane(low_bits, 1, codes, group_size, a, sum);
      codes += 2 * low_bits * group_size;
      if (high_bits) {
        bp512_sum_plane(high_bits, 1, codes, group_size, a, high);
        codes += 2 * high_bits * group_size;
        sum[0] = _mm512_add_epi32(sum[0], _mm512_slli_epi32(high[0], low_bits));
      }
      const __m512i zero = family == BP_FAMILY_INTEGER && w->zero_points
          ? bp512_zero_points(bits, bp_zero_points_at(w, tile, group))
          : _mm512_set1_epi32(bp_middle(w));
      const __m512 scale = family == BP_FAMILY_BLOCK_FLOAT
          ? bp512_exponents(bp_exponents_at(w, tile, group))
          : bp512_scales(bp_scales_at(w, tile, group));
      result = bp512_accumulate(
          result, sum[0], zero, x->negated_sums[group], scale, x->scales[group]);
    }
    bp512_store(y, 0, tile, w->rows, result);
  }
}

BP_INLINE void decode(
    const bp_family family, const int32_t bits, const int tokens, const bp_matrix *w,
    const bp_activations *x, const bp_output *y, int64_t tile_begin, int64_t tile_end) {
  if (tokens == 1 && takes_planes(family, bits)) {
    decode_planes(family, bits, w, x, y, tile_begin, tile_end);
    return;
  }
  // Independent sums hide the latency of the dot product.
  const int chains = tokens == 1 ? 4 : tokens == 2 ? 2 : 1;
  const int32_t low_bits = bp_low_bits(bits), high_bits = bits - low_bits;
  const int32_t group_size = w->group_size;
  const int by_turns = high_bits != 0 || family == BP_FAMILY_BINARY;
  const int64_t groups = w->groups, group_bytes = 2 * (int64_t)bits * group_size;
  // Planes of binary coding have one bit, 64 bytes a chunk.
  const int32_t low_bytes = family == BP_FAMILY_BINARY ? 64 : 64 * low_bits;
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    __m512 sums[DECODE_TOKENS];
    BP_UNROLL for (int t = 0; t < tokens; t++) sums[t] = _mm512_setzero_ps();
    const uint8_t *codes = bp_codes_at(w, tile, 0);
    const uint16_t *scales = bp_scales_at(w, tile, 0);
    const uint8_t *exponents =
        family == BP_FAMILY_BLOCK_FLOAT ? bp_exponents_at(w, tile, 0) : NULL;
    const uint8_t *zeros = w->zero_points ? bp_zero_points_at(w, tile, 0) : NULL;
    const int8_t *a = x->codes;
    for (int64_t group = 0; group < groups; group++) {
      __m512i products[DECODE_TOKENS][4];
      BP_UNROLL for (int t = 0; t < tokens; t++) {
        BP_UNROLL for (int c = 0; c < chains; c++) products[t][c] = _mm512_setzero_si512();
      }
      const uint8_t *low = codes, *high = codes + 2 * low_bits * group_size;
      int64_t ahead = bp512_ahead(bits);
      bp512_binary binary;
      if (family == BP_FAMILY_BINARY) {
        binary = bp512_read_binary(bits, bp_plane_weights_at(w, tile, group), 128);
      }
      for (int32_t chunk = 0; chunk < group_size; chunk += 32) {
        __m512i unit[8];
        if (bits == 1) {
          bp512_unpack_bit(low, unit);
        } else if (family == BP_FAMILY_BINARY) {
          bp512_unpack_binary(bits, low, 2 * group_size, &binary, unit);
        } else {
          bp512_unpack(bits, low, high, unit);
        }
        if (family == BP_FAMILY_NONLINEAR) bp512_look_up(unit);
        if (bp512_asks_ahead(bits, by_turns, tokens)) {
          BP_UNROLL for (int i = 0; i < bits; i++) {
            _mm_prefetch((const char *)(codes + ahead + 64 * i), _MM_HINT_T1);
          }
        }
        ahead += 64 * bits;
        low += low_bytes;
        high += 64 * high_bits;
        BP_UNROLL for (int u = 0; u < 8; u++) {
          BP_UNROLL for (int t = 0; t < tokens; t++) {
            products[t][u % chains] = _mm512_dpbusd_epi32(
                products[t][u % chains], unit[u], bp512_broadcast(a + (u * tokens + t) * 4));
          }
        }
        a += 32 * tokens;
      }
      codes += group_bytes;
      __m512i zero = _mm512_set1_epi32(bits == 1 ? 1 : bp_middle(w));
      if (family == BP_FAMILY_INTEGER && zeros) {
        zero = bp512_zero_points(bits, zeros);
        zeros += 2 * bits;
      }
      const __m512 scale = family == BP_FAMILY_BLOCK_FLOAT
          ? bp512_exponents(exponents + group * BP_TILE_HEIGHT)
          : bp512_scales(scales + group * BP_TILE_HEIGHT);
      BP_UNROLL for (int t = 0; t < tokens; t++) {
        __m512i sum = products[t][0];
        BP_UNROLL for (int c = 1; c < chains; c++) sum = _mm512_add_epi32(sum, products[t][c]);
        sums[t] = bp512_accumulate(
            sums[t], sum, zero, x->negated_sums[group * tokens + t], scale,
            x->scales[group * tokens + t]);
      }
      if (family == BP_FAMILY_BINARY) {
        const __m512 offset = bp512_scales(bp_offsets_at(w, tile, group));
        BP_UNROLL for (int t = 0; t < tokens; t++) {
          sums[t] = bp512_add_offset(
              sums[t], offset, x->negated_sums[group * tokens + t],
              x->scales[group * tokens + t]);
        }
      }
    }
    BP_UNROLL for (int t = 0; t < tokens; t++) bp512_store(y, t, tile, w->rows, sums[t]);
  }
}

#define DECODE(name, family, bits)                                                             \
  static void name(                                                                            \
      const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,     \
      int64_t tile_end) {                                                                      \
    switch (x->block) {                                                                        \
      case 1: decode(family, bits, 1, w, x, y, tile_begin, tile_end); break;                   \
      case 2: decode(family, bits, 2, w, x, y, tile_begin, tile_end); break;                   \
      case 3: decode(family, bits, 3, w, x, y, tile_begin, tile_end); break;                   \
      case 4: decode(family, bits, 4, w, x, y, tile_begin, tile_end); break;                   \
      case 5: decode(family, bits, 5, w, x, y, tile_begin, tile_end); break;                   \
      case 6: decode(family, bits, 6, w, x, y, tile_begin, tile_end); break;                   \
      case 7: decode(family, bits, 7, w, x, y, tile_begin, tile_end); break;                   \
      default: decode(family, bits, 8, w, x, y, tile_begin, tile_end); break;                  \
    }                                                                                          \
  }

DECODE(decode_2, BP_FAMILY_INTEGER, 2)
DECODE(decode_3, BP_FAMILY_INTEGER, 3)
DECODE(decode_4, BP_FAMILY_INTEGER, 4)
DECODE(decode_5, BP_FAMILY_INTEGER, 5)
DECODE(decode_6, BP_FAMILY_INTEGER, 6)
DECODE(decode_8, BP_FAMILY_INTEGER, 8)
DECODE(decode_nonlinear, BP_FAMILY_NONLINEAR, 4)
DECODE(decode_block_4, BP_FAMILY_BLOCK_FLOAT, 4)
DECODE(decode_block_6, BP_FAMILY_BLOCK_FLOAT, 6)
DECODE(decode_block_8, BP_FAMILY_BLOCK_FLOAT, 8)
DECODE(decode_binary_1, BP_FAMILY_BINARY, 1)
DECODE(decode_binary_2, BP_FAMILY_BINARY, 2)
DECODE(decode_binary_3, BP_FAMILY_BINARY, 3)
DECODE(decode_binary_4, BP_FAMILY_BINARY, 4)

typedef void (*decode_function)(
    const bp_matrix *, const bp_activations *, const bp_output *, int64_t, int64_t);

static decode_function decode_for(const bp_matrix *w) {
  if (w->family == BP_FAMILY_NONLINEAR) return decode_nonlinear;
  const int block = w->family == BP_FAMILY_BLOCK_FLOAT, binary = w->family == BP_FAMILY_BINARY;
  switch (w->bit_width) {
    case 1: return decode_binary_1;
    case 2: return binary ? decode_binary_2 : decode_2;
    case 3: return binary ? decode_binary_3 : decode_3;
    case 4: return binary ? decode_binary_4 : block ? decode_block_4 : decode_4;
    case 5: return decode_5;
    case 6: return block ? decode_block_6 : decode_6;
    default: return block ? decode_block_8 : decode_8;
  }
}

void bp_decode_avx512vnni(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end) {
  assert(x->block <= DECODE_TOKENS && x->depth == 4);
  if (w->family == BP_FAMILY_BINARY && w->bit_width == 1 && x->block <= 2) {
    bp_multiply_plane_avx512vnni(w, x, y, tile_begin, tile_end);
  } else {
    decode_for(w)(w, x, y, tile_begin, tile_end);
  }
}

#pragma clang attribute pop

#endif
