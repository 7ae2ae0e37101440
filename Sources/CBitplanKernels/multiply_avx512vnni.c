#if defined(__x86_64__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))),    \
    apply_to = function)

#include "avx512.h"

#pragma STDC FP_CONTRACT OFF

// Integer kernels for AVX-512 with VNNI. vpdpbusd multiplies unsigned weights in a register by
// signed activations broadcast from memory and does not saturate.

/// Most tokens that unpack weights in registers; more expand a panel of weights first.
#define DECODE_TOKENS 8
/// Tokens of a block of the panel kernel: 2 tiles × 12 tokens are 24 of 32 registers.
#define PANEL_TOKENS 12

static bp_activation_order activation_order(int64_t tokens, int32_t group_size) {
  (void)group_size;
  return (bp_activation_order){tokens <= DECODE_TOKENS ? (int32_t)tokens : PANEL_TOKENS, 4};
}

// ---- More tokens: a panel of two tiles is expanded to bytes in scratch memory that stays in L2,
// then multiplied by blocks of tokens.

/// Tiles that are multiplied together.
#define PANEL_TILES 2
/// Most panels that are expanded before the tokens pass by, and the bytes of codes they may take:
/// the more, the less often activations that do not fit into L2 come from further away.
#define MOST_PANELS 2
#define EXPANDED_BYTES (512 << 10)

/// One panel: for every tile its codes as bytes, its scales as floats, its zero points, and for
/// binary coding its offsets as floats, otherwise NULL.
typedef struct {
  const uint8_t *codes[PANEL_TILES];
  const float *scales[PANEL_TILES];
  const int32_t *zeros[PANEL_TILES];
  const float *offsets[PANEL_TILES];
  /// `[tile][token][16]`: results so far, in memory because the integer sums take the registers.
  float *sums;
} panel;

/// Brings part `part` of `parts` of the codes of the tiles `[tile, tile_end)` into L2: the next
/// panels arrive from memory while these are multiplied.
BP_INLINE void prefetch_tiles(
    const bp_matrix *w, int64_t tile, int64_t tile_end, int64_t part, int64_t parts) {
  if (tile >= tile_end) return;
  const int64_t lines = ((tile_end - tile) * w->groups * bp_code_bytes(w) + 63) / 64;
  const uint8_t *start = bp_codes_at(w, tile, 0);
  for (int64_t i = lines * part / parts; i < lines * (part + 1) / parts; i++) {
    _mm_prefetch((const char *)(start + 64 * i), _MM_HINT_T1);
  }
}

/// Bytes of `panel.sums`.
#define PANEL_SUMS_BYTES (PANEL_TILES * PANEL_TOKENS * 64)

/// Panels that are expanded together.
static int64_t panels_together(const bp_matrix *w) {
  const int64_t panel_bytes = PANEL_TILES * w->groups * w->group_size * BP_TILE_HEIGHT;
  const int64_t panels = EXPANDED_BYTES / panel_bytes;
  return panels < 1 ? 1 : BP_MIN(panels, MOST_PANELS);
}

static size_t scratch_bytes(const bp_matrix *w, int64_t tokens) {
  if (tokens <= DECODE_TOKENS) return 0;
  if (w->family == BP_FAMILY_PER_ROW || w->family == BP_FAMILY_TWO_LEVEL) {
    return bp_row_scratch_bytes_avx512vnni(w, tokens);
  }
  const size_t codes = w->bit_width == 8 ? 0 : (size_t)(w->groups * w->group_size) * 16;
  const size_t tiles = (size_t)panels_together(w) * PANEL_TILES;
  const size_t numbers = w->family == BP_FAMILY_BINARY ? 3 : 2;
  return PANEL_SUMS_BYTES + tiles * (codes + (size_t)w->groups * numbers * 64);
}

BP_INLINE void expand_codes(
    const bp_family family, const int32_t bits, const bp_matrix *w, int64_t tile, uint8_t *out) {
  const int32_t low_bits = bp_low_bits(bits), high_bits = bits - low_bits;
  for (int64_t group = 0; group < w->groups; group++) {
    const uint8_t *low = bp_codes_at(w, tile, group);
    const uint8_t *high = low + 2 * low_bits * w->group_size;
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32) {
      __m512i unit[8];
      bp512_unpack(bits, low, high, unit);
      if (family == BP_FAMILY_NONLINEAR) bp512_look_up(unit);
      BP_UNROLL for (int u = 0; u < 8; u++) _mm512_store_si512(out + 64 * u, unit[u]);
      low += 64 * low_bits;
      high += 64 * high_bits;
      out += 512;
    }
  }
}

BP_INLINE void expand_zero_points(
    const int32_t bits, const bp_matrix *w, int64_t tile, int32_t *out) {
  for (int64_t group = 0; group < w->groups; group++, out += 16) {
    _mm512_store_si512(
        out, w->zero_points ? bp512_zero_points(bits, bp_zero_points_at(w, tile, group))
                            : _mm512_set1_epi32(bp_middle(w)));
  }
}

BP_INLINE void expand_width(
    const int32_t bits, const bp_matrix *w, int64_t tile, uint8_t *codes, int32_t *zeros) {
  if (bits != 8) expand_codes(BP_FAMILY_INTEGER, bits, w, tile, codes);
  expand_zero_points(bits, w, tile, zeros);
}

static void expand_tile(
    const bp_matrix *w, int64_t tile, uint8_t *codes, float *scales, int32_t *zeros,
    float *offsets) {
  switch (w->family == BP_FAMILY_BINARY ? 0 : w->bit_width) {
    case 0:
      bp512_expand_binary(w, tile, 0, w->groups, 128, codes, offsets);
      expand_zero_points(8, w, tile, zeros);
      break;
    case 2: expand_width(2, w, tile, codes, zeros); break;
    case 3: expand_width(3, w, tile, codes, zeros); break;
    case 4:
      if (w->family == BP_FAMILY_NONLINEAR) {
        expand_codes(BP_FAMILY_NONLINEAR, 4, w, tile, codes);
        expand_zero_points(4, w, tile, zeros);
      } else {
        expand_width(4, w, tile, codes, zeros);
      }
      break;
    case 5: expand_width(5, w, tile, codes, zeros); break;
    case 6: expand_width(6, w, tile, codes, zeros); break;
    default: expand_width(8, w, tile, codes, zeros); break;
  }
  for (int64_t group = 0; group < w->groups; group++) {
    _mm512_store_ps(scales + group * 16, bp512_group_scales(w, tile, group));
  }
}

/// Adds the integer sums of one group to the results of some tiles and tokens, and with
/// `has_offsets` the offsets' part.
BP_INLINE void finish_group(
    const int has_offsets, const int tiles, const int tokens, const panel *p, int64_t group,
    const float *activation_scales, const int32_t *negated_sums,
    const __m512i products[PANEL_TILES][PANEL_TOKENS]) {
  BP_UNROLL for (int r = 0; r < tiles; r++) {
    const __m512 scale = _mm512_load_ps(p->scales[r] + group * 16);
    const __m512 offset =
        has_offsets ? _mm512_load_ps(p->offsets[r] + group * 16) : _mm512_setzero_ps();
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      float *sum = p->sums + 16 * (r * tokens + t);
      const __m512 product_scale = _mm512_mul_ps(scale, _mm512_set1_ps(activation_scales[t]));
      __m512 value = _mm512_fmadd_ps(
          _mm512_cvtepi32_ps(products[r][t]), product_scale, _mm512_load_ps(sum));
      if (has_offsets) {
        value = bp512_add_offset(value, offset, negated_sums[t], activation_scales[t]);
      }
      _mm512_store_ps(sum, value);
    }
  }
}

BP_INLINE void multiply_panel(
    const int tiles, const int tokens, const panel *p, const bp_matrix *w,
    const bp_activations *x, const bp_output *y, int64_t tile, int64_t block) {
  float *const sums = p->sums;
  BP_UNROLL for (int i = 0; i < tiles * tokens; i++) {
    _mm512_store_ps(sums + 16 * i, _mm512_setzero_ps());
  }
  const int8_t *a = bp_activation_block(x, block);
  const float *activation_scales = x->scales + block * x->groups * PANEL_TOKENS;
  const int32_t *negated_sums = x->negated_sums + block * x->groups * PANEL_TOKENS;
  const uint8_t *codes[PANEL_TILES] = {p->codes[0], p->codes[1]};
  const int32_t group_size = w->group_size & ~31;
  for (int64_t group = 0; group < w->groups; group++) {
    __m512i products[PANEL_TILES][PANEL_TOKENS];
    BP_UNROLL for (int r = 0; r < tiles; r++) {
      const __m512i zero = _mm512_load_si512(p->zeros[r] + group * 16);
      BP_UNROLL for (int t = 0; t < tokens; t++) {
        products[r][t] = _mm512_dpwssd_epi32(
            _mm512_setzero_si512(), zero, _mm512_set1_epi32(negated_sums[t]));
      }
    }
    // Eight rounds of the loop per group of 128: few enough for the branch predictor.
    _Pragma("clang loop unroll_count(4)")
    for (int32_t k = 0; k < group_size; k += 4) {
      __m512i unit[PANEL_TILES];
      BP_UNROLL for (int r = 0; r < tiles; r++) {
        unit[r] = bp512_load(codes[r]);
        codes[r] += 64;
      }
      BP_UNROLL for (int t = 0; t < tokens; t++) {
        const __m512i value = bp512_broadcast(a + 4 * t);
        BP_UNROLL for (int r = 0; r < tiles; r++) {
          products[r][t] = _mm512_dpbusd_epi32(products[r][t], unit[r], value);
        }
      }
      a += 4 * PANEL_TOKENS;
    }
    if (p->offsets[0]) {
      finish_group(
          1, tiles, tokens, p, group, activation_scales, negated_sums, products);
    } else {
      finish_group(
          0, tiles, tokens, p, group, activation_scales, negated_sums, products);
    }
    negated_sums += PANEL_TOKENS;
    activation_scales += PANEL_TOKENS;
  }
  BP_UNROLL for (int r = 0; r < tiles; r++) {
    bp512_store_tokens(
        tokens, y, block * PANEL_TOKENS, tile + r, w->rows, sums + BP_TILE_HEIGHT * r * tokens);
  }
}

#define PANEL_CASE(tokens)                                                                     \
  case tokens: multiply_panel(tiles, tokens, p, w, x, y, tile, block); break;

BP_INLINE void multiply_panel_block(
    const int tiles, const panel *p, const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile, int64_t block) {
  switch (BP_MIN(PANEL_TOKENS, x->tokens - block * PANEL_TOKENS)) {
    PANEL_CASE(1)
    PANEL_CASE(2)
    PANEL_CASE(3)
    PANEL_CASE(4)
    PANEL_CASE(5)
    PANEL_CASE(6)
    PANEL_CASE(7)
    PANEL_CASE(8)
    PANEL_CASE(9)
    PANEL_CASE(10)
    PANEL_CASE(11)
    PANEL_CASE(12)
  }
}

static void multiply_one_tile(
    const panel *p, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile, int64_t block) {
  multiply_panel_block(1, p, w, x, y, tile, block);
}

static void multiply_two_tiles(
    const panel *p, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile, int64_t block) {
  multiply_panel_block(2, p, w, x, y, tile, block);
}

void bp_multiply_avx512vnni(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  if (block_begin >= block_end) return;
  switch (w->family) {
    case BP_FAMILY_PER_ROW:
    case BP_FAMILY_TWO_LEVEL:
      bp_multiply_row_avx512vnni(
          w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
      return;
    default: break;
  }
  if (x->block <= DECODE_TOKENS) {
    assert(block_begin == 0 && block_end == 1);
    bp_decode_avx512vnni(w, x, y, tile_begin, tile_end);
    return;
  }
  const int64_t together = panels_together(w) * PANEL_TILES;
  const int64_t code_bytes = w->bit_width == 8 ? 0 : w->groups * w->group_size * 16;
  const int64_t scale_count = w->groups * BP_TILE_HEIGHT;
  uint8_t *codes = (uint8_t *)scratch + PANEL_SUMS_BYTES;
  float *scales = (float *)(codes + together * code_bytes);
  int32_t *zeros = (int32_t *)(scales + together * scale_count);
  float *offsets =
      w->family == BP_FAMILY_BINARY ? (float *)(zeros + together * scale_count) : NULL;
  for (int64_t first = tile_begin; first < tile_end; first += together) {
    const int64_t last = BP_MIN(tile_end, first + together);
    panel panels[MOST_PANELS] = {{{NULL}, {NULL}, {NULL}, {NULL}, NULL}};
    for (int64_t tile = first; tile < last; tile++) {
      const int64_t i = tile - first;
      float *tile_offsets = offsets ? offsets + i * scale_count : NULL;
      expand_tile(
          w, tile, codes + i * code_bytes, scales + i * scale_count, zeros + i * scale_count,
          tile_offsets);
      panel *p = panels + i / PANEL_TILES;
      // 8-bit codes are bytes already.
      p->codes[i % PANEL_TILES] =
          w->bit_width == 8 ? bp_codes_at(w, tile, 0) : codes + i * code_bytes;
      p->scales[i % PANEL_TILES] = scales + i * scale_count;
      p->zeros[i % PANEL_TILES] = zeros + i * scale_count;
      p->offsets[i % PANEL_TILES] = tile_offsets;
      p->sums = scratch;
    }
    for (int64_t block = block_begin; block < block_end; block++) {
      prefetch_tiles(
          w, last, BP_MIN(tile_end, last + together), block - block_begin,
          block_end - block_begin);
      for (int64_t tile = first; tile < last; tile += PANEL_TILES) {
        const panel *p = panels + (tile - first) / PANEL_TILES;
        if (last - tile >= PANEL_TILES) {
          multiply_two_tiles(p, w, x, y, tile, block);
        } else {
          multiply_one_tile(p, w, x, y, tile, block);
        }
      }
    }
  }
}

const bp_kernels bp_kernels_avx512vnni = {
    BP_ISA_AVX512VNNI,      "avx512vnni",  activation_order,
    bp_quantize_avx512vnni, scratch_bytes, bp_multiply_avx512vnni,
    bp_multiply_float16_avx512vnni, BP_ALL_FAMILIES, bp_quantize_tokens_avx512vnni,
    bp_multiply_lookup_avx512vbmi,
};

#pragma clang attribute pop

#endif
