// The vector operations, written once on vectors of 16 floats and compiled for every instruction
// set by the file that includes this one. Only correctly rounded operations in a fixed order are
// used (no approximate instructions; fused multiply-adds only where the code names them), so all give
// the same bits.
//
// The includer defines BP_VECTOR_TABLE, the name of the table, and BP_VECTOR_TILE, how many vectors
// side by side leave registers for four rows of them, and pushes the target attribute.

#include "internal.h"

#include <math.h>

#pragma STDC FP_CONTRACT OFF

// Every function that passes a vector by value is inlined, so no calling convention is involved.
#pragma clang diagnostic ignored "-Wpsabi"

typedef float vec __attribute__((ext_vector_type(16)));
typedef int32_t veci __attribute__((ext_vector_type(16)));

BP_INLINE vec splat(float value) { return (vec)(value); }

BP_INLINE vec load(const float *p, int64_t left) {
  vec value = splat(0);
  if (left >= 16) {
    memcpy(&value, p, 64);
  } else {
    memcpy(&value, p, (size_t)left * 4);
  }
  return value;
}

BP_INLINE void store(float *p, vec value, int64_t left) {
  memcpy(p, &value, left >= 16 ? 64 : (size_t)left * 4);
}

BP_INLINE float sum_lanes(vec v) {
  float lane[16];
  memcpy(lane, &v, 64);
  for (int step = 8; step > 0; step /= 2) {
    for (int i = 0; i < step; i++) lane[i] = lane[i] + lane[i + step];
  }
  return lane[0];
}

BP_INLINE vec select(veci condition, vec yes, vec no) {
  return (vec)((condition & (veci)yes) | (~condition & (veci)no));
}

/// exp(x), relative error below 2^-22 where the result is a normal number; 0 below −104, infinite
/// above 89; NaN stays. exp(n·ln 2 + r) = 2^n · exp(r), |r| ≤ ln 2 / 2, by a polynomial of degree
/// 6 whose own error is 3.1e-9.
BP_INLINE vec vec_exp(vec x) {
  x = select(x < splat(-104.0f), splat(-104.0f), x);
  x = select(x > splat(89.0f), splat(89.0f), x);
  // Adding 1.5 · 2^23 rounds to an integer and leaves it in the low bits.
  const vec magic = splat(12582912.0f);
  const vec shifted = x * splat(1.44269504f) + magic;
  const vec n = shifted - magic;
  const vec r = (x - n * splat(0.693359375f)) - n * splat(-2.12194440e-4f);
  vec q = splat(0.0013814596459269524f);
  q = q * r + splat(0.0083687175065279f);
  q = q * r + splat(0.04166838899254799f);
  q = q * r + splat(0.1666652113199234f);
  q = q * r + splat(0.4999999403953552f);
  const vec p = splat(1.0f) + (r + r * r * q);
  // 2^n as two factors, each a normal number: −151 ≤ n ≤ 129.
  const veci exponent = (veci)shifted - (veci)magic;
  const veci half = exponent >> 1;
  const vec first = (vec)((half + 127) << 23), second = (vec)((exponent - half + 127) << 23);
  return p * first * second;
}

/// 1 + erf(x / √2), relative error below 1e-6 for x ≥ −5: with a = |x| / √2 and t = 1 / (1 + 0.4·a),
/// erfc(a) = exp(−a²) · t · Q(t), where the polynomial's own relative error is 1.3e-7.
BP_INLINE vec vec_one_plus_erf(vec x) {
  const vec magnitude = (vec)((veci)x & 0x7FFFFFFF);
  const vec a = magnitude * splat(0.70710678f);
  const vec t = splat(1.0f) / (splat(1.0f) + splat(0.4f) * a);
  vec q = splat(0.049942705780267715f);
  q = q * t + splat(-0.18146581947803497f);
  q = q * t + splat(0.16638851165771484f);
  q = q * t + splat(-0.0028624599799513817f);
  q = q * t + splat(0.13979101181030273f);
  q = q * t + splat(0.16912434995174408f);
  q = q * t + splat(0.20772457122802734f);
  q = q * t + splat(0.225681871175766f);
  q = q * t + splat(0.22567537426948547f);
  const vec erfc = vec_exp(splat(-0.5f) * magnitude * magnitude) * (q * t);
  return select(x < splat(0.0f), erfc, splat(2.0f) - erfc);
}

static void rms_norm(const float *x, const float *weight, float eps, float *out, int64_t count) {
  vec squares = splat(0);
  for (int64_t i = 0; i < count; i += 16) {
    const vec value = load(x + i, count - i);
    squares = squares + value * value;
  }
  const vec inverse = splat(1.0f / sqrtf(sum_lanes(squares) / (float)count + eps));
  for (int64_t i = 0; i < count; i += 16) {
    const vec value = load(x + i, count - i) * inverse * load(weight + i, count - i);
    store(out + i, value, count - i);
  }
}

static void layer_norm(
    const float *x, const float *weight, const float *bias, float eps, float *out,
    int64_t count) {
  vec sums = splat(0);
  for (int64_t i = 0; i < count; i += 16) sums = sums + load(x + i, count - i);
  const vec mean = splat(sum_lanes(sums) / (float)count);
  vec squares = splat(0);
  for (int64_t i = 0; i + 16 <= count; i += 16) {
    const vec value = load(x + i, 16) - mean;
    squares = squares + value * value;
  }
  if (count % 16 != 0) {
    float tail[16] = {0};
    const int64_t first = count - count % 16;
    for (int64_t i = first; i < count; i++) tail[i - first] = x[i] - mean[0];
    const vec value = load(tail, 16);
    squares = squares + value * value;
  }
  const vec inverse = splat(1.0f / sqrtf(sum_lanes(squares) / (float)count + eps));
  for (int64_t i = 0; i < count; i += 16) {
    const vec value = (load(x + i, count - i) - mean) * inverse * load(weight + i, count - i)
        + load(bias + i, count - i);
    store(out + i, value, count - i);
  }
}

static void softmax(float *x, int64_t count) {
  if (count <= 0) return;
  // The largest value does not depend on the order; a NaN is passed over here and caught by the sum.
  vec tops = splat(-INFINITY);
  for (int64_t i = 0; i + 16 <= count; i += 16) {
    const vec value = load(x + i, 16);
    tops = select(value > tops, value, tops);
  }
  float top[16], largest = -INFINITY;
  memcpy(top, &tops, 64);
  for (int i = 0; i < 16; i++) largest = top[i] > largest ? top[i] : largest;
  for (int64_t i = count - count % 16; i < count; i++) largest = x[i] > largest ? x[i] : largest;
  const vec offset = splat(largest);
  vec sums = splat(0);
  for (int64_t i = 0; i < count; i += 16) {
    float values[16] = {0};
    const vec power = vec_exp(load(x + i, count - i) - offset);
    store(values, power, count - i);  // lanes past the end count nothing
    sums = sums + load(values, 16);
    store(x + i, power, count - i);
  }
  const vec inverse = splat(1.0f / sum_lanes(sums));
  for (int64_t i = 0; i < count; i += 16) {
    store(x + i, load(x + i, count - i) * inverse, count - i);
  }
}

static void silu_multiply(const float *a, const float *b, float *out, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    const vec value = load(a + i, count - i);
    const vec silu = value / (splat(1.0f) + vec_exp(-value));
    store(out + i, silu * load(b + i, count - i), count - i);
  }
}

static void gelu(const float *x, float *out, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    const vec value = load(x + i, count - i);
    store(out + i, splat(0.5f) * value * vec_one_plus_erf(value), count - i);
  }
}

static void add(const float *a, const float *b, float *out, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    store(out + i, load(a + i, count - i) + load(b + i, count - i), count - i);
  }
}

static float dot(const float *a, const float *b, int64_t count) {
  vec sums = splat(0);
  for (int64_t i = 0; i < count; i += 16) {
    sums = sums + load(a + i, count - i) * load(b + i, count - i);
  }
  return sum_lanes(sums);
}

static void add_scaled(const float *x, float scale, float *out, int64_t count) {
  const vec factor = splat(scale);
  for (int64_t i = 0; i < count; i += 16) {
    store(out + i, load(out + i, count - i) + load(x + i, count - i) * factor, count - i);
  }
}

typedef float vec8 __attribute__((ext_vector_type(8)));
typedef float vec4 __attribute__((ext_vector_type(4)));

/// The sum of `sum_lanes`, kept in registers.
BP_INLINE float add_lanes(vec v) {
  const vec8 eight = v.lo + v.hi;
  const vec4 four = eight.lo + eight.hi;
  return (four.x + four.z) + (four.y + four.w);
}

static void key_scores(
    const float *query, const float *keys, int64_t stride, int64_t count, int64_t size,
    float scale, float *out) {
  // The common head sizes, with the query in registers.
  if (size == 32 || size == 64) {
    const vec q0 = load(query, 16), q1 = load(query + 16, 16);
    const vec q2 = load(query + size - 32, 16), q3 = load(query + size - 16, 16);
    for (int64_t key = 0; key < count; key++) {
      const float *k = keys + key * stride;
      vec sums = splat(0) + load(k, 16) * q0;
      sums = sums + load(k + 16, 16) * q1;
      if (size == 64) {
        sums = sums + load(k + 32, 16) * q2;
        sums = sums + load(k + 48, 16) * q3;
      }
      out[key] = scale * add_lanes(sums);
    }
    return;
  }
  for (int64_t key = 0; key < count; key++) {
    const float *k = keys + key * stride;
    vec sums = splat(0);
    for (int64_t i = 0; i < size; i += 16) {
      sums = sums + load(k + i, size - i) * load(query + i, size - i);
    }
    out[key] = scale * add_lanes(sums);
  }
}

static void weighted_sum(
    const float *weights, const float *rows, int64_t stride, int64_t count, int64_t size,
    float *out) {
  for (int64_t first = 0; first < size; first += 32) {
    const int64_t left = size - first, right = left - 16 > 0 ? left - 16 : 0;
    // Even and odd rows apart, so that one addition need not wait for the last.
    vec even0 = splat(0), even1 = splat(0), odd0 = splat(0), odd1 = splat(0);
    const float *row = rows + first;
    int64_t index = 0;
    if (left >= 32) {
      for (; index + 2 <= count; index += 2, row += 2 * stride) {
        const vec even = splat(weights[index]), odd = splat(weights[index + 1]);
        even0 = even0 + load(row, 16) * even;
        even1 = even1 + load(row + 16, 16) * even;
        odd0 = odd0 + load(row + stride, 16) * odd;
        odd1 = odd1 + load(row + stride + 16, 16) * odd;
      }
    }
    for (; index < count; index++, row += stride) {
      const vec weight = splat(weights[index]);
      const vec value0 = load(row, left) * weight;
      const vec value1 = right > 0 ? load(row + 16, right) * weight : splat(0);
      if (index % 2 == 0) {
        even0 = even0 + value0;
        even1 = even1 + value1;
      } else {
        odd0 = odd0 + value0;
        odd1 = odd1 + value1;
      }
    }
    store(out + first, even0 + odd0, left);
    if (right > 0) store(out + first + 16, even1 + odd1, right);
  }
}

static void rounding_error(const float *x, int64_t group, int64_t count, float *out) {
  for (int64_t first = 0; first < count; first += group) {
    const int64_t size = BP_MIN(group, count - first);
    const float *source = x + first;
    float *target = out + first;
    // Magnitudes compared as integers: the same order as the floats, and a NaN wins.
    veci largest = (veci)(0);
    for (int64_t i = 0; i < size; i += 16) {
      const veci bits = (veci)load(source + i, size - i) & 0x7FFFFFFF;
      const veci larger = bits > largest;
      largest = (larger & bits) | (~larger & largest);
    }
    int32_t bits = 0;
    for (int i = 0; i < 16; i++) bits = largest[i] > bits ? largest[i] : bits;
    float maximum;
    memcpy(&maximum, &bits, 4);
    if (maximum < BP_SMALLEST_MAXIMUM) {
      memmove(target, source, (size_t)size * 4);
      continue;
    }
    const vec inverse = splat(127.0f / maximum), scale = splat(maximum / 127.0f);
    const vec lowest = splat(-127.0f), highest = splat(127.0f), magic = splat(12582912.0f);
    for (int64_t i = 0; i < size; i += 16) {
      const vec value = load(source + i, size - i);
      vec code = value * inverse;
      code = select(code > lowest, code, lowest);  // a NaN becomes −127; the scale tells
      code = select(code < highest, code, highest);
      // Adding 1.5 · 2^23 leaves no fraction bits: rounds to nearest, ties to even.
      code = (code + magic) - magic;
      store(target + i, value - code * scale, size - i);
    }
  }
}

/// `add_products` for `rows` rows, whose factors are at `factors[k · stride …]`.
BP_INLINE void add_row_products(
    const int rows, const float *factors, int64_t stride, const float *x, int64_t depth,
    float *out) {
  for (int first = 0; first < BP_PRODUCT_LANES; first += 16 * BP_VECTOR_TILE) {
    vec sums[4][BP_VECTOR_TILE];
    BP_UNROLL for (int row = 0; row < rows; row++) {
      BP_UNROLL for (int v = 0; v < BP_VECTOR_TILE; v++) {
        sums[row][v] = load(out + row * BP_PRODUCT_LANES + first + 16 * v, 16);
      }
    }
    for (int64_t k = 0; k < depth; k++) {
      vec values[BP_VECTOR_TILE];
      BP_UNROLL for (int v = 0; v < BP_VECTOR_TILE; v++) {
        values[v] = load(x + k * BP_PRODUCT_LANES + first + 16 * v, 16);
      }
      BP_UNROLL for (int row = 0; row < rows; row++) {
        const vec factor = splat(factors[k * stride + row]);
        BP_UNROLL for (int v = 0; v < BP_VECTOR_TILE; v++) {
          sums[row][v] = __builtin_elementwise_fma(values[v], factor, sums[row][v]);
        }
      }
    }
    BP_UNROLL for (int row = 0; row < rows; row++) {
      BP_UNROLL for (int v = 0; v < BP_VECTOR_TILE; v++) {
        store(out + row * BP_PRODUCT_LANES + first + 16 * v, sums[row][v], 16);
      }
    }
  }
}

/// Rows of `x` and of `out` whose factors are copied together: a stride of a power of two puts all
/// factors of a row of `out` in one set of the first-level cache, which has room for few.
#define PRODUCT_DEPTH 16
#define PRODUCT_ROWS 16

static void add_products(
    const float *factors, int64_t stride, const float *x, int64_t depth, float *out,
    int64_t count) {
  for (int64_t begin = 0; begin < depth; begin += PRODUCT_DEPTH) {
    const int64_t deep = BP_MIN(PRODUCT_DEPTH, depth - begin);
    const float *source = factors + begin * stride;
    for (int64_t first = 0; first < count; first += PRODUCT_ROWS) {
      const int64_t rows = BP_MIN(PRODUCT_ROWS, count - first);
      float copy[PRODUCT_DEPTH * PRODUCT_ROWS];
      for (int64_t k = 0; k < deep; k++) {
        const float *line = source + k * stride + first;
        store(copy + k * PRODUCT_ROWS, load(line, rows), 16);
      }
      int64_t row = 0;
      for (; row + 4 <= rows; row += 4) {
        // The factors after the next, a few at a time: a burst of them would hold up all loads.
        for (int64_t k = row / 4; k < deep; k += PRODUCT_ROWS / 4) {
          __builtin_prefetch(source + k * stride + first + 2 * PRODUCT_ROWS);
        }
        add_row_products(
            4, copy + row, PRODUCT_ROWS, x + begin * BP_PRODUCT_LANES, deep,
            out + (first + row) * BP_PRODUCT_LANES);
      }
      for (; row < rows; row++) {
        add_row_products(
            1, copy + row, PRODUCT_ROWS, x + begin * BP_PRODUCT_LANES, deep,
            out + (first + row) * BP_PRODUCT_LANES);
      }
    }
  }
}

static void hadamard(float *x, int64_t stride, int64_t count) {
  for (int64_t half = stride; half < count; half *= 2) {
    for (int64_t begin = 0; begin < count; begin += 2 * half) {
      float *first = x + begin, *second = first + half;
      int64_t i = 0;
      for (; i + 16 <= half; i += 16) {
        const vec a = load(first + i, 16), b = load(second + i, 16);
        store(first + i, a + b, 16);
        store(second + i, a - b, 16);
      }
      for (; i < half; i++) {
        const float a = first[i], b = second[i];
        first[i] = a + b;
        second[i] = a - b;
      }
    }
  }
}

#include "vector_sparse.inc.h"

const bp_vector_operations BP_VECTOR_TABLE = {
    rms_norm, layer_norm, softmax, silu_multiply, gelu, add, dot, add_scaled, key_scores,
    weighted_sum, rounding_error, add_products, add_sparse, interleave, hadamard,
};
