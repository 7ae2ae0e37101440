#include "scalar.h"

// Weights with one scale a row, per-row and two-level, in plain C: one integer sum a row.

#pragma STDC FP_CONTRACT OFF

void bp_multiply_row_scalar(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end) {
  assert(x->per_token && x->group_size == w->group_size);
  const bp_token_range range = bp_tokens_of(x, block_begin, block_end);
  uint8_t codes[128 * BP_TILE_HEIGHT];
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    for (int64_t start = range.begin; start < range.end; start += BP_SCALAR_RUN) {
      const int64_t tokens = BP_MIN(BP_SCALAR_RUN, range.end - start);
      // At most 2^17 products of 128 · 127 each: sums stay below 2^31.
      int32_t sums[BP_SCALAR_RUN][BP_TILE_HEIGHT] = {{0}};
      for (int64_t group = 0; group < w->groups; group++) {
        bp_expand_group(w, tile, group, codes);
        const uint8_t *two_level =
            w->family == BP_FAMILY_TWO_LEVEL ? bp_two_level_at(w, tile, group) : NULL;
        for (int64_t t = 0; t < tokens; t++) {
          int8_t a[128];
          bp_gather_group(x, start + t, group, a);
          for (int32_t k = 0; k < w->group_size; k++) {
            const uint8_t *unit = codes + k / 4 * 64 + k % 4;
            for (int row = 0; row < BP_TILE_HEIGHT; row++) {
              const uint8_t code = unit[row * 4];
              const int32_t weight =
                  two_level ? bp_two_level_byte(two_level[row], code) : code - 128;
              sums[t][row] += weight * a[k];
            }
          }
        }
      }
      for (int64_t t = 0; t < tokens; t++) {
        float results[BP_TILE_HEIGHT];
        for (int row = 0; row < BP_TILE_HEIGHT; row++) {
          const float scale =
              bp_float_from_half(bp_row_scales_at(w, tile)[row]) * x->scales[start + t];
          results[row] = fmaf((float)sums[t][row], scale, 0.0f);
        }
        bp_store_tile(y, start + t, tile, w->rows, results);
      }
    }
  }
}
