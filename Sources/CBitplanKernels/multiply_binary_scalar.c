#include "scalar.h"

// Binary coding in plain C: for every bit one integer sum a group.

#pragma STDC FP_CONTRACT OFF

void bp_multiply_binary_scalar(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end) {
  const bp_token_range range = bp_tokens_of(x, block_begin, block_end);
  const int32_t bits = w->bit_width;
  uint8_t planes[4][128 * BP_TILE_HEIGHT];
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    for (int64_t start = range.begin; start < range.end; start += BP_SCALAR_RUN) {
      const int64_t tokens = BP_MIN(BP_SCALAR_RUN, range.end - start);
      float sums[BP_SCALAR_RUN][BP_TILE_HEIGHT] = {{0}};
      for (int64_t group = 0; group < w->groups; group++) {
        const uint8_t *source = bp_codes_at(w, tile, group);
        memset(planes, 0, sizeof planes);
        for (int32_t bit = 0; bit < bits; bit++) {
          bp_add_plane(source + bit * 2 * w->group_size, 1, 0, w->group_size, planes[bit]);
        }
        for (int64_t t = 0; t < tokens; t++) {
          const int64_t index = bp_group_index(x, start + t, group);
          int8_t a[128];
          bp_gather_group(x, start + t, group, a);
          for (int32_t bit = 0; bit < bits; bit++) {
            int32_t ones[BP_TILE_HEIGHT] = {0};
            bp_add_products(planes[bit], a, w->group_size, ones);
            for (int row = 0; row < BP_TILE_HEIGHT; row++) {
              // What bits 1 add minus what bits 0 add: |d| ≤ 127 · 128 < 2^24.
              const int32_t d = 2 * ones[row] + x->negated_sums[index];
              const float scale =
                  bp_float_from_half(
                      bp_binary_scales_at(w, tile, group)[bit * BP_TILE_HEIGHT + row])
                  * x->scales[index];
              sums[t][row] = fmaf((float)d, scale, sums[t][row]);
            }
          }
          for (int row = 0; row < BP_TILE_HEIGHT; row++) {
            const float scale =
                bp_float_from_half(bp_offsets_at(w, tile, group)[row]) * x->scales[index];
            sums[t][row] = fmaf((float)-x->negated_sums[index], scale, sums[t][row]);
          }
        }
      }
      for (int64_t t = 0; t < tokens; t++) bp_store_tile(y, start + t, tile, w->rows, sums[t]);
    }
  }
}
