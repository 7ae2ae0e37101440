#ifndef BITPLAN_KERNELS_H
#define BITPLAN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

// The CPU kernels of Bitplan.
//
// Conventions, for every function below:
//   - Sizes are in elements, strides too; only names that end in `_bytes` count bytes.
//   - Kernels do not allocate, do not fail and keep no pointer: callers validate first.
//   - Inputs and outputs must not overlap. Inputs may be unaligned; nothing is read or written
//     outside the bounds that the structures state.
//   - Every instruction set returns the same bits for the same input, for any batch and any
//     split of the work over threads.
//
// Arithmetic. Weights are unsigned codes u with a binary16 scale s and a zero point z for every
// group of g input features of an output feature; activations are signed bytes a with a float
// scale t for every group of a token. For one output feature and one token, y starts at 0 and for
// every group in order
//
//     d = Σ u·a − z·Σ a            (exact, 32-bit integers)
//     y = fma((float)d, s·t, y)    (s·t rounded once)
//
// Bounds: u ≤ 255, |a| ≤ 127, g ≤ 128, so |Σ u·a| ≤ 255·127·128 = 4,145,280; |Σ a| ≤ 127·128 =
// 16,256 fits in 16 bits; |z·Σ a| ≤ 255·16,256 = 4,145,280; any partial sum of both stays below
// 8,290,560 < 2^24, so 32-bit sums never overflow and (float)d is exact.
//
// The families of weights:
//   - integer: as above;
//   - non-linear: u is the level of the code plus 128, z = 128, so all bounds hold;
//   - block floating point: s is 2^(exponent − 127), or 0 for exponent 0; z = 2^(bit width − 1);
//   - per row: one group as long as the row, z = 128, and one activation scale a token;
//   - two-level: the same, of the signed bytes (group scale · (code − zero point)) mod 256;
//   - binary: every bit i of the codes of a group has a plane weight q_i, and a code stands for the
//     signed byte v = (Σ ±q_i) mod 256, plus where bit i is 1; u = v + 128, z = 128. After a
//     group's d its offset is added:
//         y = fma(−((float)(−Σ a)·t), offset, y)    (the inner product rounded once).
//     |d| = |Σ v·a| ≤ 128·127·128 = 2,080,768 and |Σ a| ≤ 16,256 are exact floats.
//
// A row of signed bytes has |d| ≤ 128·127·2^17 = 2,130,706,432 < 2^31 for up to 2^17 = 131,072
// input features, the most that per-row and two-level weights may have. On the way sums may wrap
// modulo 2^32; the result is exact. (float)d rounds to nearest, ties to even.

#ifdef __cplusplus
extern "C" {
#endif

/// Output features of a tile: the height at which rows are interleaved.
#define BP_TILE_HEIGHT 16

/// Instruction sets; those of one architecture slowest first.
typedef enum {
  BP_ISA_SCALAR = 0,
  BP_ISA_AVX2 = 1,
  BP_ISA_AVXVNNI = 2,
  BP_ISA_AVX512VNNI = 3,
  BP_ISA_AVX512AMX = 4,
  BP_ISA_NEON_DOTPROD = 5,
  BP_ISA_NEON_I8MM = 6,
  BP_ISA_COUNT
} bp_isa;

/// What the codes of a segment mean; see the arithmetic above.
typedef enum {
  BP_FAMILY_INTEGER = 0,
  BP_FAMILY_NONLINEAR = 1,
  BP_FAMILY_BLOCK_FLOAT = 2,
  BP_FAMILY_PER_ROW = 3,
  BP_FAMILY_TWO_LEVEL = 4,
  BP_FAMILY_BINARY = 5
} bp_family;

/// Packed integer weights of one segment (see PackedLayout.swift for the place of every byte).
typedef struct {
  /// `[tile][group]`, `2 · bit_width · group_size` bytes each.
  const uint8_t *codes;
  /// binary16, `[tile][group][16]`; per row and two-level `[tile][16]`; NULL for block
  /// floating point.
  const uint16_t *scales;
  /// `[tile][group]`, `2 · bit_width` bytes each; NULL when every zero point is
  /// `2^(bit_width − 1)`. Two-level: `[tile][group][16]`, the zero point in the low four bits, the
  /// group scale minus 1 in the high ones.
  const uint8_t *zero_points;
  /// Logical output features; the last tile may hold fewer than 16.
  int64_t rows;
  /// Groups along the input features.
  int64_t groups;
  /// 32, 64 or 128.
  int32_t group_size;
  /// 2, 3, 4, 5, 6 or 8; binary: 1 to 4.
  int32_t bit_width;
  /// What the codes mean.
  bp_family family;
  /// Block floating point: `[tile][group][16]`; otherwise NULL.
  const uint8_t *exponents;
  /// Binary: `[tile][group]`, 16 binary16 offsets and, from 2 bits on, the plane weights, bytes
  /// `[bit][16]`; with one bit its plane weight is 1. Otherwise NULL.
  const uint16_t *offsets;
} bp_matrix;

/// Activations as signed bytes.
///
/// Tokens are taken in blocks of `block`, input features in steps of `depth`, so that a kernel
/// finds what it needs next side by side: the code of token `t` and input feature `k` is at
/// `((t / block) · (groups · group_size / depth) + k / depth) · block · depth
///  + (t mod block) · depth + k mod depth`. Tokens that pad the last block have code, scale and
/// sum 0.
typedef struct {
  /// Codes in −127…127.
  int8_t *codes;
  /// `[block of tokens][group][token of the block]`; with `per_token`,
  /// `[block of tokens][token of the block]`.
  float *scales;
  /// −Σ a of every group, `[block of tokens][group][token of the block]`.
  int32_t *negated_sums;
  /// Logical tokens.
  int64_t tokens;
  /// Groups along the input features.
  int64_t groups;
  /// 32, 64 or 128.
  int32_t group_size;
  /// Tokens of a block.
  int32_t block;
  /// Consecutive input features of one token; divides `group_size`.
  int32_t depth;
  /// Whether all groups of a token share one scale.
  int32_t per_token;
} bp_activations;

/// Where results go: token `t` and packed row `r` to `values[t · stride + row_map[r]]`.
typedef struct {
  float *values;
  /// Elements from one token to the next.
  int64_t stride;
  /// Output feature of every packed row, or NULL when rows are in place.
  const uint32_t *row_map;
} bp_output;

/// How a kernel wants the activations of a batch.
typedef struct {
  int32_t block;
  int32_t depth;
} bp_activation_order;

/// One implementation of every kernel for one instruction set.
typedef struct {
  bp_isa isa;
  /// Stable; appears in profiles and results.
  const char *name;

  /// The order of activations in which `multiply` takes `tokens` tokens at this group size.
  bp_activation_order (*activation_order)(int64_t tokens, int32_t group_size);

  /// Quantizes the blocks `[block_begin, block_end)` of the tokens `x[token · stride + k]`,
  /// `k < input_features`; the last group is padded with zeros.
  ///
  /// For every token and group: m = max |x|; if m < 2^-110 the scale and all codes are 0; else
  /// scale = m / 127 and code = x · (127 / m) rounded to nearest, ties to even, clamped to ±127.
  /// A NaN makes the group's scale NaN.
  void (*quantize)(
      const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
      int64_t block_begin, int64_t block_end);

  /// Bytes of scratch memory that one thread's `multiply` needs.
  size_t (*scratch_bytes)(const bp_matrix *w, int64_t tokens);

  /// y = W · x for the tiles `[tile_begin, tile_end)` and the token blocks
  /// `[block_begin, block_end)`. `scratch` is aligned to 64 bytes.
  void (*multiply)(
      const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
      int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch);

  /// y = W · x for binary16 weights `[tile][input_feature][16]` and float activations
  /// `x[token · x_stride + k]`: y = fma(w, x, y) over the input features in order, from 0.
  void (*multiply_float16)(
      const uint16_t *w, int64_t rows, int64_t input_features, const float *x, int64_t x_stride,
      const bp_output *y, int64_t tile_begin, int64_t tile_end, int64_t token_begin,
      int64_t token_end);

  /// The families besides the integer one that `multiply` takes, `1 << family` each; the scalar
  /// kernels stand in for the others.
  uint32_t families;

  /// As `quantize`, with one scale a token: m is the largest magnitude of the whole token. NULL
  /// where the scalar kernel stands in.
  void (*quantize_tokens)(
      const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
      int64_t block_begin, int64_t block_end);

  /// Binary coding of one bit by lookup tables, for one token; NULL where `multiply` is to be taken.
  /// `scratch` has `BP_LOOKUP_BYTES` for every input feature, padding included. To be used only
  /// where `bp_lookup_supported` says so.
  void (*multiply_lookup)(
      const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
      int64_t tile_end, void *scratch);
} bp_kernels;

/// Bytes of lookup tables for one input feature.
#define BP_LOOKUP_BYTES 8

/// Whether this CPU can run the `multiply_lookup` of the kernels that it supports.
int bp_lookup_supported(void);

// What callers call: the kernels of `kernels`, or the scalar ones for a family or a kind of
// activations that `kernels` lacks. The scalar kernels take activations in any order.

/// Quantizes some blocks of tokens, by groups or, with `out->per_token`, with one scale a token.
void bp_quantize(
    const bp_kernels *kernels, const float *x, int64_t stride, int64_t input_features,
    const bp_activations *out, int64_t block_begin, int64_t block_end);
/// Bytes of scratch memory that one thread's `bp_multiply` needs.
size_t bp_scratch_bytes(const bp_kernels *kernels, const bp_matrix *w, int64_t tokens);
/// y = W · x for some tiles and some blocks of tokens.
void bp_multiply(
    const bp_kernels *kernels, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile_begin, int64_t tile_end, int64_t block_begin, int64_t block_end,
    void *scratch);

/// Whether this binary contains `isa` and this CPU and operating system can run it.
int bp_isa_supported(bp_isa isa);

/// The kernels for `isa`, or NULL where it is not supported.
const bp_kernels *bp_kernels_for(bp_isa isa);

/// Processors that this process may run on; at least 1.
int32_t bp_processor_count(void);
/// Lets the allocator ask the system for every large block and give it back when it is freed.
void bp_keep_large_blocks_apart(void);
/// Gives freed memory that the allocator keeps back to the system, where the allocator can.
void bp_give_back_freed_memory(void);

// Packing; `codes` are row-major `[rows][input_features]`, one byte each, and the packed sections
// start zeroed.

/// Writes the codes section of rows × input_features codes.
void bp_pack_codes(
    const uint8_t *codes, int64_t rows, int64_t input_features, int32_t bit_width,
    int32_t group_size, uint8_t *packed);
/// Writes the codes section of binary coding: planes of one bit.
void bp_pack_bit_planes(
    const uint8_t *codes, int64_t rows, int64_t input_features, int32_t bit_width,
    int32_t group_size, uint8_t *packed);
/// Writes 16-bit values `[rows][count]` as `[tile][count][16]`: scales and offsets.
void bp_pack_scales(const uint16_t *scales, int64_t rows, int64_t count, uint16_t *packed);
/// Writes bytes `[rows][count]` as `[tile][count][16]`: exponents and two-level codes.
void bp_pack_bytes(const uint8_t *bytes, int64_t rows, int64_t count, uint8_t *packed);
/// Writes offsets `[rows][groups]` and plane weights `[rows][groups][bit_width]` of binary coding;
/// with one bit there are none.
void bp_pack_offsets(
    const uint16_t *offsets, const uint8_t *plane_weights, int64_t rows, int64_t groups,
    int32_t bit_width, uint16_t *packed);
/// Writes the zero-points section from `[rows][groups]`.
void bp_pack_zero_points(
    const uint8_t *zero_points, int64_t rows, int64_t groups, int32_t bit_width, uint8_t *packed);
/// Interleaves binary16 weights.
void bp_pack_float16(
    const uint16_t *weights, int64_t rows, int64_t input_features, uint16_t *packed);

/// One row's codes, `[input_features]`.
void bp_unpack_row_codes(
    const bp_matrix *w, int64_t row, int64_t input_features, uint8_t *codes);
/// The binary16 scale of one group of one row; the group is 0 where rows have one scale.
uint16_t bp_scale(const bp_matrix *w, int64_t row, int64_t group);
/// The zero point of one group of one row.
int32_t bp_zero_point(const bp_matrix *w, int64_t row, int64_t group);
/// The two-level code of one group of one row.
uint8_t bp_two_level_code(const bp_matrix *w, int64_t row, int64_t group);
/// The exponent of one group of one row of block floating point.
uint8_t bp_exponent(const bp_matrix *w, int64_t row, int64_t group);
/// The binary16 offset of one group of one row of binary coding.
uint16_t bp_offset(const bp_matrix *w, int64_t row, int64_t group);
/// The plane weight of one bit of one group of one row of binary coding, at
/// `group · bit_width + bit`.
uint8_t bp_plane_weight(const bp_matrix *w, int64_t row, int64_t group_and_bit);
/// One row's weights, as the family says, `[input_features]`.
void bp_dequantize_row(const bp_matrix *w, int64_t row, int64_t input_features, float *out);
/// One row of binary16 weights as floats.
void bp_dequantize_row_float16(
    const uint16_t *w, int64_t row, int64_t input_features, float *out);

// Vector operations of a forward pass. Sums run over 16 lanes (element i in lane i mod 16), then
// lanes are added pairwise: i with i + 8, i + 4, i + 2, i + 1. No fused multiply-adds except where
// said.

/// Elements of a row in `add_products`.
#define BP_PRODUCT_LANES 64
/// Tokens that lie side by side for `add_sparse`.
#define BP_SPARSE_LANES 16

typedef struct {
  /// out = x · weight / sqrt(mean(x²) + eps).
  void (*rms_norm)(const float *x, const float *weight, float eps, float *out, int64_t count);
  /// out = (x − mean) / sqrt(variance + eps) · weight + bias.
  void (*layer_norm)(
      const float *x, const float *weight, const float *bias, float eps, float *out,
      int64_t count);
  /// x = exp(x − max x) / Σ exp(x − max x), in place.
  void (*softmax)(float *x, int64_t count);
  /// out = a / (1 + exp(−a)) · b.
  void (*silu_multiply)(const float *a, const float *b, float *out, int64_t count);
  /// out = x · (1 + erf(x / √2)) / 2.
  void (*gelu)(const float *x, float *out, int64_t count);
  /// out = a + b.
  void (*add)(const float *a, const float *b, float *out, int64_t count);
  /// Σ a · b.
  float (*dot)(const float *a, const float *b, int64_t count);
  /// out += scale · x (product and sum rounded apart).
  void (*add_scaled)(const float *x, float scale, float *out, int64_t count);
  /// out[i] = scale · Σ query · keys[i · stride …]: one query against `count` keys of `size`.
  void (*key_scores)(
      const float *query, const float *keys, int64_t stride, int64_t count, int64_t size,
      float scale, float *out);
  /// out = Σ weights[i] · rows[i · stride …], `size` long; even rows and odd rows are summed apart.
  void (*weighted_sum)(
      const float *weights, const float *rows, int64_t stride, int64_t count, int64_t size,
      float *out);
  /// What quantizing activations to 8 bits leaves of `count` values, with one scale for every
  /// `group` of them: `out = x − code · scale`, codes and scales as `bp_quantize` finds them.
  void (*rounding_error)(const float *x, int64_t group, int64_t count, float *out);
  /// `out[i][r] += Σ_k factors[k · stride + i] · x[k][r]` for `count` rows of `out` and `depth` rows
  /// of `x`, each of `BP_PRODUCT_LANES` elements. Products are fused with their sums, in the order
  /// of `k`.
  void (*add_products)(
      const float *factors, int64_t stride, const float *x, int64_t depth, float *out,
      int64_t count);
  /// Adds rows `first..<end` of a sparse matrix times `tokens` tokens to their outputs:
  /// `out[t · out_stride + r] += Σ_e values[e] · x(t, columns[e])` over the entries of row `r`, which
  /// are `starts[r] ..< starts[r + 1]`. Four sums a row, entry by entry in turn, are added up last.
  ///
  /// `columns` holds 16-bit numbers, or 32-bit ones where `wide` is set; `values` bfloat16. One
  /// token lies at `x`; more lie in blocks of `BP_SPARSE_LANES`, `x[t / lanes][column][t mod lanes]`,
  /// `columns_count` columns a block.
  void (*add_sparse)(
      const uint32_t *starts, const void *columns, int wide, const uint16_t *values, int64_t first,
      int64_t end, const float *x, int64_t columns_count, int64_t tokens, float *out,
      int64_t out_stride);
  /// One block of tokens as `add_sparse` wants it: `out[column][t] = x[t · stride + column]`, 0 for
  /// lanes from `tokens` on.
  void (*interleave)(
      const float *x, int64_t stride, int64_t columns_count, int64_t tokens, float *out);
  /// Walsh–Hadamard transform of `count / stride` runs of `stride` elements, in place and not scaled:
  /// runs are added and subtracted element by element. `count / stride` is a power of two.
  void (*hadamard)(float *x, int64_t stride, int64_t count);
} bp_vector_operations;

/// The vector operations for `isa`, or NULL where it is not supported.
const bp_vector_operations *bp_vector_operations_for(bp_isa isa);

/// Tells the CPU that this thread is waiting for another one.
static inline void bp_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

#ifdef __cplusplus
}
#endif

#endif
