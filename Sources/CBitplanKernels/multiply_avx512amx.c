#if defined(__x86_64__) && defined(__linux__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,"       \
                          "amx-tile,amx-int8"))),                                              \
    apply_to = function)

#include "amx.h"

#pragma STDC FP_CONTRACT OFF

// Integer kernels for AMX: 16 tokens × 16 output features × 64 input features an instruction, in
// exact 32-bit sums. A unit of the packed layout is a row of the right-hand tile as it stands, so
// 8-bit weights are multiplied where they lie; narrower ones are expanded to signed bytes
// u − z (|u − z| ≤ 63; levels of non-linear codes: ≤ 127), which leaves no zero point to correct
// for; so are the planes of binary coding, whose groups have an offset besides. Up to 8 tokens take
// the AVX-512 VNNI kernels.

/// Most tokens that the VNNI kernels take.
#define DECODE_TOKENS 8
/// Tokens of a block: the rows of a tile.
#define BLOCK_TOKENS 16
/// Tiles of output features that meet every block of tokens while it is in L1.
#define PANEL_TILES 2
/// Input features of a run: what is expanded at once stays in L1 with a block of tokens,
/// (2 + 1) tiles · 16 · 512 bytes = 24 KiB.
#define RUN_DEPTH 512
/// Blocks of tokens that share an expansion: the codes of a run, 32 · 16 · 512 bytes = 256 KiB,
/// stay in L2.
#define CHUNK_BLOCKS 32
/// Results so far that stay in L2.
#define SUMS_BYTES (512 << 10)

static bp_activation_order activation_order(int64_t tokens, int32_t group_size) {
  if (tokens <= DECODE_TOKENS) return (bp_activation_order){(int32_t)tokens, 4};
  return (bp_activation_order){BLOCK_TOKENS, group_size < 64 ? group_size : 64};
}

/// Where things lie in scratch memory: the integer sums of two consecutive groups; the codes,
/// scales and zero points of a run of a panel; the results so far, `[tile][block][token][16]`.
typedef struct {
  int32_t products[2 * 256];
  uint8_t codes[PANEL_TILES][RUN_DEPTH * BP_TILE_HEIGHT];
  float scales[PANEL_TILES][RUN_DEPTH / 32 * BP_TILE_HEIGHT];
  int32_t zeros[PANEL_TILES][RUN_DEPTH / 32 * BP_TILE_HEIGHT];
  float offsets[PANEL_TILES][RUN_DEPTH / 32 * BP_TILE_HEIGHT];
  float sums[SUMS_BYTES / 4];
} workspace;

_Static_assert(
    SUMS_BYTES >= PANEL_TILES * CHUNK_BLOCKS * 1024, "the results of a panel fit into memory");

static size_t scratch_bytes(const bp_matrix *w, int64_t tokens) {
  if (tokens <= DECODE_TOKENS) return 0;
  switch (w->family) {
    case BP_FAMILY_PER_ROW:
    case BP_FAMILY_TWO_LEVEL: return bp_row_scratch_bytes_avx512amx(w, tokens);
    default: return sizeof(workspace);
  }
}

/// Codes minus zero points of the groups `[begin, end)` of one tile as signed bytes,
/// `[group][unit][row][4]`.
BP_INLINE void expand_codes(
    const bp_family family, const int32_t bits, const bp_matrix *w, int64_t tile, int64_t begin,
    int64_t end, uint8_t *out) {
  const int32_t low_bits = bp_low_bits(bits), high_bits = bits - low_bits;
  for (int64_t group = begin; group < end; group++) {
    // A zero point in all four bytes of its row.
    __m512i zero = w->zero_points
        ? bp512_zero_points(bits, bp_zero_points_at(w, tile, group))
        : _mm512_set1_epi32(bp_middle(w));
    zero = _mm512_or_si512(zero, _mm512_slli_epi32(zero, 8));
    zero = _mm512_or_si512(zero, _mm512_slli_epi32(zero, 16));
    const uint8_t *low = bp_codes_at(w, tile, group);
    const uint8_t *high = low + 2 * low_bits * w->group_size;
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32) {
      __m512i unit[8];
      bp512_unpack(bits, low, high, unit);
      if (family == BP_FAMILY_NONLINEAR) bp512_look_up(unit);
      BP_UNROLL for (int u = 0; u < 8; u++) {
        _mm512_store_si512(out + 64 * u, _mm512_sub_epi8(unit[u], zero));
      }
      low += 64 * low_bits;
      high += 64 * high_bits;
      out += 512;
    }
  }
}

/// 8-bit codes stay unsigned, since u − 128 … u − 0 has no common signed byte; zero points go
/// beside them.
BP_INLINE void expand_bytes(
    const bp_matrix *w, int64_t tile, int64_t begin, int64_t end, uint8_t *out, int32_t *zeros) {
  memcpy(
      out, bp_codes_at(w, tile, begin), (size_t)((end - begin) * w->group_size * BP_TILE_HEIGHT));
  for (int64_t group = begin; group < end; group++, zeros += BP_TILE_HEIGHT) {
    _mm512_store_si512(
        zeros, w->zero_points ? bp512_zero_points(8, bp_zero_points_at(w, tile, group))
                              : _mm512_set1_epi32(128));
  }
}

static void expand_run(
    const bp_matrix *w, int64_t tile, int64_t begin, int64_t end, uint8_t *codes, float *scales,
    int32_t *zeros, float *offsets) {
  const int binary = w->family == BP_FAMILY_BINARY;
  switch (binary ? -1 : w->family == BP_FAMILY_NONLINEAR ? 0 : w->bit_width) {
    case -1: bp512_expand_binary(w, tile, begin, end, 0, codes, offsets); break;
    case 0: expand_codes(BP_FAMILY_NONLINEAR, 4, w, tile, begin, end, codes); break;
    case 2: expand_codes(BP_FAMILY_INTEGER, 2, w, tile, begin, end, codes); break;
    case 3: expand_codes(BP_FAMILY_INTEGER, 3, w, tile, begin, end, codes); break;
    case 4: expand_codes(BP_FAMILY_INTEGER, 4, w, tile, begin, end, codes); break;
    case 5: expand_codes(BP_FAMILY_INTEGER, 5, w, tile, begin, end, codes); break;
    case 6: expand_codes(BP_FAMILY_INTEGER, 6, w, tile, begin, end, codes); break;
    default: expand_bytes(w, tile, begin, end, codes, zeros); break;
  }
  for (int64_t group = begin; group < end; group++, scales += BP_TILE_HEIGHT) {
    _mm512_store_ps(scales, bp512_group_scales(w, tile, group));
  }
}

/// Asks for the codes that the next panel will expand.
BP_INLINE void prefetch_run(
    const bp_matrix *w, int64_t tile, int64_t tile_end, int64_t begin, int64_t end) {
  for (int64_t r = 0; r < PANEL_TILES && tile + r < tile_end; r++) {
    const uint8_t *codes = bp_codes_at(w, tile + r, begin);
    for (int64_t i = 0; i < (end - begin) * bp_code_bytes(w); i += 64) {
      _mm_prefetch((const char *)(codes + i), _MM_HINT_T1);
    }
  }
}

/// What one call of the innermost kernel works on: one tile of output features, one block of
/// tokens.
typedef struct {
  const int8_t *activations;
  const float *activation_scales;
  const int32_t *negated_sums;
  const uint8_t *codes;
  const float *scales;
  const int32_t *zeros;
  const float *offsets;
  /// `[token][16]`: the results so far.
  float *sums;
  int32_t *products;
} operands;

/// What a group has besides codes and scales.
typedef enum { NOTHING, ZEROS, OFFSETS } group_part;

/// Starts the integer sums of one group, in tile `parity`.
BP_INLINE void multiply_group(
    const group_part part, const int parity, const int steps, const int depth, const operands *o,
    int64_t group) {
  const int8_t *a = o->activations + group * steps * BLOCK_TOKENS * depth;
  const uint8_t *codes = o->codes + group * steps * 16 * depth;
  if (parity == 0) {
    _tile_zero(0);
    BP_UNROLL for (int step = 0; step < steps; step++) {
      _tile_loadd(4, a + step * BLOCK_TOKENS * depth, depth);
      _tile_loadd(6, codes + step * 16 * depth, 64);
      if (part == ZEROS) _tile_dpbsud(0, 4, 6);
      else _tile_dpbssd(0, 4, 6);
    }
  } else {
    _tile_zero(1);
    BP_UNROLL for (int step = 0; step < steps; step++) {
      _tile_loadd(5, a + step * BLOCK_TOKENS * depth, depth);
      _tile_loadd(7, codes + step * 16 * depth, 64);
      if (part == ZEROS) _tile_dpbsud(1, 5, 7);
      else _tile_dpbssd(1, 5, 7);
    }
  }
}

/// Adds the integer sums of one group to the results.
BP_INLINE void accumulate_group(
    const group_part part, const operands *o, int64_t group, const int32_t *products,
    __m512 sums[BLOCK_TOKENS]) {
  const __m512 scale = _mm512_load_ps(o->scales + group * 16);
  const __m512i zero =
      part == ZEROS ? _mm512_load_si512(o->zeros + group * 16) : _mm512_setzero_si512();
  const __m512 offset =
      part == OFFSETS ? _mm512_load_ps(o->offsets + group * 16) : _mm512_setzero_ps();
  const float *activation_scales = o->activation_scales + group * BLOCK_TOKENS;
  const int32_t *negated_sums = o->negated_sums + group * BLOCK_TOKENS;
  BP_UNROLL for (int t = 0; t < BLOCK_TOKENS; t++) {
    __m512i sum = _mm512_load_si512(products + 16 * t);
    if (part == ZEROS) sum = _mm512_dpwssd_epi32(sum, zero, _mm512_set1_epi32(negated_sums[t]));
    const __m512 product_scale = _mm512_mul_ps(scale, _mm512_set1_ps(activation_scales[t]));
    sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), product_scale, sums[t]);
    if (part == OFFSETS) {
      sums[t] = bp512_add_offset(sums[t], offset, negated_sums[t], activation_scales[t]);
    }
  }
}

/// All groups of a run. While the matrix unit works on one group, the sums of the one before
/// are stored and those of the one before that are added by the vector units.
BP_INLINE void multiply_run(
    const group_part part, const int steps, const int depth, const operands *o, int64_t end) {
  __m512 sums[BLOCK_TOKENS];
  BP_UNROLL for (int t = 0; t < BLOCK_TOKENS; t++) sums[t] = _mm512_load_ps(o->sums + 16 * t);
  int32_t *even = o->products, *odd = o->products + 256;
  int64_t group = 0;
  multiply_group(part, 0, steps, depth, o, group);
  for (; group + 2 < end; group += 2) {
    multiply_group(part, 1, steps, depth, o, group + 1);
    _tile_stored(0, even, 64);
    if (group > 0) accumulate_group(part, o, group - 1, odd, sums);
    multiply_group(part, 0, steps, depth, o, group + 2);
    _tile_stored(1, odd, 64);
    accumulate_group(part, o, group, even, sums);
  }
  if (group > 0) accumulate_group(part, o, group - 1, odd, sums);
  _tile_stored(0, even, 64);
  if (group + 1 < end) {
    multiply_group(part, 1, steps, depth, o, group + 1);
    _tile_stored(1, odd, 64);
  }
  accumulate_group(part, o, group, even, sums);
  if (group + 1 < end) accumulate_group(part, o, group + 1, odd, sums);
  BP_UNROLL for (int t = 0; t < BLOCK_TOKENS; t++) _mm512_store_ps(o->sums + 16 * t, sums[t]);
}

#define RUN(name, part, steps, depth)                                                          \
  static __attribute__((noinline)) void name(const operands *o, int64_t groups) {              \
    multiply_run(part, steps, depth, o, groups);                                               \
  }

RUN(run_signed_32, NOTHING, 1, 32)
RUN(run_signed_64, NOTHING, 1, 64)
RUN(run_signed_128, NOTHING, 2, 64)
RUN(run_zeros_32, ZEROS, 1, 32)
RUN(run_zeros_64, ZEROS, 1, 64)
RUN(run_zeros_128, ZEROS, 2, 64)
RUN(run_offsets_32, OFFSETS, 1, 32)
RUN(run_offsets_64, OFFSETS, 1, 64)
RUN(run_offsets_128, OFFSETS, 2, 64)

typedef void (*run_function)(const operands *, int64_t groups);

static run_function run_for(const bp_matrix *w) {
  static const run_function runs[][3] = {
      [NOTHING] = {run_signed_32, run_signed_64, run_signed_128},
      [ZEROS] = {run_zeros_32, run_zeros_64, run_zeros_128},
      [OFFSETS] = {run_offsets_32, run_offsets_64, run_offsets_128},
  };
  const group_part part = w->family == BP_FAMILY_BINARY ? OFFSETS
      : w->bit_width == 8                               ? ZEROS
                                                        : NOTHING;
  return runs[part][w->group_size / 64];
}

/// Some tiles of output features times the blocks `[block, block_end)`, all in scratch memory.
static void multiply_chunk(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, workspace *s) {
  const run_function run = run_for(w);
  const int64_t blocks = block_end - block_begin;
  const int64_t run_groups = RUN_DEPTH / w->group_size;
  memset(s->sums, 0, (size_t)((tile_end - tile_begin) * blocks) * 1024);
  for (int64_t begin = 0; begin < w->groups; begin += run_groups) {
    const int64_t end = BP_MIN(w->groups, begin + run_groups);
    for (int64_t tile = tile_begin; tile < tile_end; tile += PANEL_TILES) {
      const int64_t tiles = BP_MIN(PANEL_TILES, tile_end - tile);
      for (int64_t r = 0; r < tiles; r++) {
        expand_run(
            w, tile + r, begin, end, s->codes[r], s->scales[r], s->zeros[r], s->offsets[r]);
      }
      prefetch_run(w, tile + PANEL_TILES, tile_end, begin, end);
      for (int64_t block = block_begin; block < block_end; block++) {
        const int64_t first = (block * x->groups + begin) * BLOCK_TOKENS;
        for (int64_t r = 0; r < tiles; r++) {
          const int64_t result = (tile + r - tile_begin) * blocks + block - block_begin;
          const operands o = {
              x->codes + first * x->group_size, x->scales + first, x->negated_sums + first,
              s->codes[r], s->scales[r], s->zeros[r], s->offsets[r], s->sums + result * 256,
              s->products,
          };
          run(&o, end - begin);
        }
      }
    }
  }
  for (int64_t block = block_begin; block < block_end; block++) {
    const int64_t tokens = BP_MIN(BLOCK_TOKENS, x->tokens - block * BLOCK_TOKENS);
    for (int64_t t = 0; t < tokens; t++) {
      for (int64_t tile = tile_begin; tile < tile_end; tile++) {
        const int64_t result = (tile - tile_begin) * blocks + block - block_begin;
        bp512_store(
            y, block * BLOCK_TOKENS + t, tile, w->rows,
            _mm512_load_ps(s->sums + result * 256 + t * 16));
      }
    }
  }
}

static void multiply(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  if (x->tokens <= DECODE_TOKENS) {
    bp_multiply_avx512vnni(
        w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
    return;
  }
  switch (w->family) {
    case BP_FAMILY_PER_ROW:
    case BP_FAMILY_TWO_LEVEL:
      bp_multiply_row_avx512amx(
          w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
      return;
    default: break;
  }
  bp_amx_configure(w->group_size);
  for (int64_t block = block_begin; block < block_end; block += CHUNK_BLOCKS) {
    const int64_t last_block = BP_MIN(block_end, block + CHUNK_BLOCKS);
    const int64_t step = SUMS_BYTES / 1024 / (last_block - block) / PANEL_TILES * PANEL_TILES;
    for (int64_t tile = tile_begin; tile < tile_end; tile += step) {
      multiply_chunk(
          w, x, y, tile, BP_MIN(tile_end, tile + step), block, last_block, scratch);
    }
  }
  _tile_release();
}

const bp_kernels bp_kernels_avx512amx = {
    BP_ISA_AVX512AMX,       "avx512amx",   activation_order,
    bp_quantize_avx512vnni, scratch_bytes, multiply,
    bp_multiply_float16_avx512vnni, BP_ALL_FAMILIES, bp_quantize_tokens_avx512vnni,
    bp_multiply_lookup_avx512vbmi,
};

#pragma clang attribute pop

#endif
