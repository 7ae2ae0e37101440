#if defined(__x86_64__) && defined(__linux__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,"       \
                          "amx-tile,amx-int8"))),                                              \
    apply_to = function)

#include "amx.h"

#pragma STDC FP_CONTRACT OFF

// Binary coding for AMX: every bit of a group is a tile of bytes ±1, so the sum of its products is
// what the definition asks for. Up to 8 tokens take the AVX-512 VNNI kernels.

/// Tokens of a block, as in multiply_avx512amx.c, whose activation order this file shares.
#define BLOCK_TOKENS 16
/// Input features of a run: expanded once for all blocks of tokens of a call, in L2.
#define RUN_DEPTH 512
/// Blocks of tokens that share an expansion.
#define CHUNK_BLOCKS 32
/// Input features of one tile.
#define STEP 64
/// Widest codes.
#define MOST_BITS 4

/// Where things lie in scratch memory: integer sums of two bits; the bytes of a run, `[group][bit]`;
/// scales, `[group][bits and offset][16]`; results so far.
typedef struct {
  int32_t products[2][256];
  int8_t codes[MOST_BITS * RUN_DEPTH * BP_TILE_HEIGHT];
  float scales[RUN_DEPTH / 32 * (MOST_BITS + 1) * BP_TILE_HEIGHT];
  float sums[CHUNK_BLOCKS][256];
} workspace;

size_t bp_binary_scratch_bytes_avx512amx(const bp_matrix *w, int64_t tokens) {
  (void)w;
  (void)tokens;
  return sizeof(workspace);
}

/// The groups `[begin, end)` of one tile.
static void expand_run(
    const bp_matrix *w, int64_t tile, int64_t begin, int64_t end, workspace *s) {
  int8_t *out = s->codes;
  float *scales = s->scales;
  const __m512i minus_one = _mm512_set1_epi8(-1), two = _mm512_set1_epi8(2);
  for (int64_t group = begin; group < end; group++) {
    const uint8_t *codes = bp_codes_at(w, tile, group);
    const uint16_t *group_scales = bp_binary_scales_at(w, tile, group);
    for (int32_t chunk = 0; chunk < w->bit_width * w->group_size; chunk += 32) {
      const __m512i bytes = bp512_load(codes);
      BP_UNROLL for (int u = 0; u < 8; u++) {
        const __mmask64 ones = _mm512_test_epi8_mask(bytes, _mm512_set1_epi8((char)(1 << u)));
        _mm512_store_si512(out + 64 * u, _mm512_mask_add_epi8(minus_one, ones, minus_one, two));
      }
      codes += 64;
      out += 512;
    }
    for (int32_t bit = 0; bit < w->bit_width; bit++, scales += BP_TILE_HEIGHT) {
      _mm512_store_ps(scales, bp512_scales(group_scales + bit * BP_TILE_HEIGHT));
    }
    _mm512_store_ps(scales, bp512_scales(bp_offsets_at(w, tile, group)));
    scales += BP_TILE_HEIGHT;
  }
}

/// Adds integer sums, or those of `negated` where there are none, to the results of 16 tokens.
BP_INLINE void accumulate(
    const int32_t *products, const int32_t *negated_sums, const float *weight_scales,
    const float *activation_scales, __m512 sums[BLOCK_TOKENS]) {
  const __m512 weight_scale = _mm512_load_ps(weight_scales);
  BP_UNROLL for (int t = 0; t < BLOCK_TOKENS; t++) {
    const __m512i d = products ? _mm512_load_si512(products + 16 * t)
                               : _mm512_set1_epi32(-negated_sums[t]);
    const __m512 scale = _mm512_mul_ps(weight_scale, _mm512_set1_ps(activation_scales[t]));
    sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d), scale, sums[t]);
  }
}

/// The groups of a run for one block of tokens.
static void multiply_run(
    const bp_matrix *w, const bp_activations *x, int64_t block, int64_t begin, int64_t end,
    workspace *s, float *results) {
  __m512 sums[BLOCK_TOKENS];
  BP_UNROLL for (int t = 0; t < BLOCK_TOKENS; t++) sums[t] = _mm512_load_ps(results + 16 * t);
  const int8_t *codes = s->codes;
  const float *scales = s->scales;
  const int64_t steps = w->group_size / STEP;
  for (int64_t group = begin; group < end; group++) {
    const int64_t index = (block * x->groups + group) * BLOCK_TOKENS;
    const int8_t *a = x->codes + index * x->group_size;
    for (int32_t bit = 0; bit < w->bit_width; bit++) {
      _tile_zero(0);
      for (int64_t step = 0; step < steps; step++, codes += STEP * BP_TILE_HEIGHT) {
        _tile_loadd(4, a + step * STEP * BLOCK_TOKENS, STEP);
        _tile_loadd(6, codes, 64);
        _tile_dpbssd(0, 4, 6);
      }
      _tile_stored(0, s->products[bit % 2], 64);
      accumulate(s->products[bit % 2], NULL, scales, x->scales + index, sums);
      scales += BP_TILE_HEIGHT;
    }
    accumulate(NULL, x->negated_sums + index, scales, x->scales + index, sums);
    scales += BP_TILE_HEIGHT;
  }
  BP_UNROLL for (int t = 0; t < BLOCK_TOKENS; t++) _mm512_store_ps(results + 16 * t, sums[t]);
}

void bp_multiply_binary_avx512amx(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  assert(x->block == BLOCK_TOKENS && x->depth == STEP && w->group_size % STEP == 0);
  workspace *s = scratch;
  bp_amx_configure(STEP);
  const int64_t run_groups = RUN_DEPTH / w->group_size;
  for (int64_t chunk = block_begin; chunk < block_end; chunk += CHUNK_BLOCKS) {
    const int64_t chunk_end = BP_MIN(block_end, chunk + CHUNK_BLOCKS);
    for (int64_t tile = tile_begin; tile < tile_end; tile++) {
      memset(s->sums, 0, sizeof s->sums);
      for (int64_t begin = 0; begin < w->groups; begin += run_groups) {
        const int64_t end = BP_MIN(w->groups, begin + run_groups);
        expand_run(w, tile, begin, end, s);
        for (int64_t block = chunk; block < chunk_end; block++) {
          multiply_run(w, x, block, begin, end, s, s->sums[block - chunk]);
        }
      }
      for (int64_t block = chunk; block < chunk_end; block++) {
        const int64_t tokens = BP_MIN(BLOCK_TOKENS, x->tokens - block * BLOCK_TOKENS);
        for (int64_t t = 0; t < tokens; t++) {
          bp512_store(
              y, block * BLOCK_TOKENS + t, tile, w->rows,
              _mm512_load_ps(s->sums[block - chunk] + 16 * t));
        }
      }
    }
  }
  _tile_release();
}

#pragma clang attribute pop

#endif
