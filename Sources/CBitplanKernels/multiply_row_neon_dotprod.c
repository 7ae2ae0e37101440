#if defined(__aarch64__)

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)

#include "neon_dotprod.h"

#pragma STDC FP_CONTRACT OFF

// Weights with one scale a row, for NEON with the dot-product extension. They stand for signed
// bytes, which sdot takes as they are, so the whole row is one integer sum without correction and
// without a float in the inner loop.

/// As in multiply_neon_dotprod.c, whose activation order this file shares.
#define BLOCK_TOKENS 4
/// Most tiles that are expanded before the tokens pass by, and the bytes they may take.
#define MOST_TILES 4
#define TILES_BYTES (320 << 10)

static int64_t tile_bytes(const bp_matrix *w) {
  return w->groups * w->group_size * BP_TILE_HEIGHT;
}

static int64_t tiles_together(const bp_matrix *w) {
  const int64_t tiles = TILES_BYTES / tile_bytes(w);
  return tiles < 1 ? 1 : BP_MIN(tiles, MOST_TILES);
}

size_t bp_row_scratch_bytes_neon(const bp_matrix *w) {
  return (size_t)(tiles_together(w) * tile_bytes(w));
}

/// The two-level codes of one group; zeros for per-row weights, which have none.
BP_INLINE uint8x16_t level_at(
    const int two_level, const bp_matrix *w, int64_t tile, int64_t group) {
  return two_level ? vld1q_u8(bp_two_level_at(w, tile, group)) : vdupq_n_u8(0);
}

/// One tile times `tokens` tokens that lie in blocks of `stride`. With `ready`, its bytes come from
/// there; without, they are unpacked on the way.
BP_INLINE void multiply_tile(
    const int two_level, const int tokens, const int stride, const int8_t *ready,
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile,
    int64_t block) {
  // Independent sums hide the latency of the dot product.
  const int chains = tokens == 1 ? 2 : 1;
  const int32_t bits = two_level ? 4 : 8;
  int32x4_t products[BLOCK_TOKENS][2][4];
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    BP_UNROLL for (int q = 0; q < 4; q++) {
      products[t][0][q] = products[t][1][q] = vdupq_n_s32(0);
    }
  }
  const uint8_t *codes = bp_codes_at(w, tile, 0);
  const int8_t *a = bp_activation_block(x, block);
  for (int64_t group = 0; group < w->groups; group++) {
    const uint8x16_t level = level_at(two_level, w, tile, group);
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32) {
      BP_UNROLL for (int u = 0; u < 8; u++) {
        int8x16_t unit[4];
        BP_UNROLL for (int q = 0; q < 4; q++) {
          unit[q] = ready ? vld1q_s8(ready + 64 * u + 16 * q)
                          : bp_neon_row_bytes(two_level, codes, level, u, q);
        }
        BP_UNROLL for (int t = 0; t < tokens; t++) {
          const int place = u * stride + t;
          const int8x16_t values = vld1q_s8(a + place / 4 * 16);
          BP_UNROLL for (int q = 0; q < 4; q++) {
            products[t][u % chains][q] =
                bp_neon_dot_lane(products[t][u % chains][q], unit[q], values, place % 4);
          }
        }
      }
      codes += 64 * bits;
      if (ready) ready += 512;
      a += 32 * stride;
    }
  }
  float32x4_t scale[4];
  bp_neon_scales(bp_row_scales_at(w, tile), scale);
  BP_UNROLL for (int t = 0; t < tokens; t++) {
    const int64_t token = block * stride + t;
    float32x4_t results[4];
    BP_UNROLL for (int q = 0; q < 4; q++) {
      const int32x4_t sum =
          chains == 1 ? products[t][0][q] : products[t][0][q] + products[t][1][q];
      results[q] = bp_neon_row_result(sum, scale[q], x->scales[token]);
    }
    bp_neon_store(y, token, tile * BP_TILE_HEIGHT, w->rows, 4, results);
  }
}

BP_INLINE void expand_tile(
    const int two_level, const bp_matrix *w, int64_t tile, int8_t *target) {
  const uint8_t *codes = bp_codes_at(w, tile, 0);
  for (int64_t group = 0; group < w->groups; group++) {
    const uint8x16_t level = level_at(two_level, w, tile, group);
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32) {
      BP_UNROLL for (int u = 0; u < 8; u++) {
        BP_UNROLL for (int q = 0; q < 4; q++) {
          vst1q_s8(
              target + 64 * u + 16 * q, bp_neon_row_bytes(two_level, codes, level, u, q));
        }
      }
      codes += two_level ? 256 : 512;
      target += 512;
    }
  }
}

/// A tile that is ready times one block of tokens.
static void multiply_ready(
    const int8_t *ready, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile, int64_t block) {
  switch (BP_MIN(BLOCK_TOKENS, x->tokens - block * BLOCK_TOKENS)) {
    case 1: multiply_tile(0, 1, 4, ready, w, x, y, tile, block); break;
    case 2: multiply_tile(0, 2, 4, ready, w, x, y, tile, block); break;
    case 3: multiply_tile(0, 3, 4, ready, w, x, y, tile, block); break;
    default: multiply_tile(0, 4, 4, ready, w, x, y, tile, block); break;
  }
}

BP_INLINE void multiply_level(
    const int two_level, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile_begin, int64_t tile_end, int64_t block_begin, int64_t block_end,
    int8_t *scratch) {
  if (x->tokens <= BLOCK_TOKENS) {
    for (int64_t tile = tile_begin; tile < tile_end; tile++) {
      switch (x->block) {
        case 1: multiply_tile(two_level, 1, 1, NULL, w, x, y, tile, 0); break;
        case 2: multiply_tile(two_level, 2, 2, NULL, w, x, y, tile, 0); break;
        case 3: multiply_tile(two_level, 3, 3, NULL, w, x, y, tile, 0); break;
        default: multiply_tile(two_level, 4, 4, NULL, w, x, y, tile, 0); break;
      }
    }
    return;
  }
  const int64_t together = tiles_together(w);
  for (int64_t first = tile_begin; first < tile_end; first += together) {
    const int64_t last = BP_MIN(tile_end, first + together);
    for (int64_t tile = first; tile < last; tile++) {
      expand_tile(two_level, w, tile, scratch + (tile - first) * tile_bytes(w));
    }
    for (int64_t block = block_begin; block < block_end; block++) {
      for (int64_t tile = first; tile < last; tile++) {
        multiply_ready(scratch + (tile - first) * tile_bytes(w), w, x, y, tile, block);
      }
    }
  }
}

void bp_multiply_row_neon_dotprod(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  if (w->family == BP_FAMILY_TWO_LEVEL) {
    multiply_level(1, w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  } else {
    multiply_level(0, w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  }
}

#pragma clang attribute pop

#endif
