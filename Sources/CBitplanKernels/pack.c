#include "internal.h"

// Between row-major codes and the packed layout. Speed here is that of loading a model, not of
// running it, so one implementation serves every CPU.

/// Calls for one plane: its width, the bits below it, and where it starts inside a group.
typedef struct {
  int32_t bits, shift;
  int64_t offset;
} plane;

static int planes_of(int32_t bit_width, int64_t bytes_per_bit, plane planes[2]) {
  int32_t low = bp_low_bits(bit_width);
  planes[0] = (plane){low, 0, 0};
  planes[1] = (plane){bit_width - low, low, low * bytes_per_bit};
  return bit_width == low ? 1 : 2;
}

void bp_pack_codes(
    const uint8_t *codes, int64_t rows, int64_t input_features, int32_t bit_width,
    int32_t group_size, uint8_t *packed) {
  const int64_t groups = (input_features + group_size - 1) / group_size;
  const int64_t group_bytes = 2 * (int64_t)bit_width * group_size;
  plane planes[2];
  const int count = planes_of(bit_width, 2 * group_size, planes);
  for (int64_t row = 0; row < rows; row++) {
    const uint8_t *row_codes = codes + row * input_features;
    for (int64_t g = 0; g < groups; g++) {
      const int64_t begin = g * group_size;
      const int64_t end = begin + group_size < input_features ? begin + group_size : input_features;
      uint8_t *group = packed + ((row / 16) * groups + g) * group_bytes + (row % 16) * 4;
      for (int p = 0; p < count; p++) {
        // A byte holds 8, 4, 2 or 1 parts: shifts instead of divisions.
        const int32_t bits = planes[p].bits, shift = planes[p].shift;
        const int32_t units_shift = bits == 1 ? 3 : bits == 2 ? 2 : bits == 4 ? 1 : 0;
        const int64_t units_mask = (1 << units_shift) - 1;
        const uint32_t mask = (1u << bits) - 1;
        uint8_t *plane_bytes = group + planes[p].offset;
        for (int64_t k = begin; k < end; k++) {
          const int64_t unit = (k - begin) >> 2;
          const uint32_t part = ((uint32_t)row_codes[k] >> shift) & mask;
          plane_bytes[(unit >> units_shift) * 64 + ((k - begin) & 3)] |=
              (uint8_t)(part << (bits * (int32_t)(unit & units_mask)));
        }
      }
    }
  }
}

void bp_pack_bit_planes(
    const uint8_t *codes, int64_t rows, int64_t input_features, int32_t bit_width,
    int32_t group_size, uint8_t *packed) {
  const int64_t groups = (input_features + group_size - 1) / group_size;
  const int64_t plane_bytes = 2 * group_size;
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t k = 0; k < input_features; k++) {
      const uint32_t code = codes[row * input_features + k];
      const int64_t unit = k % group_size / 4;
      uint8_t *byte = packed + ((row / 16) * groups + k / group_size) * bit_width * plane_bytes
          + (unit / 8) * 64 + (row % 16) * 4 + k % 4;
      for (int32_t bit = 0; bit < bit_width; bit++) {
        byte[bit * plane_bytes] |= (uint8_t)(((code >> bit) & 1) << (unit % 8));
      }
    }
  }
}

void bp_pack_scales(const uint16_t *scales, int64_t rows, int64_t count, uint16_t *packed) {
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t i = 0; i < count; i++) {
      packed[((row / 16) * count + i) * 16 + row % 16] = scales[row * count + i];
    }
  }
}

void bp_pack_bytes(const uint8_t *bytes, int64_t rows, int64_t count, uint8_t *packed) {
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t i = 0; i < count; i++) {
      packed[((row / 16) * count + i) * 16 + row % 16] = bytes[row * count + i];
    }
  }
}

void bp_pack_offsets(
    const uint16_t *offsets, const uint8_t *plane_weights, int64_t rows, int64_t groups,
    int32_t bit_width, uint16_t *packed) {
  const int32_t bits = bit_width == 1 ? 0 : bit_width;
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t group = 0; group < groups; group++) {
      uint16_t *record = packed + ((row / 16) * groups + group) * (16 + 8 * bits);
      uint8_t *weights = (uint8_t *)(record + 16);
      record[row % 16] = offsets[row * groups + group];
      for (int32_t bit = 0; bit < bits; bit++) {
        weights[bit * 16 + row % 16] = plane_weights[(row * groups + group) * bits + bit];
      }
    }
  }
}

void bp_pack_zero_points(
    const uint8_t *zero_points, int64_t rows, int64_t groups, int32_t bit_width,
    uint8_t *packed) {
  plane planes[2];
  const int count = planes_of(bit_width, 2, planes);
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t group = 0; group < groups; group++) {
      const uint32_t zero = zero_points[row * groups + group];
      uint8_t *target = packed + ((row / 16) * groups + group) * 2 * bit_width;
      for (int p = 0; p < count; p++) {
        const int32_t bits = planes[p].bits;
        const int64_t bytes = 2 * bits, in_tile = row % 16;
        const uint32_t part = (zero >> planes[p].shift) & ((1u << bits) - 1);
        target[planes[p].offset + in_tile % bytes] |=
            (uint8_t)(part << (bits * (in_tile / bytes)));
      }
    }
  }
}

void bp_pack_float16(
    const uint16_t *weights, int64_t rows, int64_t input_features, uint16_t *packed) {
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t k = 0; k < input_features; k++) {
      packed[((row / 16) * input_features + k) * 16 + row % 16] =
          weights[row * input_features + k];
    }
  }
}

/// Adds one plane of one row of one group to `codes`.
BP_INLINE void add_plane(
    const uint8_t *source, int64_t row_in_tile, int32_t bits, int32_t shift, int64_t count,
    uint8_t *codes) {
  const int32_t per_byte = 8 / bits;
  for (int64_t k = 0; k < count; k++) {
    const int64_t unit = k / 4;
    const uint32_t byte = source[(unit / per_byte) * 64 + row_in_tile * 4 + k % 4];
    codes[k] |=
        (uint8_t)(((byte >> (bits * (unit % per_byte))) & ((1u << bits) - 1)) << shift);
  }
}

static void unpack_group(
    const bp_matrix *w, int64_t row, int64_t group, int64_t count, uint8_t *codes) {
  const uint8_t *source = bp_codes_at(w, row / 16, group);
  memset(codes, 0, (size_t)count);
  if (w->family == BP_FAMILY_BINARY) {
    for (int32_t bit = 0; bit < w->bit_width; bit++) {
      add_plane(source + bit * 2 * w->group_size, row % 16, 1, bit, count, codes);
    }
    return;
  }
  plane planes[2];
  const int planes_count = planes_of(w->bit_width, 2 * w->group_size, planes);
  for (int p = 0; p < planes_count; p++) {
    const uint8_t *start = source + planes[p].offset;
    switch (planes[p].bits) {
      case 1: add_plane(start, row % 16, 1, planes[p].shift, count, codes); break;
      case 2: add_plane(start, row % 16, 2, planes[p].shift, count, codes); break;
      case 4: add_plane(start, row % 16, 4, planes[p].shift, count, codes); break;
      default: add_plane(start, row % 16, 8, planes[p].shift, count, codes); break;
    }
  }
}

void bp_unpack_row_codes(
    const bp_matrix *w, int64_t row, int64_t input_features, uint8_t *codes) {
  for (int64_t k = 0; k < input_features; k += w->group_size) {
    unpack_group(
        w, row, k / w->group_size, BP_MIN(w->group_size, input_features - k), codes + k);
  }
}

uint16_t bp_scale(const bp_matrix *w, int64_t row, int64_t group) {
  switch (w->family) {
    case BP_FAMILY_PER_ROW:
    case BP_FAMILY_TWO_LEVEL:
      return bp_row_scales_at(w, row / 16)[row % 16];
    default:
      return bp_scales_at(w, row / 16, group)[row % 16];
  }
}

int32_t bp_zero_point(const bp_matrix *w, int64_t row, int64_t group) {
  if (w->zero_points == NULL) return bp_middle(w);
  const uint8_t *source = bp_zero_points_at(w, row / 16, group);
  plane planes[2];
  const int count = planes_of(w->bit_width, 2, planes);
  uint32_t zero = 0;
  for (int p = 0; p < count; p++) {
    const int32_t bits = planes[p].bits;
    const int64_t bytes = 2 * bits, in_tile = row % 16;
    const uint32_t byte = source[planes[p].offset + in_tile % bytes];
    zero |= ((byte >> (bits * (in_tile / bytes))) & ((1u << bits) - 1)) << planes[p].shift;
  }
  return (int32_t)zero;
}

uint8_t bp_two_level_code(const bp_matrix *w, int64_t row, int64_t group) {
  return bp_two_level_at(w, row / 16, group)[row % 16];
}

uint8_t bp_exponent(const bp_matrix *w, int64_t row, int64_t group) {
  return bp_exponents_at(w, row / 16, group)[row % 16];
}

uint16_t bp_offset(const bp_matrix *w, int64_t row, int64_t group) {
  return bp_offsets_at(w, row / 16, group)[row % 16];
}

uint8_t bp_plane_weight(const bp_matrix *w, int64_t row, int64_t group_and_bit) {
  const int64_t group = group_and_bit / w->bit_width, bit = group_and_bit % w->bit_width;
  return bp_plane_weights_at(w, row / 16, group)[bit * BP_TILE_HEIGHT + row % 16];
}

/// Replaces the codes of one group by what they stand for, before the scale.
static void dequantize_group(
    const bp_matrix *w, int64_t row, int64_t group, const uint8_t *codes, int64_t count,
    float *out) {
  switch (w->family) {
    case BP_FAMILY_TWO_LEVEL: {
      const uint8_t code = bp_two_level_code(w, row, group);
      const float scale = bp_float_from_half(bp_scale(w, row, 0));
      for (int64_t i = 0; i < count; i++) out[i] = scale * (float)bp_two_level_byte(code, codes[i]);
      return;
    }
    case BP_FAMILY_BINARY: {
      // The product is exact: 11 bits of the scale times 8.
      const float scale = bp_float_from_half(bp_scale(w, row, group));
      const float offset = bp_float_from_half(bp_offset(w, row, group));
      const uint8_t *plane_weights = bp_plane_weights_at(w, row / 16, group) + row % 16;
      for (int64_t i = 0; i < count; i++) {
        out[i] = offset + scale * (float)bp_binary_byte(plane_weights, w->bit_width, codes[i]);
      }
      return;
    }
    default: {
      const float scale = bp_group_scale(w, row, group);
      const int32_t zero = bp_zero_point(w, row, group);
      for (int64_t i = 0; i < count; i++) {
        const int32_t code =
            w->family == BP_FAMILY_NONLINEAR ? bp_nonlinear_bytes[codes[i]] : codes[i];
        out[i] = scale * (float)(code - zero);
      }
    }
  }
}

void bp_dequantize_row(const bp_matrix *w, int64_t row, int64_t input_features, float *out) {
  uint8_t codes[128];
  for (int64_t k = 0; k < input_features; k += w->group_size) {
    const int64_t group = k / w->group_size, count = BP_MIN(w->group_size, input_features - k);
    unpack_group(w, row, group, count, codes);
    dequantize_group(w, row, group, codes, count, out + k);
  }
}

void bp_dequantize_row_float16(
    const uint16_t *w, int64_t row, int64_t input_features, float *out) {
  const uint16_t *tile = w + (row / 16) * input_features * 16 + row % 16;
  for (int64_t k = 0; k < input_features; k++) out[k] = bp_float_from_half(tile[k * 16]);
}
