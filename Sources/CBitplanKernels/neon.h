#ifndef BITPLAN_NEON_H
#define BITPLAN_NEON_H

// What the NEON files share. A tile of 16 output features is four registers, or quarters: rows
// 0–3, 4–7, 8–11 and 12–15. Everything here is part of every 64-bit Arm CPU.

#include "internal.h"

#include <arm_neon.h>

/// One unit (4 input features of 16 output features) of one plane, a quarter of a tile: bytes with
/// the plane's bits at the bottom.
BP_INLINE uint8x16_t bp_neon_plane(
    const int32_t bits, const uint8_t *plane, int unit, int quarter) {
  const int per_byte = 8 / bits;
  const uint8x16_t bytes = vld1q_u8(plane + 64 * (unit / per_byte) + 16 * quarter);
  const uint8x16_t shift = vdupq_n_u8((uint8_t)(bits * (unit % per_byte)));
  return (bytes >> shift) & vdupq_n_u8((uint8_t)((1 << bits) - 1));
}

/// Unit `unit` of a chunk of 8, a quarter of a tile, as unsigned bytes.
BP_INLINE uint8x16_t bp_neon_unpack(
    const int32_t bits, const uint8_t *low, const uint8_t *high, int unit, int quarter) {
  const int32_t low_bits = bp_low_bits(bits);
  const uint8x16_t codes = bp_neon_plane(low_bits, low, unit, quarter);
  if (bits == low_bits) return codes;
  const uint8x16_t above = bp_neon_plane(bits - low_bits, high, unit, quarter);
  return codes | (above << vdupq_n_u8((uint8_t)low_bits));
}

/// One plane of 16 zero points as bytes: byte i holds row i + j · 2 · bits at bit bits · j.
BP_INLINE uint8x16_t bp_neon_zero_plane(const int32_t bits, const uint8_t *p) {
  static const uint8_t shifts_4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4};
  static const uint8_t shifts_2[16] = {0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6};
  static const uint8_t shifts_1[16] = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7};
  if (bits == 8) return vld1q_u8(p);
  if (bits == 4) {
    const uint8x8_t bytes = vld1_u8(p);
    return (vcombine_u8(bytes, bytes) >> vld1q_u8(shifts_4)) & vdupq_n_u8(15);
  }
  if (bits == 2) {
    uint32_t word;
    memcpy(&word, p, 4);
    return (vreinterpretq_u8_u32(vdupq_n_u32(word)) >> vld1q_u8(shifts_2)) & vdupq_n_u8(3);
  }
  uint16_t word;
  memcpy(&word, p, 2);
  return (vreinterpretq_u8_u16(vdupq_n_u16(word)) >> vld1q_u8(shifts_1)) & vdupq_n_u8(1);
}

/// Replaces codes of the non-linear formats by their levels plus 128.
BP_INLINE uint8x16_t bp_neon_look_up(uint8x16_t codes) {
  return vqtbl1q_u8(vld1q_u8(bp_nonlinear_bytes), codes);
}

/// The row of every byte of a quarter of a tile.
static const uint8_t bp_neon_rows[64] __attribute__((aligned(16), unused)) = {
    0,  0,  0,  0,  1,  1,  1,  1,  2,  2,  2,  2,  3,  3,  3,  3,   //
    4,  4,  4,  4,  5,  5,  5,  5,  6,  6,  6,  6,  7,  7,  7,  7,   //
    8,  8,  8,  8,  9,  9,  9,  9,  10, 10, 10, 10, 11, 11, 11, 11,  //
    12, 12, 12, 12, 13, 13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 15};

/// What turns the planes of one group of one tile of binary coding into bytes, by quarters.
typedef struct {
  /// A constant minus all plane weights of a row.
  uint8x16_t base[4];
  /// What a bit 1 adds to that: twice its plane weight.
  uint8x16_t twice[4][4];
} bp_neon_binary;

/// Reads the plane weights of a group; `constant` is added to every byte.
BP_INLINE bp_neon_binary bp_neon_read_binary(
    const int32_t bits, const bp_matrix *w, int64_t tile, int64_t group, const int constant) {
  const uint8_t *plane_weights = bp_plane_weights_at(w, tile, group);
  bp_neon_binary result;
  uint8x16_t base = vdupq_n_u8((uint8_t)constant);
  BP_UNROLL for (int bit = 0; bit < bits; bit++) {
    const uint8x16_t weight = vld1q_u8(plane_weights + 16 * bit);
    base -= weight;
    BP_UNROLL for (int q = 0; q < 4; q++) {
      result.twice[bit][q] = vqtbl1q_u8(weight + weight, vld1q_u8(bp_neon_rows + 16 * q));
    }
  }
  BP_UNROLL for (int q = 0; q < 4; q++) {
    result.base[q] = vqtbl1q_u8(base, vld1q_u8(bp_neon_rows + 16 * q));
  }
  return result;
}

/// Unit `unit` of a chunk of 8 of binary coding, a quarter of a tile, as bytes; planes are
/// `plane_bytes` apart.
BP_INLINE uint8x16_t bp_neon_unpack_binary(
    const int32_t bits, const uint8_t *planes, int64_t plane_bytes, const bp_neon_binary *binary,
    int unit, int quarter) {
  uint8x16_t result = binary->base[quarter];
  BP_UNROLL for (int bit = 0; bit < bits; bit++) {
    const uint8x16_t bytes = vld1q_u8(planes + bit * plane_bytes + 16 * quarter);
    result += vtstq_u8(bytes, vdupq_n_u8((uint8_t)(1 << unit))) & binary->twice[bit][quarter];
  }
  return result;
}

/// Bytes from one chunk to the next in the first plane, or in each plane of binary coding.
BP_INLINE int32_t bp_neon_low_bytes(const bp_family family, const int32_t bits) {
  return family == BP_FAMILY_BINARY ? 64 : 64 * bp_low_bits(bits);
}

/// The 16 zero points of one group of one tile, the family's middle where none are stored.
BP_INLINE void bp_neon_zero_points(
    const int32_t bits, const bp_matrix *w, int64_t tile, int64_t group, int32x4_t zero[4]) {
  uint8x16_t bytes = vdupq_n_u8((uint8_t)bp_middle(w));
  if (w->zero_points) {
    const uint8_t *p = bp_zero_points_at(w, tile, group);
    const int32_t low = bp_low_bits(bits);
    bytes = bp_neon_zero_plane(low, p);
    if (bits != low) {
      bytes |= bp_neon_zero_plane(bits - low, p + 2 * low) << vdupq_n_u8((uint8_t)low);
    }
  }
  const uint16x8_t first = vmovl_u8(vget_low_u8(bytes)), second = vmovl_high_u8(bytes);
  zero[0] = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(first)));
  zero[1] = vreinterpretq_s32_u32(vmovl_high_u16(first));
  zero[2] = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(second)));
  zero[3] = vreinterpretq_s32_u32(vmovl_high_u16(second));
}

/// 16 binary16 numbers as floats.
BP_INLINE void bp_neon_scales(const uint16_t *p, float32x4_t scale[4]) {
  const float16x8_t first = vreinterpretq_f16_u16(vld1q_u16(p));
  const float16x8_t second = vreinterpretq_f16_u16(vld1q_u16(p + 8));
  scale[0] = vcvt_f32_f16(vget_low_f16(first));
  scale[1] = vcvt_high_f32_f16(first);
  scale[2] = vcvt_f32_f16(vget_low_f16(second));
  scale[3] = vcvt_high_f32_f16(second);
}

/// The scales of one group of one tile: binary16, or the exponent fields of floats.
BP_INLINE void bp_neon_group_scales(
    const bp_matrix *w, int64_t tile, int64_t group, float32x4_t scale[4]) {
  if (w->family != BP_FAMILY_BLOCK_FLOAT) {
    bp_neon_scales(bp_scales_at(w, tile, group), scale);
    return;
  }
  const uint8x16_t bytes = vld1q_u8(bp_exponents_at(w, tile, group));
  const uint16x8_t first = vmovl_u8(vget_low_u8(bytes)), second = vmovl_high_u8(bytes);
  scale[0] = vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(vget_low_u16(first)), 23));
  scale[1] = vreinterpretq_f32_u32(vshlq_n_u32(vmovl_high_u16(first), 23));
  scale[2] = vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(vget_low_u16(second)), 23));
  scale[3] = vreinterpretq_f32_u32(vshlq_n_u32(vmovl_high_u16(second), 23));
}

/// y + d · (s·t), where d is `sum` without its zero points' part.
BP_INLINE float32x4_t bp_neon_accumulate(
    float32x4_t y, int32x4_t sum, int32x4_t zero, int32_t negated_sum, float32x4_t weight_scale,
    float activation_scale) {
  sum = vmlaq_n_s32(sum, zero, negated_sum);
  return vfmaq_f32(y, vcvtq_f32_s32(sum), vmulq_n_f32(weight_scale, activation_scale));
}

/// y + Σ a·t · offset of binary coding, from −Σ a.
BP_INLINE float32x4_t bp_neon_add_offset(
    float32x4_t y, float32x4_t offset, int32_t negated_sum, float activation_scale) {
  return vfmsq_n_f32(y, offset, (float)negated_sum * activation_scale);
}

/// One unit of a quarter of a tile of per-row weights, or of two-level ones whose 16 codes of the
/// group are `level`, as the signed bytes that they stand for.
BP_INLINE int8x16_t bp_neon_row_bytes(
    const int two_level, const uint8_t *codes, uint8x16_t level, int unit, int quarter) {
  if (!two_level) {
    return vreinterpretq_s8_u8(bp_neon_plane(8, codes, unit, quarter) ^ vdupq_n_u8(128));
  }
  const uint8x16_t mine = vqtbl1q_u8(level, vld1q_u8(bp_neon_rows + 16 * quarter));
  const uint8x16_t scale = vshrq_n_u8(mine, 4) + vdupq_n_u8(1);
  const uint8x16_t zero = mine & vdupq_n_u8(15);
  return vreinterpretq_s8_u8((bp_neon_plane(4, codes, unit, quarter) - zero) * scale);
}

/// fma((float)d, s·t, 0): the result of a row with one scale.
BP_INLINE float32x4_t bp_neon_row_result(
    int32x4_t sum, float32x4_t weight_scale, float activation_scale) {
  const float32x4_t scale = vmulq_n_f32(weight_scale, activation_scale);
  return vfmaq_f32(vdupq_n_f32(0), vcvtq_f32_s32(sum), scale);
}

/// Writes `4 · quarters` results of one token from packed row `first` on, without those past the
/// last row.
BP_INLINE void bp_neon_store(
    const bp_output *y, int64_t token, int64_t first, int64_t rows, const int quarters,
    const float32x4_t *value) {
  const int64_t count = BP_MIN(4 * quarters, rows - first);
  float *target = y->values + token * y->stride;
  if (y->row_map == NULL && count == 4 * quarters) {
    BP_UNROLL for (int q = 0; q < quarters; q++) vst1q_f32(target + first + 4 * q, value[q]);
    return;
  }
  float values[BP_TILE_HEIGHT];
  BP_UNROLL for (int q = 0; q < quarters; q++) vst1q_f32(values + 4 * q, value[q]);
  for (int64_t row = 0; row < count; row++) {
    target[y->row_map ? (int64_t)y->row_map[first + row] : first + row] = values[row];
  }
}

// ---- Many tokens: some tiles are made ready in scratch memory that stays in L2, one byte a code,
// and multiplied by one block of tokens after the other.

/// A tile in scratch memory.
typedef struct {
  /// 16 bytes an input feature, in the order of the kernel.
  const uint8_t *codes;
  /// `[group][16]`.
  const float *scales;
  /// `[group][16]`: what the negated sum of activations is multiplied by.
  const int32_t *zeros;
  /// `[group][16]`, of binary coding only.
  const float *offsets;
} bp_neon_tile;

/// Most tiles that are ready at once, and the bytes that they may take: the more, the less often
/// the activations are read.
#define BP_NEON_MOST_TILES 4
#define BP_NEON_TILES_BYTES (320 << 10)

/// Scratch memory of one tile: codes, scales, zero points and offsets.
BP_INLINE int64_t bp_neon_tile_bytes(const bp_matrix *w) {
  const int32_t numbers = w->family == BP_FAMILY_BINARY ? 3 : 2;
  return w->groups * (w->group_size + 4 * numbers) * BP_TILE_HEIGHT;
}

/// Tiles that are made ready together.
BP_INLINE int64_t bp_neon_tiles_together(const bp_matrix *w) {
  const int64_t tiles = BP_NEON_TILES_BYTES / bp_neon_tile_bytes(w);
  return tiles < 1 ? 1 : BP_MIN(tiles, BP_NEON_MOST_TILES);
}

/// Where tile `index` of those in `scratch` has its parts.
BP_INLINE bp_neon_tile bp_neon_tile_at(const bp_matrix *w, uint8_t *scratch, int64_t index) {
  uint8_t *codes = scratch + index * bp_neon_tile_bytes(w);
  uint8_t *scales = codes + w->groups * w->group_size * BP_TILE_HEIGHT;
  uint8_t *zeros = scales + w->groups * BP_TILE_HEIGHT * 4;
  uint8_t *offsets = zeros + w->groups * BP_TILE_HEIGHT * 4;
  return (bp_neon_tile){
      codes, (const float *)scales, (const int32_t *)zeros,
      w->family == BP_FAMILY_BINARY ? (const float *)offsets : NULL};
}

/// Fills the scales, zero points and offsets of a tile; every zero point is lowered by `lower`.
BP_INLINE void bp_neon_expand_scales(
    const int32_t bits, const bp_matrix *w, int64_t tile, int32_t lower, bp_neon_tile out) {
  for (int64_t group = 0; group < w->groups; group++) {
    float32x4_t scale[4];
    int32x4_t zero[4];
    bp_neon_group_scales(w, tile, group, scale);
    bp_neon_zero_points(bits, w, tile, group, zero);
    BP_UNROLL for (int q = 0; q < 4; q++) {
      vst1q_f32((float *)out.scales + group * 16 + 4 * q, scale[q]);
      vst1q_s32((int32_t *)out.zeros + group * 16 + 4 * q, zero[q] - vdupq_n_s32(lower));
    }
    if (!out.offsets) continue;
    bp_neon_scales(bp_offsets_at(w, tile, group), scale);
    BP_UNROLL for (int q = 0; q < 4; q++) {
      vst1q_f32((float *)out.offsets + group * 16 + 4 * q, scale[q]);
    }
  }
}

#endif
