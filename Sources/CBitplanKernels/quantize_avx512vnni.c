#if defined(__x86_64__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))),    \
    apply_to = function)

#include "avx512.h"

#pragma STDC FP_CONTRACT OFF

// Activations to signed bytes, for AVX-512.

/// Lanes that hold values where `left` values are left.
BP_INLINE __mmask16 lanes(int64_t left) {
  return left >= 16 ? 0xFFFF : left <= 0 ? 0 : (__mmask16)((1u << left) - 1);
}

/// The larger of `largest` and the magnitudes of the `count` values, lane by lane, as integers.
BP_INLINE __m512i larger_magnitudes(__m512i largest, const float *values, int64_t count) {
  const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  for (int64_t i = 0; i < count; i += 16) {
    const __m512 value = _mm512_maskz_loadu_ps(lanes(count - i), values + i);
    largest =
        _mm512_max_epi32(largest, _mm512_and_si512(_mm512_castps_si512(value), magnitude));
  }
  return largest;
}

/// The largest lane as a float; a NaN wins.
BP_INLINE float maximum_of(__m512i largest) {
  const int32_t bits = _mm512_reduce_max_epi32(largest);
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
  const __m512 highest = _mm512_set1_ps(127.0f), lowest = _mm512_set1_ps(-127.0f);
  int8_t codes[128] __attribute__((aligned(64))) = {0};
  __m512i sum = _mm512_setzero_si512();
  if (!(maximum < BP_SMALLEST_MAXIMUM)) {
    const __m512 inverse = _mm512_set1_ps(127.0f / maximum);
    for (int32_t v = 0; v < out->group_size / 16; v++) {
      const __mmask16 mask = lanes(count - 16 * v);
      __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, source + 16 * v), inverse);
      value = _mm512_max_ps(value, lowest);  // the second operand where the first is NaN
      value = _mm512_min_ps(value, highest);
      // Padding stays 0 even where the inverse is infinite or NaN.
      const __m512i code = _mm512_maskz_cvtps_epi32(mask, value);
      sum = _mm512_add_epi32(sum, code);
      _mm_store_si128((__m128i *)(codes + 16 * v), _mm512_cvtepi32_epi8(code));
    }
  }
  bp_place_group(codes, out, token, group);
  out->negated_sums
      [(token / out->block * out->groups + group) * out->block + token % out->block] =
      -_mm512_reduce_add_epi32(sum);
}

void bp_quantize_avx512vnni(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end) {
  for (int64_t block = block_begin; block < block_end; block++) {
    const int64_t end = BP_MIN((block + 1) * out->block, out->tokens);
    for (int64_t token = block * out->block; token < end; token++) {
      for (int64_t group = 0; group < out->groups; group++) {
        const int64_t first = group * out->group_size;
        const int64_t count = BP_MIN(out->group_size, input_features - first);
        const float *source = x + token * stride + first;
        const float maximum =
            maximum_of(larger_magnitudes(_mm512_setzero_si512(), source, count));
        quantize_group(source, count, maximum, out, token, group);
        out->scales[(block * out->groups + group) * out->block + token % out->block] =
            scale_of(maximum);
      }
    }
    bp_place_padding(out, block);
  }
}

void bp_quantize_tokens_avx512vnni(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end) {
  for (int64_t block = block_begin; block < block_end; block++) {
    const int64_t end = BP_MIN((block + 1) * out->block, out->tokens);
    for (int64_t token = block * out->block; token < end; token++) {
      const float *source = x + token * stride;
      const float maximum =
          maximum_of(larger_magnitudes(_mm512_setzero_si512(), source, input_features));
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
