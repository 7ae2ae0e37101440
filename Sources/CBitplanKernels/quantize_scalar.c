#include "internal.h"

// Activations to signed bytes, in plain C.

#pragma STDC FP_CONTRACT OFF

/// The largest magnitude of `count` values; a NaN wins.
static float largest_magnitude(const float *values, int64_t count) {
  // Magnitudes compared as integers: the same order as the floats, and a NaN wins.
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, values + i, 4);
    bits &= 0x7FFFFFFF;
    largest = bits > largest ? bits : largest;
  }
  float maximum;
  memcpy(&maximum, &largest, 4);
  return maximum;
}

/// Writes the codes and the sum of one group whose scale is `maximum / 127`.
static void quantize_group(
    const float *source, int64_t count, float maximum, const bp_activations *out, int64_t token,
    int64_t group) {
  int8_t codes[128] = {0};
  int32_t sum = 0;
  if (!(maximum < BP_SMALLEST_MAXIMUM)) {
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
  out->negated_sums
      [(token / out->block * out->groups + group) * out->block + token % out->block] = -sum;
}

BP_INLINE float scale_of(float maximum) {
  return maximum < BP_SMALLEST_MAXIMUM ? 0 : maximum / 127.0f;
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
        const float maximum = largest_magnitude(source, count);
        quantize_group(source, count, maximum, out, token, group);
        out->scales[(block * out->groups + group) * out->block + token % out->block] =
            scale_of(maximum);
      }
    }
    bp_place_padding(out, block);
  }
}

void bp_quantize_tokens_scalar(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end) {
  for (int64_t block = block_begin; block < block_end; block++) {
    const int64_t end = BP_MIN((block + 1) * out->block, out->tokens);
    for (int64_t token = block * out->block; token < end; token++) {
      const float maximum = largest_magnitude(x + token * stride, input_features);
      out->scales[token] = scale_of(maximum);
      for (int64_t group = 0; group < out->groups; group++) {
        const int64_t first = group * out->group_size;
        quantize_group(
            x + token * stride + first, BP_MIN(out->group_size, input_features - first),
            maximum, out, token, group);
      }
    }
    bp_place_padding(out, block);
  }
}
