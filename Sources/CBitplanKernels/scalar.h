#ifndef BITPLAN_SCALAR_H
#define BITPLAN_SCALAR_H

// What the files of the scalar kernels share. They define the result that every other instruction
// set must return, and take activations in any order, so that they can stand in for any of them.

#include "internal.h"

#include <math.h>

/// Tokens that share an expansion of the codes of a group.
#define BP_SCALAR_RUN 16

/// Tokens of some blocks.
typedef struct {
  int64_t begin, end;
} bp_token_range;

BP_INLINE bp_token_range bp_tokens_of(
    const bp_activations *x, int64_t block_begin, int64_t block_end) {
  return (bp_token_range){block_begin * x->block, BP_MIN(block_end * x->block, x->tokens)};
}

/// Where the scale (unless `per_token`) and the negated sum of a token's group are.
BP_INLINE int64_t bp_group_index(const bp_activations *x, int64_t token, int64_t group) {
  return (token / x->block * x->groups + group) * x->block + token % x->block;
}

/// The codes of one group of one token, in order.
BP_INLINE void bp_gather_group(
    const bp_activations *x, int64_t token, int64_t group, int8_t out[128]) {
  const int64_t block = x->block, depth = x->depth;
  const int8_t *source = bp_activation_block(x, token / block) + group * x->group_size * block
      + token % block * depth;
  for (int32_t k = 0; k < x->group_size; k += (int32_t)depth, source += block * depth) {
    memcpy(out + k, source, (size_t)depth);
  }
}

/// Adds the products of one group of codes, `[unit][row][4]`, and of one token.
BP_INLINE void bp_add_products(
    const uint8_t *codes, const int8_t *a, int32_t group_size,
    int32_t products[BP_TILE_HEIGHT]) {
  for (int32_t k = 0; k < group_size; k += 4) {
    const uint8_t *unit = codes + k * BP_TILE_HEIGHT;
    for (int row = 0; row < BP_TILE_HEIGHT; row++) {
      const uint8_t *u = unit + row * 4;
      products[row] += u[0] * a[k] + u[1] * a[k + 1] + u[2] * a[k + 2] + u[3] * a[k + 3];
    }
  }
}

/// Bits `[shift, shift + bits)` of every code of one group of one tile from their plane,
/// `[unit][row][4]`: added to what is there.
BP_INLINE void bp_add_plane(
    const uint8_t *plane, int32_t bits, int32_t shift, int32_t group_size, uint8_t *out) {
  const int32_t per_byte = 8 / bits;
  const uint32_t mask = (1u << bits) - 1;
  for (int32_t unit = 0; unit < group_size / 4; unit++) {
    const uint8_t *bytes = plane + (unit / per_byte) * 64;
    const int32_t down = bits * (unit % per_byte);
    for (int i = 0; i < 64; i++) {
      out[unit * 64 + i] |= (uint8_t)(((bytes[i] >> down) & mask) << shift);
    }
  }
}

/// Codes of one group of one tile, one byte each, `[unit][row][4]`.
BP_INLINE void bp_expand_group(const bp_matrix *w, int64_t tile, int64_t group, uint8_t *out) {
  const uint8_t *source = bp_codes_at(w, tile, group);
  if (w->family == BP_FAMILY_BINARY) {
    memset(out, 0, (size_t)w->group_size * BP_TILE_HEIGHT);
    for (int32_t bit = 0; bit < w->bit_width; bit++) {
      bp_add_plane(source + bit * 2 * w->group_size, 1, bit, w->group_size, out);
    }
    return;
  }
  const int32_t low = bp_low_bits(w->bit_width), high = w->bit_width - low;
  memset(out, 0, (size_t)w->group_size * BP_TILE_HEIGHT);
  bp_add_plane(source, low, 0, w->group_size, out);
  if (high) bp_add_plane(source + 2 * low * w->group_size, high, low, w->group_size, out);
}

/// Writes the results of one tile for one token.
BP_INLINE void bp_store_tile(
    const bp_output *y, int64_t token, int64_t tile, int64_t rows,
    const float sums[BP_TILE_HEIGHT]) {
  const int64_t row_count = BP_MIN(BP_TILE_HEIGHT, rows - tile * BP_TILE_HEIGHT);
  for (int64_t row = 0; row < row_count; row++) {
    const int64_t packed_row = tile * BP_TILE_HEIGHT + row;
    const int64_t target = y->row_map ? (int64_t)y->row_map[packed_row] : packed_row;
    y->values[token * y->stride + target] = sums[row];
  }
}

#endif
