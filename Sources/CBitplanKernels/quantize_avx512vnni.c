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

/// The larger of `largest` and the magnitudes of `values`, lane by lane, as integers.
BP_INLINE __m512i larger(__m512i largest, __m512 values) {
  const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  return _mm512_max_epi32(largest, _mm512_and_si512(_mm512_castps_si512(values), magnitude));
}

/// The largest lane as a float; a NaN wins.
BP_INLINE float maximum_of(__m512i largest) {
  const int32_t bits = _mm512_reduce_max_epi32(largest);
  float maximum;
  memcpy(&maximum, &bits, 4);
  return maximum;
}

/// The largest magnitude of `count` values; a NaN wins.
BP_INLINE float largest_magnitude(const float *values, int64_t count) {
  __m512i largest = _mm512_setzero_si512();
  for (int64_t i = 0; i < count; i += 16) {
    largest = larger(largest, _mm512_maskz_loadu_ps(lanes(count - i), values + i));
  }
  return maximum_of(largest);
}

BP_INLINE float scale_of(float maximum) {
  return maximum < BP_SMALLEST_MAXIMUM ? 0 : maximum / 127.0f;
}

/// Reads the first `count` values of a group of 16 · `vectors`; the others are 0. With `whole` there
/// are no others.
BP_INLINE void read_group(
    const int vectors, const int whole, const float *source, int64_t count, __m512 values[8]) {
  BP_UNROLL for (int v = 0; v < vectors; v++) {
    values[v] = _mm512_maskz_loadu_ps(whole ? 0xFFFF : lanes(count - 16 * v), source + 16 * v);
  }
}

/// Writes the codes and the sum of one group, in registers, whose scale is `maximum / 127`.
BP_INLINE void write_group(
    const int vectors, const int whole, const __m512 values[8], int64_t count, float maximum,
    const bp_activations *out, int64_t token, int64_t group) {
  int8_t codes[128] __attribute__((aligned(64)));
  __m512i sum = _mm512_setzero_si512();
  const int is_zero = maximum < BP_SMALLEST_MAXIMUM;
  const __m512 inverse = _mm512_set1_ps(is_zero ? 0 : 127.0f / maximum);
  BP_UNROLL for (int v = 0; v < vectors; v++) {
    // The product is above 127 by rounding only, so its code is not; the second operand of the
    // maximum is taken where the first is NaN.
    const __m512 value =
        _mm512_max_ps(_mm512_mul_ps(values[v], inverse), _mm512_set1_ps(-127.0f));
    // Padding stays 0 even where the inverse is NaN.
    const __m512i code =
        _mm512_maskz_cvtps_epi32(whole ? 0xFFFF : lanes(count - 16 * v), value);
    sum = _mm512_add_epi32(sum, code);
    _mm_store_si128((__m128i *)(codes + 16 * v), _mm512_cvtepi32_epi8(code));
  }
  bp_place_group(codes, out, token, group);
  out->negated_sums
      [(token / out->block * out->groups + group) * out->block + token % out->block] =
      -_mm512_reduce_add_epi32(sum);
}

/// Quantizes one group; with `per_token` its scale is `maximum / 127`, otherwise its own.
BP_INLINE void quantize_group(
    const int per_token, const int vectors, const int whole, const float *source, int64_t count,
    float maximum, const bp_activations *out, int64_t token, int64_t group) {
  __m512 values[8];
  read_group(vectors, whole, source, count, values);
  if (!per_token) {
    __m512i largest = _mm512_setzero_si512();
    BP_UNROLL for (int v = 0; v < vectors; v++) largest = larger(largest, values[v]);
    maximum = maximum_of(largest);
    out->scales
        [(token / out->block * out->groups + group) * out->block + token % out->block] =
        scale_of(maximum);
  }
  write_group(vectors, whole, values, count, maximum, out, token, group);
}

#define GROUP_CASE(vectors)                                                                    \
  case 16 * (vectors):                                                                         \
    if (count == 16 * (vectors)) {                                                             \
      quantize_group(                                                                          \
          per_token, vectors, 1, source + first, count, maximum, out, token, group);           \
    } else {                                                                                   \
      quantize_group(                                                                          \
          per_token, vectors, 0, source + first, count, maximum, out, token, group);           \
    }                                                                                          \
    break;

BP_INLINE void quantize(
    const int per_token, const float *x, int64_t stride, int64_t input_features,
    const bp_activations *out, int64_t block_begin, int64_t block_end) {
  for (int64_t block = block_begin; block < block_end; block++) {
    const int64_t end = BP_MIN((block + 1) * out->block, out->tokens);
    for (int64_t token = block * out->block; token < end; token++) {
      const float *source = x + token * stride;
      float maximum = 0;
      if (per_token) {
        maximum = largest_magnitude(source, input_features);
        out->scales[token] = scale_of(maximum);
      }
      for (int64_t group = 0; group < out->groups; group++) {
        const int64_t first = group * out->group_size;
        const int64_t count = BP_MIN(out->group_size, input_features - first);
        switch (out->group_size) {
          GROUP_CASE(2)
          GROUP_CASE(4)
          GROUP_CASE(8)
        }
      }
    }
    bp_place_padding(out, block);
  }
}

void bp_quantize_avx512vnni(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end) {
  quantize(0, x, stride, input_features, out, block_begin, block_end);
}

void bp_quantize_tokens_avx512vnni(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end) {
  quantize(1, x, stride, input_features, out, block_begin, block_end);
}

#pragma clang attribute pop

#endif
