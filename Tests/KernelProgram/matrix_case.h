#ifndef KERNEL_PROGRAM_MATRIX_CASE_H
#define KERNEL_PROGRAM_MATRIX_CASE_H

// One multiplication of packed weights, its inputs and its result by the definition.

#include "support.h"

/// What the codes are.
typedef enum {
  CODES_RANDOM,
  /// Largest codes, zero points 0, activations all ±127: the largest sums there can be.
  CODES_TOP,
  /// Codes 0, largest zero points, activations all ±127.
  CODES_BOTTOM,
  /// Random, and activations halfway between two codes, where rounding shows.
  CODES_TIES,
  /// Random, and one activation of the first token is a NaN or infinite.
  CODES_NOT_FINITE,
} code_pattern;

typedef struct {
  /// 16 stands for binary16 weights.
  int32_t bit_width;
  int32_t group_size;
  int is_affine;
  bp_family family;
  int64_t rows, input_features, tokens;
  code_pattern pattern;
  /// Where results go: 0 in place, 1 to permuted places, 2 to places that mostly follow each other.
  int row_map;
} case_shape;

typedef struct {
  case_shape shape;
  int64_t groups, tiles;
  /// Packed sections and their sizes; `zeros` holds zero points, two-level codes, exponents, or
  /// offsets with plane weights, and is NULL where there are none.
  uint8_t *codes, *zeros;
  uint16_t *scales;
  int64_t codes_bytes, scales_bytes, zeros_bytes;
  /// `[tokens][input_features]`.
  float *x;
  /// `NULL` or `[tiles · 16]`.
  uint32_t *row_map;
  /// `[tokens][rows]`, in place or by the row map.
  float *expected;
} matrix_case;

/// Makes a case whose values depend on `seed` only. The expected result is computed from the
/// row-major codes by the formula in bitplan_kernels.h, without any kernel.
matrix_case make_matrix_case(case_shape shape, uint64_t seed);
void free_matrix_case(matrix_case *c);

/// Runs the kernels of `set` on the case with every buffer at `where`, the work cut into
/// `pieces` × `pieces` calls, and compares every bit of the result and everything around it.
void check_matrix_case(
    const bp_kernels *set, const matrix_case *c, placement where, int pieces);

#endif
