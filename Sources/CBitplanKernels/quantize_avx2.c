#if defined(__x86_64__)

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

#include "avx2.h"

#pragma STDC FP_CONTRACT OFF

// Activations to signed bytes, for AVX2.

/// Eight values from `p`, zeros after the first `left`.
BP_INLINE __m256 load_values(const float *p, int64_t left) {
  if (left >= 8) return _mm256_loadu_ps(p);
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)left), lanes));
}

/// The largest magnitude of `count` values; a NaN wins.
BP_INLINE float largest_magnitude(const float *values, int64_t count) {
  const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
  __m256i largest = _mm256_setzero_si256();
  for (int64_t i = 0; i < count; i += 8) {
    const __m256 value = load_values(values + i, count - i);
    largest =
        _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(value), magnitude));
  }
  int32_t lanes[8], bits = 0;
  _mm256_storeu_si256((__m256i *)lanes, largest);
  for (int i = 0; i < 8; i++) bits = lanes[i] > bits ? lanes[i] : bits;
  float maximum;
  memcpy(&maximum, &bits, 4);
  return maximum;
}

BP_INLINE float scale_of(float maximum) {
  return maximum < BP_SMALLEST_MAXIMUM ? 0 : maximum / 127.0f;
}

/// Writes the codes and the sum of one group whose scale is `maximum / 127`.
BP_INLINE void quantize_group(
    const float *source, int64_t count, float maximum, const bp_activations *out,
    int64_t token, int64_t group) {
  const __m256 highest = _mm256_set1_ps(127.0f), lowest = _mm256_set1_ps(-127.0f);
  int8_t codes[128] = {0};
  int32_t sum = 0;
  if (!(maximum < BP_SMALLEST_MAXIMUM)) {
    const __m256 inverse = _mm256_set1_ps(127.0f / maximum);
    for (int64_t i = 0; i < count; i += 8) {
      __m256 value = _mm256_mul_ps(load_values(source + i, count - i), inverse);
      value = _mm256_max_ps(value, lowest);  // the second operand where the first is NaN
      value = _mm256_min_ps(value, highest);
      const __m256i code = _mm256_cvtps_epi32(value);
      const __m128i words =
          _mm_packs_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
      _mm_storel_epi64((__m128i *)(codes + i), _mm_packs_epi16(words, words));
    }
    // Padding stays 0 even where the inverse is NaN.
    for (int64_t i = count; i % 8 != 0; i++) codes[i] = 0;
    for (int i = 0; i < 128; i++) sum += codes[i];
  }
  bp_place_group(codes, out, token, group);
  out->negated_sums
      [(token / out->block * out->groups + group) * out->block + token % out->block] = -sum;
}

void bp_quantize_avx2(
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

void bp_quantize_tokens_avx2(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end) {
  for (int64_t block = block_begin; block < block_end; block++) {
    const int64_t end = BP_MIN((block + 1) * out->block, out->tokens);
    for (int64_t token = block * out->block; token < end; token++) {
      const float *source = x + token * stride;
      const float maximum = largest_magnitude(source, input_features);
      out->scales[token] = scale_of(maximum);
      for (int64_t group = 0; group < out->groups; group++) {
        const int64_t first = group * out->group_size;
        quantize_group(
            source + first, BP_MIN(out->group_size, input_features - first), maximum, out,
            token, group);
      }
    }
    bp_place_padding(out, block);
  }
}

#pragma clang attribute pop

#endif
