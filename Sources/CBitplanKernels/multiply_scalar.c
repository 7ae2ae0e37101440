#include "scalar.h"

// The kernels in plain C: they define the result that every other instruction set must return.

#pragma STDC FP_CONTRACT OFF

static bp_activation_order activation_order(int64_t tokens, int32_t group_size) {
  (void)tokens;
  (void)group_size;
  return (bp_activation_order){1, 4};
}

static size_t scratch_bytes(const bp_matrix *w, int64_t tokens) {
  (void)w;
  (void)tokens;
  return 0;
}

/// Replaces the codes of one group of one tile by the unsigned bytes that are multiplied.
static void look_up(const bp_matrix *w, int64_t tile, int64_t group, uint8_t *codes) {
  const int32_t count = w->group_size * BP_TILE_HEIGHT;
  if (w->family == BP_FAMILY_NONLINEAR) {
    for (int32_t i = 0; i < count; i++) codes[i] = bp_nonlinear_bytes[codes[i]];
  } else if (w->family == BP_FAMILY_BINARY) {
    const uint8_t *plane_weights = bp_plane_weights_at(w, tile, group);
    for (int32_t i = 0; i < count; i++) {
      const int32_t row = i / 4 % BP_TILE_HEIGHT;
      codes[i] = (uint8_t)(bp_binary_byte(plane_weights + row, w->bit_width, codes[i]) + 128);
    }
  }
}

/// Integer, non-linear, block floating-point and binary weights.
static void multiply_groups(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, bp_token_range range) {
  uint8_t codes[128 * BP_TILE_HEIGHT];
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    const int64_t row_count = BP_MIN(BP_TILE_HEIGHT, w->rows - tile * BP_TILE_HEIGHT);
    for (int64_t start = range.begin; start < range.end; start += BP_SCALAR_RUN) {
      const int64_t tokens = BP_MIN(BP_SCALAR_RUN, range.end - start);
      float sums[BP_SCALAR_RUN][BP_TILE_HEIGHT] = {{0}};
      for (int64_t group = 0; group < w->groups; group++) {
        bp_expand_group(w, tile, group, codes);
        look_up(w, tile, group, codes);
        for (int64_t t = 0; t < tokens; t++) {
          const int64_t index = bp_group_index(x, start + t, group);
          int8_t a[128];
          bp_gather_group(x, start + t, group, a);
          int32_t products[BP_TILE_HEIGHT] = {0};
          bp_add_products(codes, a, w->group_size, products);
          for (int64_t row = 0; row < row_count; row++) {
            const int64_t packed_row = tile * BP_TILE_HEIGHT + row;
            const int32_t zero = bp_zero_point(w, packed_row, group);
            const int32_t d = products[row] + zero * x->negated_sums[index];
            const float scale = bp_group_scale(w, packed_row, group) * x->scales[index];
            sums[t][row] = fmaf((float)d, scale, sums[t][row]);
            if (w->family != BP_FAMILY_BINARY) continue;
            const float negated_sum = (float)x->negated_sums[index] * x->scales[index];
            const float offset = bp_float_from_half(bp_offset(w, packed_row, group));
            sums[t][row] = fmaf(-negated_sum, offset, sums[t][row]);
          }
        }
      }
      for (int64_t t = 0; t < tokens; t++) bp_store_tile(y, start + t, tile, w->rows, sums[t]);
    }
  }
}

void bp_multiply_scalar(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  (void)scratch;
  switch (w->family) {
    case BP_FAMILY_PER_ROW:
    case BP_FAMILY_TWO_LEVEL:
      bp_multiply_row_scalar(w, x, y, tile_begin, tile_end, block_begin, block_end);
      return;
    default:
      multiply_groups(
          w, x, y, tile_begin, tile_end, bp_tokens_of(x, block_begin, block_end));
  }
}

static void multiply_float16(
    const uint16_t *w, int64_t rows, int64_t input_features, const float *x, int64_t x_stride,
    const bp_output *y, int64_t tile_begin, int64_t tile_end, int64_t token_begin,
    int64_t token_end) {
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    const int64_t row_count = BP_MIN(BP_TILE_HEIGHT, rows - tile * BP_TILE_HEIGHT);
    for (int64_t token = token_begin; token < token_end; token++) {
      float sums[BP_TILE_HEIGHT] = {0};
      for (int64_t k = 0; k < input_features; k++) {
        const uint16_t *column = w + (tile * input_features + k) * BP_TILE_HEIGHT;
        const float value = x[token * x_stride + k];
        for (int64_t row = 0; row < row_count; row++) {
          sums[row] = fmaf(bp_float_from_half(column[row]), value, sums[row]);
        }
      }
      bp_store_tile(y, token, tile, rows, sums);
    }
  }
}

const bp_kernels bp_kernels_scalar = {
    BP_ISA_SCALAR, "scalar",           activation_order, bp_quantize_scalar,
    scratch_bytes, bp_multiply_scalar, multiply_float16, BP_ALL_FAMILIES,
    bp_quantize_tokens_scalar, NULL,
};
