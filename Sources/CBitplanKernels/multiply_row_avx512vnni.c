#if defined(__x86_64__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))),    \
    apply_to = function)

#include "avx512.h"

#pragma STDC FP_CONTRACT OFF

// Weights with one scale a row, for AVX-512 with VNNI: the whole row is one integer sum, so the
// inner loop has no float in it. Signed bytes b are multiplied as b + 128, which is unsigned; the
// row's sum of activations takes the 128 out again. Sums may wrap on the way; the result cannot.

/// As in multiply_avx512vnni.c, whose activation order this file shares.
#define DECODE_TOKENS 8
#define PANEL_TOKENS 12
#define PANEL_TILES 2
/// Most tiles that are expanded before the tokens pass by, and the bytes they may take.
#define MOST_TILES 4
#define EXPANDED_BYTES (512 << 10)

/// −128 · Σ a of the whole row, modulo 2^32.
BP_INLINE int32_t correction(const bp_activations *x, int64_t block, int64_t token) {
  uint32_t sum = 0;
  for (int64_t group = 0; group < x->groups; group++) {
    sum += (uint32_t)x->negated_sums[(block * x->groups + group) * x->block + token];
  }
  return (int32_t)(sum << 7);
}

/// The result of one tile for one token.
BP_INLINE __m512 result(__m512i sum, __m512 weight_scale, float activation_scale) {
  const __m512 scale = _mm512_mul_ps(weight_scale, _mm512_set1_ps(activation_scale));
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, _mm512_setzero_ps());
}

/// Eight units of one tile as bytes plus 128.
BP_INLINE void unpack(
    const int two_level, const uint8_t *codes, const bp512_two_level *level, __m512i unit[8]) {
  bp512_unpack(two_level ? 4 : 8, codes, NULL, unit);
  if (two_level) bp512_apply_two_level(level, unit);
}

BP_INLINE void decode(
    const int two_level, const int tokens, const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile_begin, int64_t tile_end) {
  const int chains = tokens == 1 ? 4 : tokens == 2 ? 2 : 1;
  const int32_t bits = two_level ? 4 : 8;
  int32_t corrections[DECODE_TOKENS];
  BP_UNROLL for (int t = 0; t < tokens; t++) corrections[t] = correction(x, 0, t);
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    __m512i products[DECODE_TOKENS][4];
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      products[t][0] = _mm512_set1_epi32(corrections[t]);
      BP_UNROLL for (int c = 1; c < chains; c++) products[t][c] = _mm512_setzero_si512();
    }
    const uint8_t *codes = bp_codes_at(w, tile, 0);
    const int8_t *a = x->codes;
    for (int64_t group = 0; group < w->groups; group++) {
      bp512_two_level level;
      if (two_level) level = bp512_read_two_level(bp_two_level_at(w, tile, group), 128);
      for (int32_t chunk = 0; chunk < w->group_size; chunk += 32) {
        __m512i unit[8];
        unpack(two_level, codes, &level, unit);
        // Bytes are left to the CPU's own prefetcher (`bp512_asks_ahead`); for two-level codes, which
        // take longest to unpack, it was worse as often as better.
        if (two_level) {
          BP_UNROLL for (int i = 0; i < bits; i++) {
            _mm_prefetch((const char *)(codes + bp512_ahead(bits) + 64 * i), _MM_HINT_T1);
          }
        }
        codes += 64 * bits;
        BP_UNROLL for (int u = 0; u < 8; u++) {
          BP_UNROLL for (int t = 0; t < tokens; t++) {
            products[t][u % chains] = _mm512_dpbusd_epi32(
                products[t][u % chains], unit[u], bp512_broadcast(a + (u * tokens + t) * 4));
          }
        }
        a += 32 * tokens;
      }
    }
    const __m512 scale = bp512_scales(bp_row_scales_at(w, tile));
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      __m512i sum = products[t][0];
      BP_UNROLL for (int c = 1; c < chains; c++) sum = _mm512_add_epi32(sum, products[t][c]);
      bp512_store(y, t, tile, w->rows, result(sum, scale, x->scales[t]));
    }
  }
}

#define DECODE(name, two_level)                                                                \
  static void name(                                                                            \
      const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,     \
      int64_t tile_end) {                                                                      \
    switch (x->block) {                                                                        \
      case 1: decode(two_level, 1, w, x, y, tile_begin, tile_end); break;                      \
      case 2: decode(two_level, 2, w, x, y, tile_begin, tile_end); break;                      \
      case 3: decode(two_level, 3, w, x, y, tile_begin, tile_end); break;                      \
      case 4: decode(two_level, 4, w, x, y, tile_begin, tile_end); break;                      \
      case 5: decode(two_level, 5, w, x, y, tile_begin, tile_end); break;                      \
      case 6: decode(two_level, 6, w, x, y, tile_begin, tile_end); break;                      \
      case 7: decode(two_level, 7, w, x, y, tile_begin, tile_end); break;                      \
      default: decode(two_level, 8, w, x, y, tile_begin, tile_end); break;                     \
    }                                                                                          \
  }

DECODE(decode_row, 0)
DECODE(decode_two_level, 1)

// ---- More tokens: tiles are expanded to bytes in scratch memory that stays in L2. The bytes of
// per-row weights are multiplied where they lie.

static int64_t tile_bytes(const bp_matrix *w) {
  return w->groups * w->group_size * BP_TILE_HEIGHT;
}

/// Tiles that meet a block of tokens one after the other.
static int64_t tiles_together(const bp_matrix *w) {
  const int64_t pairs = EXPANDED_BYTES / tile_bytes(w) / PANEL_TILES;
  return BP_MIN(MOST_TILES, (pairs < 1 ? 1 : pairs) * PANEL_TILES);
}

size_t bp_row_scratch_bytes_avx512vnni(const bp_matrix *w, int64_t tokens) {
  if (tokens <= DECODE_TOKENS || w->family == BP_FAMILY_PER_ROW) return 0;
  return (size_t)(tiles_together(w) * tile_bytes(w));
}

static void expand_tile(const bp_matrix *w, int64_t tile, uint8_t *out) {
  const uint8_t *codes = bp_codes_at(w, tile, 0);
  for (int64_t group = 0; group < w->groups; group++) {
    const bp512_two_level level = bp512_read_two_level(bp_two_level_at(w, tile, group), 128);
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32, codes += 256, out += 512) {
      __m512i unit[8];
      unpack(1, codes, &level, unit);
      BP_UNROLL for (int u = 0; u < 8; u++) _mm512_store_si512(out + 64 * u, unit[u]);
    }
  }
}

BP_INLINE void multiply_panel(
    const int tiles, const int tokens, const uint8_t *const codes[PANEL_TILES],
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile,
    int64_t block) {
  __m512i products[PANEL_TILES][PANEL_TOKENS];
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    const __m512i start = _mm512_set1_epi32(correction(x, block, t));
    BP_UNROLL for (int r = 0; r < tiles; r++) products[r][t] = start;
  }
  const uint8_t *next[PANEL_TILES] = {codes[0], codes[1]};
  const int8_t *a = bp_activation_block(x, block);
  const int64_t depth = w->groups * w->group_size;
  _Pragma("clang loop unroll_count(4)")
  for (int64_t k = 0; k < depth; k += 4) {
    __m512i unit[PANEL_TILES];
    BP_UNROLL for (int r = 0; r < tiles; r++) {
      unit[r] = bp512_load(next[r]);
      next[r] += 64;
    }
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      const __m512i value = bp512_broadcast(a + 4 * t);
      BP_UNROLL for (int r = 0; r < tiles; r++) {
        products[r][t] = _mm512_dpbusd_epi32(products[r][t], unit[r], value);
      }
    }
    a += 4 * PANEL_TOKENS;
  }
  BP_UNROLL for (int r = 0; r < tiles; r++) {
    const __m512 scale = bp512_scales(bp_row_scales_at(w, tile + r));
    BP_UNROLL for (int t = 0; t < tokens; t++) {
      const int64_t token = block * PANEL_TOKENS + t;
      bp512_store(
          y, token, tile + r, w->rows, result(products[r][t], scale, x->scales[token]));
    }
  }
}

#define PANEL_CASE(tokens)                                                                     \
  case tokens: multiply_panel(tiles, tokens, codes, w, x, y, tile, block); break;

BP_INLINE void multiply_block(
    const int tiles, const uint8_t *const codes[PANEL_TILES], const bp_matrix *w,
    const bp_activations *x, const bp_output *y, int64_t tile, int64_t block) {
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
    const uint8_t *const codes[PANEL_TILES], const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile, int64_t block) {
  multiply_block(1, codes, w, x, y, tile, block);
}

static void multiply_two_tiles(
    const uint8_t *const codes[PANEL_TILES], const bp_matrix *w, const bp_activations *x,
    const bp_output *y, int64_t tile, int64_t block) {
  multiply_block(2, codes, w, x, y, tile, block);
}

void bp_multiply_row_avx512vnni(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  const int two_level = w->family == BP_FAMILY_TWO_LEVEL;
  if (x->block <= DECODE_TOKENS) {
    assert(block_begin == 0 && block_end == 1);
    (two_level ? decode_two_level : decode_row)(w, x, y, tile_begin, tile_end);
    return;
  }
  const int64_t together = tiles_together(w);
  for (int64_t first = tile_begin; first < tile_end; first += together) {
    const int64_t last = BP_MIN(tile_end, first + together);
    const uint8_t *codes[MOST_TILES + 1] = {NULL};
    for (int64_t tile = first; tile < last; tile++) {
      uint8_t *expanded = (uint8_t *)scratch + (tile - first) * tile_bytes(w);
      if (two_level) expand_tile(w, tile, expanded);
      codes[tile - first] = two_level ? expanded : bp_codes_at(w, tile, 0);
    }
    for (int64_t block = block_begin; block < block_end; block++) {
      for (int64_t tile = first; tile < last; tile += PANEL_TILES) {
        (last - tile >= PANEL_TILES ? multiply_two_tiles : multiply_one_tile)(
            codes + (tile - first), w, x, y, tile, block);
      }
    }
  }
}

#pragma clang attribute pop

#endif
