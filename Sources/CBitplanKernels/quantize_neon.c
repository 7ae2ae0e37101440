#if defined(__aarch64__)

#include "neon.h"

#pragma STDC FP_CONTRACT OFF

// Activations to signed bytes, for NEON.

/// Four values from `p`, zeros after the first `left`.
BP_INLINE float32x4_t load_values(const float *p, int64_t left) {
  if (left >= 4) return vld1q_f32(p);
  float values[4] = {0};
  for (int64_t i = 0; i < left; i++) values[i] = p[i];
  return vld1q_f32(values);
}

/// Four codes; a NaN becomes −127, and the scale tells.
BP_INLINE int32x4_t round_codes(float32x4_t value) {
  value = vmaxnmq_f32(value, vdupq_n_f32(-127.0f));  // the number where the other one is NaN
  value = vminnmq_f32(value, vdupq_n_f32(127.0f));
  return vcvtnq_s32_f32(value);
}

void bp_quantize_neon(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end) {
  const uint32x4_t magnitude = vdupq_n_u32(0x7FFFFFFF);
  for (int64_t block = block_begin; block < block_end; block++) {
    const int64_t end = BP_MIN((block + 1) * out->block, out->tokens);
    for (int64_t token = block * out->block; token < end; token++) {
      for (int64_t group = 0; group < out->groups; group++) {
        const int64_t first = group * out->group_size;
        const int64_t count = BP_MIN(out->group_size, input_features - first);
        const float *source = x + token * stride + first;
        // Magnitudes compared as integers: the same order as the floats, and a NaN wins.
        uint32x4_t largest = vdupq_n_u32(0);
        for (int64_t i = 0; i < count; i += 4) {
          const float32x4_t value = load_values(source + i, count - i);
          largest = vmaxq_u32(largest, vreinterpretq_u32_f32(value) & magnitude);
        }
        const uint32_t bits = vmaxvq_u32(largest);
        float maximum, scale = 0;
        memcpy(&maximum, &bits, 4);
        int8_t codes[128] = {0};
        int32_t sum = 0;
        if (!(maximum < BP_SMALLEST_MAXIMUM)) {
          scale = maximum / 127.0f;
          const float inverse = 127.0f / maximum;
          for (int64_t i = 0; i < count; i += 8) {
            const float32x4_t low = load_values(source + i, count - i);
            const float32x4_t high = load_values(source + i + 4, count - i - 4);
            const int16x8_t words = vcombine_s16(
                vmovn_s32(round_codes(vmulq_n_f32(low, inverse))),
                vmovn_s32(round_codes(vmulq_n_f32(high, inverse))));
            vst1_s8(codes + i, vmovn_s16(words));
          }
          // Padding stays 0 even where the inverse is infinite or NaN.
          for (int64_t i = count; i < (count + 7) / 8 * 8; i++) codes[i] = 0;
          for (int i = 0; i < 128; i += 16) sum += vaddlvq_s8(vld1q_s8(codes + i));
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

#endif
