#if defined(__x86_64__) && defined(__linux__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,"       \
                          "amx-tile,amx-int8"))),                                              \
    apply_to = function)

#include "avx512.h"

#pragma STDC FP_CONTRACT OFF

// Integer kernels for AMX: 16 tokens × 16 output features × 64 input features an instruction, in
// exact 32-bit sums. A unit of the packed layout is a row of the right-hand tile as it stands, so
// 8-bit weights are multiplied where they lie; narrower ones are expanded to signed bytes
// u − z (|u − z| ≤ 63), which leaves no zero point to correct for. Up to 8 tokens take the
// AVX-512 VNNI kernels.

/// Most tokens that the VNNI kernels take.
#define DECODE_TOKENS 8
/// Tokens of a block: the rows of a tile.
#define BLOCK_TOKENS 16
/// Tiles of output features, and blocks of tokens, that are multiplied together.
#define PANEL_TILES 2
#define PANEL_BLOCKS 2
/// Input features after which the blocks of tokens change, so that a panel's part stays in L1:
/// 2 tiles · 16 · 1,024 = 32 KiB.
#define DEPTH_RUN 1024

static bp_activation_order activation_order(int64_t tokens, int32_t group_size) {
  if (tokens <= DECODE_TOKENS) return (bp_activation_order){(int32_t)tokens, 4};
  return (bp_activation_order){BLOCK_TOKENS, group_size < 64 ? group_size : 64};
}

/// Where a panel's expanded codes, scales and zero points, the results so far and the integer sums
/// of two consecutive groups lie in scratch memory.
typedef struct {
  uint8_t *codes;
  float *scales;
  int32_t *zeros;
  float *sums;
  int32_t *products;
  size_t bytes;
} workspace;

BP_INLINE workspace divide(void *scratch, const bp_matrix *w, int64_t blocks) {
  uint8_t *start = scratch;
  const size_t codes = w->bit_width == 8 ? 0 : (size_t)(w->groups * w->group_size) * 16;
  const size_t scales = (size_t)w->groups * 64;
  const size_t sums = (size_t)(blocks + 1) * BLOCK_TOKENS * PANEL_TILES * 64;
  const size_t products = 2 * PANEL_TILES * PANEL_BLOCKS * 1024;
  workspace s;
  s.products = (int32_t *)start;
  s.sums = (float *)(start + products);
  s.scales = (float *)(start + products + sums);
  s.zeros = (int32_t *)(start + products + sums + PANEL_TILES * scales);
  s.codes = start + products + sums + 2 * PANEL_TILES * scales;
  s.bytes = products + sums + PANEL_TILES * (2 * scales + codes);
  return s;
}

static size_t scratch_bytes(const bp_matrix *w, int64_t tokens) {
  if (tokens <= DECODE_TOKENS) return 0;
  return divide(NULL, w, (tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS).bytes;
}

/// Sets the shapes of the tiles: 0–3 integer sums, 4–5 activations, 6–7 weights.
BP_INLINE void configure(int32_t group_size) {
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t column_bytes[16];
    uint8_t rows[16];
  } shapes __attribute__((aligned(64)));
  _Static_assert(sizeof shapes == 64, "the processor reads 64 bytes");
  memset(&shapes, 0, sizeof shapes);
  shapes.palette = 1;
  const int32_t depth = BP_MIN(group_size, 64);
  for (int i = 0; i < 8; i++) {
    shapes.column_bytes[i] = (uint16_t)(i == 4 || i == 5 ? depth : 64);
    shapes.rows[i] = (uint8_t)(i >= 6 ? depth / 4 : 16);
  }
  _tile_loadconfig(&shapes);
}

/// Codes minus zero points of one tile as signed bytes, `[group][unit][row][4]`.
BP_INLINE void expand_codes(
    const int32_t bits, const bp_matrix *w, int64_t tile, uint8_t *out) {
  const int32_t low_bits = bp_low_bits(bits), high_bits = bits - low_bits;
  for (int64_t group = 0; group < w->groups; group++) {
    // A zero point in all four bytes of its row.
    __m512i zero = w->zero_points
        ? bp512_zero_points(bits, bp_zero_points_at(w, tile, group))
        : _mm512_set1_epi32(1 << (bits - 1));
    zero = _mm512_or_si512(zero, _mm512_slli_epi32(zero, 8));
    zero = _mm512_or_si512(zero, _mm512_slli_epi32(zero, 16));
    const uint8_t *low = bp_codes_at(w, tile, group);
    const uint8_t *high = low + 2 * low_bits * w->group_size;
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32) {
      __m512i unit[8];
      bp512_unpack(bits, low, high, unit);
      BP_UNROLL for (int u = 0; u < 8; u++) {
        _mm512_store_si512(out + 64 * u, _mm512_sub_epi8(unit[u], zero));
      }
      low += 64 * low_bits;
      high += 64 * high_bits;
      out += 512;
    }
  }
}

static void expand_tile(
    const bp_matrix *w, int64_t tile, uint8_t *codes, float *scales, int32_t *zeros) {
  switch (w->bit_width) {
    case 2: expand_codes(2, w, tile, codes); break;
    case 3: expand_codes(3, w, tile, codes); break;
    case 4: expand_codes(4, w, tile, codes); break;
    case 5: expand_codes(5, w, tile, codes); break;
    case 6: expand_codes(6, w, tile, codes); break;
    default:
      for (int64_t group = 0; group < w->groups; group++) {
        _mm512_store_si512(
            zeros + group * 16,
            w->zero_points ? bp512_zero_points(8, bp_zero_points_at(w, tile, group))
                           : _mm512_set1_epi32(128));
      }
  }
  for (int64_t group = 0; group < w->groups; group++) {
    _mm512_store_ps(scales + group * 16, bp512_scales(bp_scales_at(w, tile, group)));
  }
}

/// What one call of the innermost kernel works on.
typedef struct {
  const int8_t *activations[PANEL_BLOCKS];
  const float *activation_scales[PANEL_BLOCKS];
  const int32_t *negated_sums[PANEL_BLOCKS];
  const uint8_t *codes[PANEL_TILES];
  const float *scales[PANEL_TILES];
  const int32_t *zeros[PANEL_TILES];
  /// `[tile][token][16]` of every block.
  float *sums[PANEL_BLOCKS];
  int32_t *products;
} operands;

/// Integer sums of one group: blocks × tiles products of 16 × 16, to `products`.
BP_INLINE void multiply_group(
    const int has_zeros, const int blocks, const int tiles, const int steps, const int depth,
    const operands *o, int64_t group, int32_t *products) {
  const int64_t a = group * steps * BLOCK_TOKENS * depth, b = group * steps * 16 * depth;
  _tile_zero(0);
  if (tiles > 1) _tile_zero(1);
  if (blocks > 1) _tile_zero(2);
  if (blocks > 1 && tiles > 1) _tile_zero(3);
  BP_UNROLL for (int step = 0; step < steps; step++) {
    const int64_t at = a + step * BLOCK_TOKENS * depth, bt = b + step * 16 * depth;
    _tile_loadd(6, o->codes[0] + bt, 64);
    _tile_loadd(4, o->activations[0] + at, depth);
    if (tiles > 1) _tile_loadd(7, o->codes[1] + bt, 64);
    if (blocks > 1) _tile_loadd(5, o->activations[1] + at, depth);
    if (has_zeros) {
      _tile_dpbsud(0, 4, 6);
      if (tiles > 1) _tile_dpbsud(1, 4, 7);
      if (blocks > 1) _tile_dpbsud(2, 5, 6);
      if (blocks > 1 && tiles > 1) _tile_dpbsud(3, 5, 7);
    } else {
      _tile_dpbssd(0, 4, 6);
      if (tiles > 1) _tile_dpbssd(1, 4, 7);
      if (blocks > 1) _tile_dpbssd(2, 5, 6);
      if (blocks > 1 && tiles > 1) _tile_dpbssd(3, 5, 7);
    }
  }
  _tile_stored(0, products, 64);
  if (tiles > 1) _tile_stored(1, products + 256, 64);
  if (blocks > 1) _tile_stored(2, products + 512, 64);
  if (blocks > 1 && tiles > 1) _tile_stored(3, products + 768, 64);
}

/// Adds the integer sums of one group to the results.
BP_INLINE void accumulate_group(
    const int has_zeros, const int blocks, const int tiles, const operands *o, int64_t group,
    const int32_t *products) {
  BP_UNROLL for (int r = 0; r < tiles; r++) {
    const __m512 scale = _mm512_load_ps(o->scales[r] + group * 16);
    const __m512i zero =
        has_zeros ? _mm512_load_si512(o->zeros[r] + group * 16) : _mm512_setzero_si512();
    BP_UNROLL for (int b = 0; b < blocks; b++) {
      float *sums = o->sums[b] + r * 256;
      const int32_t *source = products + (2 * b + r) * 256;
      const float *activation_scales = o->activation_scales[b] + group * BLOCK_TOKENS;
      const int32_t *negated_sums = o->negated_sums[b] + group * BLOCK_TOKENS;
      BP_UNROLL for (int t = 0; t < BLOCK_TOKENS; t++) {
        __m512i sum = _mm512_load_si512(source + 16 * t);
        if (has_zeros) {
          sum = _mm512_dpwssd_epi32(sum, zero, _mm512_set1_epi32(negated_sums[t]));
        }
        const __m512 product_scale =
            _mm512_mul_ps(scale, _mm512_set1_ps(activation_scales[t]));
        _mm512_store_ps(
            sums + 16 * t,
            _mm512_fmadd_ps(
                _mm512_cvtepi32_ps(sum), product_scale, _mm512_load_ps(sums + 16 * t)));
      }
    }
  }
}

/// The groups `[begin, end)`: while the matrix unit works on one, the vector units add the last.
BP_INLINE void multiply_run(
    const int has_zeros, const int blocks, const int tiles, const int steps, const int depth,
    const operands *o, int64_t begin, int64_t end) {
  multiply_group(has_zeros, blocks, tiles, steps, depth, o, begin, o->products);
  for (int64_t group = begin + 1; group < end; group++) {
    const int64_t now = (group - begin) % 2 * 1024, last = 1024 - now;
    multiply_group(has_zeros, blocks, tiles, steps, depth, o, group, o->products + now);
    accumulate_group(has_zeros, blocks, tiles, o, group - 1, o->products + last);
  }
  accumulate_group(
      has_zeros, blocks, tiles, o, end - 1, o->products + (end - 1 - begin) % 2 * 1024);
}

#define RUN(name, has_zeros, steps, depth)                                                     \
  static __attribute__((noinline)) void name(                                                  \
      int64_t blocks, int64_t tiles, const operands *o, int64_t begin, int64_t end) {          \
    if (blocks > 1) {                                                                          \
      if (tiles > 1) multiply_run(has_zeros, 2, 2, steps, depth, o, begin, end);               \
      else multiply_run(has_zeros, 2, 1, steps, depth, o, begin, end);                         \
    } else {                                                                                   \
      if (tiles > 1) multiply_run(has_zeros, 1, 2, steps, depth, o, begin, end);               \
      else multiply_run(has_zeros, 1, 1, steps, depth, o, begin, end);                         \
    }                                                                                          \
  }

RUN(run_signed_32, 0, 1, 32)
RUN(run_signed_64, 0, 1, 64)
RUN(run_signed_128, 0, 2, 64)
RUN(run_zeros_32, 1, 1, 32)
RUN(run_zeros_64, 1, 1, 64)
RUN(run_zeros_128, 1, 2, 64)

static void multiply(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  if (x->tokens <= DECODE_TOKENS) {
    bp_multiply_avx512vnni(
        w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
    return;
  }
  if (block_begin >= block_end) return;
  void (*const run)(int64_t, int64_t, const operands *, int64_t, int64_t) = w->bit_width == 8
      ? w->group_size == 32 ? run_zeros_32 : w->group_size == 64 ? run_zeros_64 : run_zeros_128
      : w->group_size == 32 ? run_signed_32 : w->group_size == 64 ? run_signed_64 : run_signed_128;
  const int64_t all_blocks = (x->tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
  const workspace s = divide(scratch, w, all_blocks);
  const int64_t code_bytes = w->groups * w->group_size * 16;
  const int64_t run_groups = BP_MIN(w->groups, DEPTH_RUN / w->group_size);
  configure(w->group_size);
  for (int64_t tile = tile_begin; tile < tile_end; tile += PANEL_TILES) {
    const int64_t tiles = BP_MIN(PANEL_TILES, tile_end - tile);
    operands o;
    o.products = s.products;
    for (int64_t r = 0; r < tiles; r++) {
      float *scales = s.scales + r * w->groups * 16;
      int32_t *zeros = s.zeros + r * w->groups * 16;
      uint8_t *codes = s.codes + r * code_bytes;
      expand_tile(w, tile + r, codes, scales, zeros);
      o.codes[r] = w->bit_width == 8 ? bp_codes_at(w, tile + r, 0) : codes;
      o.scales[r] = scales;
      o.zeros[r] = zeros;
    }
    const int64_t block_floats = PANEL_TILES * 256;
    memset(s.sums, 0, (size_t)((block_end - block_begin) * block_floats) * 4);
    for (int64_t begin = 0; begin < w->groups; begin += run_groups) {
      const int64_t end = BP_MIN(w->groups, begin + run_groups);
      for (int64_t block = block_begin; block < block_end; block += PANEL_BLOCKS) {
        const int64_t blocks = BP_MIN(PANEL_BLOCKS, block_end - block);
        for (int64_t b = 0; b < blocks; b++) {
          o.activations[b] = bp_activation_block(x, block + b);
          o.activation_scales[b] = x->scales + (block + b) * x->groups * BLOCK_TOKENS;
          o.negated_sums[b] = x->negated_sums + (block + b) * x->groups * BLOCK_TOKENS;
          o.sums[b] = s.sums + (block + b - block_begin) * block_floats;
        }
        run(blocks, tiles, &o, begin, end);
      }
    }
    for (int64_t block = block_begin; block < block_end; block++) {
      const float *sums = s.sums + (block - block_begin) * block_floats;
      const int64_t tokens = BP_MIN(BLOCK_TOKENS, x->tokens - block * BLOCK_TOKENS);
      for (int64_t t = 0; t < tokens; t++) {
        for (int64_t r = 0; r < tiles; r++) {
          bp512_store(
              y, block * BLOCK_TOKENS + t, tile + r, w->rows,
              _mm512_load_ps(sums + r * 256 + t * 16));
        }
      }
    }
  }
  _tile_release();
}

const bp_kernels bp_kernels_avx512amx = {
    BP_ISA_AVX512AMX,       "avx512amx",   activation_order,
    bp_quantize_avx512vnni, scratch_bytes, multiply,
    bp_multiply_float16_avx512vnni,
};

#pragma clang attribute pop

#endif
