#include "internal.h"

#include <math.h>

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

/// Codes of one group of one tile, one byte each, `[unit][row][4]`.
static void expand_group(const bp_matrix *w, int64_t tile, int64_t group, uint8_t *out) {
  const uint8_t *source = bp_codes_at(w, tile, group);
  const int32_t low = bp_low_bits(w->bit_width), high = w->bit_width - low;
  const int32_t units = w->group_size / 4;
  for (int32_t unit = 0; unit < units; unit++) {
    const int32_t low_per_byte = 8 / low;
    const uint8_t *bytes = source + (unit / low_per_byte) * 64;
    const int32_t shift = low * (unit % low_per_byte);
    const uint32_t mask = (1u << low) - 1;
    for (int i = 0; i < 64; i++) out[unit * 64 + i] = (uint8_t)((bytes[i] >> shift) & mask);
    if (high == 0) continue;
    const int32_t high_per_byte = 8 / high;
    bytes = source + 2 * low * w->group_size + (unit / high_per_byte) * 64;
    const int32_t high_shift = high * (unit % high_per_byte);
    const uint32_t high_mask = (1u << high) - 1;
    for (int i = 0; i < 64; i++) {
      out[unit * 64 + i] |= (uint8_t)(((bytes[i] >> high_shift) & high_mask) << low);
    }
  }
}

static void multiply(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  (void)scratch;
  assert(x->block == 1 && x->depth == 4);
  uint8_t codes[128 * BP_TILE_HEIGHT];
  // Tokens in runs, so that the codes of a group are expanded once for several of them.
  enum { run = 16 };
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    const int64_t row_count = BP_MIN(BP_TILE_HEIGHT, w->rows - tile * BP_TILE_HEIGHT);
    for (int64_t start = block_begin; start < block_end; start += run) {
      const int64_t tokens = BP_MIN(run, block_end - start);
      float sums[run][BP_TILE_HEIGHT] = {{0}};
      for (int64_t group = 0; group < w->groups; group++) {
        expand_group(w, tile, group, codes);
        for (int64_t t = 0; t < tokens; t++) {
          const int64_t index = (start + t) * x->groups + group;
          const int8_t *a = bp_activation_block(x, start + t) + group * w->group_size;
          int32_t products[BP_TILE_HEIGHT] = {0};
          for (int32_t k = 0; k < w->group_size; k += 4) {
            const uint8_t *unit = codes + k * BP_TILE_HEIGHT;
            for (int row = 0; row < BP_TILE_HEIGHT; row++) {
              const uint8_t *u = unit + row * 4;
              products[row] +=
                  u[0] * a[k] + u[1] * a[k + 1] + u[2] * a[k + 2] + u[3] * a[k + 3];
            }
          }
          for (int64_t row = 0; row < row_count; row++) {
            const int64_t packed_row = tile * BP_TILE_HEIGHT + row;
            const int32_t zero = bp_zero_point(w, packed_row, group);
            const int32_t d = products[row] + zero * x->negated_sums[index];
            const float scale =
                bp_float_from_half(bp_scale(w, packed_row, group)) * x->scales[index];
            sums[t][row] = fmaf((float)d, scale, sums[t][row]);
          }
        }
      }
      for (int64_t t = 0; t < tokens; t++) {
        for (int64_t row = 0; row < row_count; row++) {
          const int64_t packed_row = tile * BP_TILE_HEIGHT + row;
          const int64_t target = y->row_map ? (int64_t)y->row_map[packed_row] : packed_row;
          y->values[(start + t) * y->stride + target] = sums[t][row];
        }
      }
    }
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
      for (int64_t row = 0; row < row_count; row++) {
        const int64_t packed_row = tile * BP_TILE_HEIGHT + row;
        const int64_t target = y->row_map ? (int64_t)y->row_map[packed_row] : packed_row;
        y->values[token * y->stride + target] = sums[row];
      }
    }
  }
}

void bp_quantize_scalar(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end) {
  for (int64_t block = block_begin; block < block_end; block++) {
    const int64_t end = BP_MIN((block + 1) * out->block, out->tokens);
    for (int64_t token = block * out->block; token < end; token++) {
      for (int64_t group = 0; group < out->groups; group++) {
        const int64_t first = group * out->group_size;
        const int64_t count = BP_MIN(out->group_size, input_features - first);
        const float *source = x + token * stride + first;
        // Magnitudes compared as integers: the same order as the floats, and a NaN wins.
        uint32_t largest = 0;
        for (int64_t i = 0; i < count; i++) {
          uint32_t bits;
          memcpy(&bits, source + i, 4);
          bits &= 0x7FFFFFFF;
          largest = bits > largest ? bits : largest;
        }
        float maximum;
        memcpy(&maximum, &largest, 4);
        int8_t codes[128] = {0};
        int32_t sum = 0;
        float scale = 0;
        if (!(maximum < BP_SMALLEST_MAXIMUM)) {
          scale = maximum / 127.0f;
          const float inverse = 127.0f / maximum;
          for (int64_t i = 0; i < count; i++) {
            float value = source[i] * inverse;
            value = value > -127.0f ? value : -127.0f;  // a NaN becomes −127; the scale tells
            value = value < 127.0f ? value : 127.0f;
            // Adding 1.5 · 2^23 leaves no fraction bits: rounds to nearest, ties to even.
            const int32_t code = (int32_t)((value + 12582912.0f) - 12582912.0f);
            codes[i] = (int8_t)code;
            sum += code;
          }
        }
        bp_place_group(codes, out, token, group);
        const int64_t index = (block * out->groups + group) * out->block + token % out->block;
        out->scales[index] = scale;
        out->negated_sums[index] = -sum;
      }
    }
    bp_place_padding(out, block);
  }
}

const bp_kernels bp_kernels_scalar = {
    BP_ISA_SCALAR, "scalar", activation_order, bp_quantize_scalar,
    scratch_bytes, multiply, multiply_float16,
};
