#include "matrix_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

/// binary16 to float by its definition (IEEE 754-2019, 3.4); finite numbers only.
static float float_from_half(uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 0x3FF;
  const float magnitude = exponent ? ldexpf((float)(1024 + mantissa), exponent - 25)
                                   : ldexpf((float)mantissa, -24);
  return half & 0x8000 ? -magnitude : magnitude;
}

/// Whether a row has one scale, and a token too.
static int is_per_row(bp_family family) {
  return family == BP_FAMILY_PER_ROW || family == BP_FAMILY_TWO_LEVEL;
}

/// What the row-major inputs of a case are.
typedef struct {
  /// `[rows][input_features]`.
  uint8_t *codes;
  /// `[rows][groups]`; of binary coding offsets too.
  uint16_t *scales, *offsets;
  /// `[rows][groups]`: zero points, two-level codes or exponents.
  uint8_t *zeros;
  /// `[rows][groups][bit_width]`.
  uint8_t *plane_weights;
} row_major;

/// The integer that a code stands for; `extra` is the group's zero point or two-level code,
/// `plane_weights` are the group's.
static int32_t weight_of(
    case_shape s, uint8_t code, uint8_t extra, const uint8_t *plane_weights) {
  static const int8_t levels[16] = {-127, -92, -71, -54, -40, -28, -17, -7,
                                    3,    13,  25,  37,  51,  68,  87,  113};
  switch (s.family) {
    case BP_FAMILY_NONLINEAR: return levels[code];
    case BP_FAMILY_PER_ROW: return code - 128;
    case BP_FAMILY_BINARY: {
      int32_t sum = 0;
      for (int32_t bit = 0; bit < s.bit_width; bit++) {
        const int32_t weight = s.bit_width == 1 ? 1 : plane_weights[bit];
        sum += code >> bit & 1 ? weight : -weight;
      }
      return (int8_t)(uint8_t)(sum & 255);
    }
    case BP_FAMILY_TWO_LEVEL:
      return (int8_t)(uint8_t)((extra / 16 + 1) * (code - extra % 16) & 255);
    default: return code - (s.is_affine ? extra : 1 << (s.bit_width - 1));
  }
}

/// The expected result of integer weights, row-major inputs.
static void expect_integers(matrix_case *c, row_major in) {
  const case_shape s = c->shape;
  int32_t *a = allocate((size_t)s.input_features * sizeof *a);
  float *t = allocate((size_t)c->groups * sizeof *t);
  // What shares a scale: a group, or the whole row and token.
  const int64_t spans = is_per_row(s.family) ? 1 : c->groups;
  const int64_t span = is_per_row(s.family) ? s.input_features : s.group_size;
  for (int64_t token = 0; token < s.tokens; token++) {
    const float *x = c->x + token * s.input_features;
    for (int64_t group = 0; group < spans; group++) {
      const int64_t first = group * span;
      const int64_t last =
          first + span < s.input_features ? first + span : s.input_features;
      float largest = 0;
      for (int64_t k = first; k < last; k++) {
        if (!(fabsf(x[k]) <= largest)) largest = fabsf(x[k]);
        if (x[k] != x[k]) break;
      }
      t[group] = largest < 0x1p-110f ? 0 : largest / 127.0f;
      for (int64_t k = first; k < last; k++) {
        const float code = x[k] * (127.0f / largest);
        // A NaN, as an infinite activation times 0 is, becomes −127: fmaxf returns the number.
        a[k] = t[group] == 0 ? 0 : (int32_t)nearbyintf(fminf(127.0f, fmaxf(-127.0f, code)));
      }
    }
    for (int64_t row = 0; row < s.rows; row++) {
      float y = 0;
      for (int64_t group = 0; group < spans; group++) {
        int32_t d = 0;
        for (int64_t k = group * span; k < (group + 1) * span && k < s.input_features; k++) {
          const int64_t place = row * c->groups + k / s.group_size;
          d += a[k]
              * weight_of(
                   s, in.codes[row * s.input_features + k], in.zeros[place],
                   in.plane_weights + place * s.bit_width);
        }
        const uint8_t exponent = in.zeros[row * c->groups + group];
        const float weight_scale = s.family != BP_FAMILY_BLOCK_FLOAT
            ? float_from_half(in.scales[row * spans + group])
            : exponent == 0 ? 0 : ldexpf(1, exponent - 127);
        const float scale = weight_scale * t[group];
        y = fmaf((float)d, scale, y);
        if (s.family != BP_FAMILY_BINARY) continue;
        int32_t sum = 0;
        for (int64_t k = group * span; k < (group + 1) * span && k < s.input_features; k++) {
          sum += a[k];
        }
        const float scaled = (float)-sum * t[group];
        y = fmaf(-scaled, float_from_half(in.offsets[row * c->groups + group]), y);
      }
      const int64_t place = c->row_map ? c->row_map[row] : row;
      c->expected[token * s.rows + place] = y;
    }
  }
  free(a);
  free(t);
}

static void make_integers(matrix_case *c, generator *g) {
  const case_shape s = c->shape;
  const int64_t count = s.rows * s.input_features, scale_count = s.rows * c->groups;
  const uint8_t top = (uint8_t)((1 << s.bit_width) - 1);
  const row_major in = {
      .codes = allocate((size_t)count),
      .scales = allocate((size_t)scale_count * 2),
      .offsets = allocate((size_t)scale_count * 2),
      .zeros = allocate((size_t)scale_count),
      .plane_weights = allocate((size_t)(scale_count * s.bit_width)),
  };
  for (int64_t i = 0; i < count; i++) {
    in.codes[i] = s.pattern == CODES_TOP ? top
        : s.pattern == CODES_BOTTOM   ? 0
                                      : (uint8_t)(next_bits(g) & top);
  }
  for (int64_t i = 0; i < scale_count; i++) {
    in.scales[i] = next_half(g);
    const uint8_t random = (uint8_t)next_bits(g);
    in.zeros[i] = s.family == BP_FAMILY_TWO_LEVEL ? random
        : s.family == BP_FAMILY_BLOCK_FLOAT    ? (random < 16 ? 0 : 100 + random % 50)
        : s.pattern == CODES_TOP               ? 0
        : s.pattern == CODES_BOTTOM            ? top
                                               : random & top;
    if (s.family != BP_FAMILY_BINARY) continue;
    in.offsets[i] = next_half(g);
    // 127 together, or 128, which makes codes 0 stand for −128; random ones wrap in every other
    // group.
    const uint8_t some = (i % c->groups + s.tokens) % 2 ? 31 : 255;
    for (int32_t bit = 0; bit < s.bit_width; bit++) {
      const int32_t last = bit == s.bit_width - 1;
      in.plane_weights[i * s.bit_width + bit] = s.pattern == CODES_TOP ? (last ? 127 - 8 * bit : 8)
          : s.pattern == CODES_BOTTOM ? (last ? 128 - 8 * bit : 8)
                                      : (uint8_t)next_bits(g) & some;
    }
  }
  c->codes_bytes = c->tiles * c->groups * 2 * s.bit_width * s.group_size;
  const int has_bytes =
      s.family == BP_FAMILY_TWO_LEVEL || s.family == BP_FAMILY_BLOCK_FLOAT;
  const int is_binary = s.family == BP_FAMILY_BINARY;
  const int32_t stored_weights = is_binary && s.bit_width > 1 ? s.bit_width : 0;
  const int64_t scales_of_row = is_per_row(s.family)   ? 1
      : s.family == BP_FAMILY_BLOCK_FLOAT ? 0
                                          : c->groups;
  c->scales_bytes = c->tiles * scales_of_row * BP_TILE_HEIGHT * 2;
  c->zeros_bytes = c->tiles * c->groups
      * (has_bytes          ? BP_TILE_HEIGHT
             : is_binary   ? (2 + stored_weights) * BP_TILE_HEIGHT
             : s.is_affine ? 2 * s.bit_width
                           : 0);
  c->codes = allocate((size_t)c->codes_bytes);
  c->scales = allocate((size_t)c->scales_bytes);
  (is_binary ? bp_pack_bit_planes : bp_pack_codes)(
      in.codes, s.rows, s.input_features, s.bit_width, s.group_size, c->codes);
  if (scales_of_row) bp_pack_scales(in.scales, s.rows, scales_of_row, c->scales);
  if (c->zeros_bytes) c->zeros = allocate((size_t)c->zeros_bytes);
  if (has_bytes) {
    bp_pack_bytes(in.zeros, s.rows, c->groups, c->zeros);
  } else if (is_binary) {
    bp_pack_offsets(
        in.offsets, in.plane_weights, s.rows, c->groups, s.bit_width, (uint16_t *)c->zeros);
  } else if (s.is_affine) {
    bp_pack_zero_points(in.zeros, s.rows, c->groups, s.bit_width, c->zeros);
  }
  expect_integers(c, in);
  free(in.codes);
  free(in.scales);
  free(in.offsets);
  free(in.zeros);
  free(in.plane_weights);
}

static void make_halves(matrix_case *c, generator *g) {
  const case_shape s = c->shape;
  uint16_t *weights = allocate((size_t)(s.rows * s.input_features) * 2);
  for (int64_t i = 0; i < s.rows * s.input_features; i++) weights[i] = next_half(g);
  c->codes_bytes = c->tiles * BP_TILE_HEIGHT * s.input_features * 2;
  c->codes = allocate((size_t)c->codes_bytes);
  bp_pack_float16(weights, s.rows, s.input_features, (uint16_t *)c->codes);
  for (int64_t token = 0; token < s.tokens; token++) {
    for (int64_t row = 0; row < s.rows; row++) {
      float y = 0;
      for (int64_t k = 0; k < s.input_features; k++) {
        y = fmaf(
            float_from_half(weights[row * s.input_features + k]),
            c->x[token * s.input_features + k], y);
      }
      c->expected[token * s.rows + (c->row_map ? c->row_map[row] : row)] = y;
    }
  }
  free(weights);
}

matrix_case make_matrix_case(case_shape s, uint64_t seed) {
  generator g = {seed};
  matrix_case c = {.shape = s};
  c.tiles = (s.rows + BP_TILE_HEIGHT - 1) / BP_TILE_HEIGHT;
  c.groups = (s.input_features + s.group_size - 1) / s.group_size;
  const int64_t count = s.tokens * s.input_features;
  c.x = allocate((size_t)count * 4);
  for (int64_t i = 0; i < count; i++) {
    if (s.pattern == CODES_TOP || s.pattern == CODES_BOTTOM) {
      c.x[i] = i / s.input_features % 2 ? -127.0f : 127.0f;
    } else if (s.pattern == CODES_TIES) {
      // The first of a group makes the scale 1; the others are multiples of a half.
      const int is_first = i % s.input_features % s.group_size == 0;
      c.x[i] = is_first ? 127.0f : (float)((int)(next_bits(&g) % 509) - 254) * 0.5f;
    } else {
      c.x[i] = next_activation(&g);
    }
  }
  if (s.pattern == CODES_NOT_FINITE) {
    const float values[3] = {NAN, INFINITY, -INFINITY};
    c.x[s.input_features - 1] = values[seed % 3];
  }
  if (s.row_map) {
    // Rows backwards, every other one exchanged with its neighbour; or one tile further on, the last
    // ones first.
    c.row_map = allocate((size_t)(c.tiles * BP_TILE_HEIGHT) * 4);
    for (int64_t row = 0; row < s.rows; row++) {
      const int64_t other = (row ^ 1) < s.rows ? row ^ 1 : row;
      c.row_map[row] = (uint32_t)(
          s.row_map == 1 ? s.rows - 1 - other : (row + BP_TILE_HEIGHT) % s.rows);
    }
  }
  c.expected = allocate((size_t)(s.tokens * s.rows) * 4);
  if (s.bit_width == 16) {
    make_halves(&c, &g);
  } else {
    make_integers(&c, &g);
  }
  hash_results(c.expected, s.tokens * s.rows);
  return c;
}

void free_matrix_case(matrix_case *c) {
  free(c->codes);
  free(c->zeros);
  free(c->scales);
  free(c->x);
  free(c->row_map);
  free(c->expected);
}

/// Elements of the output between one token's results and the next's, which must stay untouched.
enum { gap = 3 };
static const uint32_t untouched = 0x7FC0BEEF;

static int64_t first_difference(const matrix_case *c, const float *y) {
  const int64_t stride = c->shape.rows + gap;
  for (int64_t token = 0; token < c->shape.tokens; token++) {
    for (int64_t i = 0; i < stride; i++) {
      const int64_t index = token * stride + i;
      if (i < c->shape.rows) {
        if (!same(c->expected[token * c->shape.rows + i], y[index])) return index;
      } else if (token + 1 < c->shape.tokens && memcmp(y + index, &untouched, 4) != 0) {
        return index;
      }
    }
  }
  return -1;
}

static void multiply_integers(
    const bp_kernels *set, const matrix_case *c, const bp_output *y, const float *x,
    placement where, int pieces) {
  const case_shape s = c->shape;
  buffer codes = copy_to_buffer(c->codes, (size_t)c->codes_bytes, where);
  buffer scales = copy_to_buffer(c->scales, (size_t)c->scales_bytes, where);
  buffer zeros = {NULL, NULL, 0};
  if (c->zeros) zeros = copy_to_buffer(c->zeros, (size_t)c->zeros_bytes, where);
  const bp_matrix w = {
      .codes = codes.data,
      .scales = scales.data,
      .zero_points = s.family == BP_FAMILY_BLOCK_FLOAT || s.family == BP_FAMILY_BINARY
          ? NULL
          : zeros.data,
      .rows = s.rows,
      .groups = c->groups,
      .group_size = s.group_size,
      .bit_width = s.bit_width,
      .family = s.family,
      .exponents = s.family == BP_FAMILY_BLOCK_FLOAT ? zeros.data : NULL,
      .offsets = s.family == BP_FAMILY_BINARY ? zeros.data : NULL,
  };
  const int64_t scale_groups = is_per_row(s.family) ? 1 : c->groups;
  const bp_activation_order order = set->activation_order(s.tokens, s.group_size);
  const int64_t blocks = (s.tokens + order.block - 1) / order.block;
  const int64_t padded = blocks * order.block;
  buffer a = make_buffer((size_t)(padded * c->groups * s.group_size), where);
  buffer a_scales = make_buffer((size_t)(padded * scale_groups) * 4, where);
  buffer a_sums = make_buffer((size_t)(padded * c->groups) * 4, where);
  const bp_activations activations = {
      .codes = a.data,
      .scales = a_scales.data,
      .negated_sums = a_sums.data,
      .tokens = s.tokens,
      .groups = c->groups,
      .group_size = s.group_size,
      .block = order.block,
      .depth = order.depth,
      .per_token = is_per_row(s.family),
  };
  // Scratch memory is promised to be aligned, so its size is rounded up.
  const size_t scratch_bytes = (bp_scratch_bytes(set, &w, s.tokens) + 63) / 64 * 64;
  buffer scratch = make_buffer(scratch_bytes, where);
  for (int64_t i = 0; i < pieces; i++) {
    bp_quantize(
        set, x, s.input_features, s.input_features, &activations, blocks * i / pieces,
        blocks * (i + 1) / pieces);
  }
  // Kernels for a few tokens take them all at once.
  const int block_pieces = blocks > 1 ? pieces : 1;
  for (int64_t i = 0; i < pieces; i++) {
    for (int64_t j = 0; j < block_pieces; j++) {
      bp_multiply(
          set, &w, &activations, y, c->tiles * i / pieces, c->tiles * (i + 1) / pieces,
          blocks * j / block_pieces, blocks * (j + 1) / block_pieces, scratch.data);
    }
  }
  free_buffer(&codes);
  free_buffer(&scales);
  free_buffer(&zeros);
  free_buffer(&a);
  free_buffer(&a_scales);
  free_buffer(&a_sums);
  free_buffer(&scratch);
}

void check_matrix_case(
    const bp_kernels *set, const matrix_case *c, placement where, int pieces) {
  const case_shape s = c->shape;
  const int64_t stride = s.rows + gap, count = (s.tokens - 1) * stride + s.rows;
  buffer x = copy_to_buffer(c->x, (size_t)(s.tokens * s.input_features) * 4, where);
  buffer values = make_buffer((size_t)count * 4, where);
  for (int64_t i = 0; i < count; i++) memcpy((char *)values.data + 4 * i, &untouched, 4);
  buffer map = {NULL, NULL, 0};
  if (c->row_map) map = copy_to_buffer(c->row_map, (size_t)s.rows * 4, where);
  const bp_output y = {values.data, stride, map.data};
  if (s.bit_width == 16) {
    buffer w = copy_to_buffer(c->codes, (size_t)c->codes_bytes, where);
    for (int64_t i = 0; i < pieces; i++) {
      for (int64_t j = 0; j < pieces; j++) {
        set->multiply_float16(
            w.data, s.rows, s.input_features, x.data, s.input_features, &y,
            c->tiles * i / pieces, c->tiles * (i + 1) / pieces, s.tokens * j / pieces,
            s.tokens * (j + 1) / pieces);
      }
    }
    free_buffer(&w);
  } else {
    multiply_integers(set, c, &y, x.data, where, pieces);
  }
  char what[160];
  snprintf(
      what, sizeof what, "family %d, %d bits, groups of %d%s, [%lld, %lld], %lld tokens, pattern %d, %s",
      s.family, s.bit_width, s.group_size, s.is_affine ? "" : " without zero points", (long long)s.rows,
      (long long)s.input_features, (long long)s.tokens, s.pattern,
      where == AFTER_GUARD ? "after a guard" : "before a guard");
  report(set->name, what, first_difference(c, values.data));
  free_buffer(&x);
  free_buffer(&values);
  free_buffer(&map);
}
