#if defined(__x86_64__) && defined(__linux__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,"       \
                          "amx-tile,amx-int8"))),                                              \
    apply_to = function)

#include "amx.h"

#pragma STDC FP_CONTRACT OFF

// Weights with one scale a row, for AMX: 32 tokens × 32 output features stay in four tiles of
// integer sums while the input features pass by, so one load of a tile serves two products, and
// floats appear only when the row is complete. Up to 8 tokens take the AVX-512 VNNI kernels.

/// Tokens of a block, as in multiply_avx512amx.c, whose activation order this file shares.
#define BLOCK_TOKENS 16
/// Tiles of output features and blocks of tokens that are multiplied together.
#define PAIR 2
/// Input features of a run: with activations of two blocks, (2 + 2) · 16 · 512 bytes = 32 KiB are
/// in L1.
#define RUN_DEPTH 512
/// Blocks of tokens that share an expansion, as many as leave their sums in L2.
#define CHUNK_BLOCKS 32
/// Input features of one tile.
#define STEP 64

/// Where things lie in scratch memory: the bytes of a run; the sums so far, `[block][tile][16][16]`.
typedef struct {
  int8_t codes[PAIR][RUN_DEPTH * BP_TILE_HEIGHT];
  int32_t sums[CHUNK_BLOCKS][PAIR][256];
} workspace;

size_t bp_row_scratch_bytes_avx512amx(const bp_matrix *w, int64_t tokens) {
  (void)w;
  (void)tokens;
  return sizeof(workspace);
}

/// The groups `[begin, end)` of one tile as signed bytes, `[unit][row][4]`.
static void expand_run(
    const bp_matrix *w, int64_t tile, int64_t begin, int64_t end, int8_t *out) {
  const uint8_t *codes = bp_codes_at(w, tile, begin);
  if (w->family == BP_FAMILY_PER_ROW) {
    const __m512i middle = _mm512_set1_epi8((char)0x80);
    for (int64_t i = 0; i < (end - begin) * w->group_size * BP_TILE_HEIGHT; i += 64) {
      _mm512_store_si512(out + i, _mm512_xor_si512(bp512_load(codes + i), middle));
    }
    return;
  }
  for (int64_t group = begin; group < end; group++) {
    const bp512_two_level level = bp512_read_two_level(bp_two_level_at(w, tile, group), 0);
    for (int32_t chunk = 0; chunk < w->group_size; chunk += 32, codes += 256, out += 512) {
      __m512i unit[8];
      bp512_unpack(4, codes, NULL, unit);
      bp512_apply_two_level(&level, unit);
      BP_UNROLL for (int u = 0; u < 8; u++) _mm512_store_si512(out + 64 * u, unit[u]);
    }
  }
}

/// Asks for the codes that the next pair of tiles will expand.
BP_INLINE void prefetch_run(
    const bp_matrix *w, int64_t tile, int64_t tile_end, int64_t begin, int64_t end) {
  for (int64_t r = 0; r < PAIR && tile + r < tile_end; r++) {
    const uint8_t *codes = bp_codes_at(w, tile + r, begin);
    for (int64_t i = 0; i < (end - begin) * bp_code_bytes(w); i += 64) {
      _mm_prefetch((const char *)(codes + i), _MM_HINT_T1);
    }
  }
}

/// Adds the products of `steps` steps to the sums of two tiles and one or two blocks of tokens,
/// whose activations and sums lie `block_bytes` and `PAIR * 256` elements apart.
BP_INLINE void multiply_steps(
    const int blocks, const int8_t *a, int64_t block_bytes, workspace *s, int64_t block,
    int64_t steps, const int first) {
  int32_t *sums = s->sums[block][0];
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    if (blocks == 2) {
      _tile_zero(2);
      _tile_zero(3);
    }
  } else {
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, sums + 256, 64);
    if (blocks == 2) {
      _tile_loadd(2, sums + 512, 64);
      _tile_loadd(3, sums + 768, 64);
    }
  }
  for (int64_t step = 0; step < steps; step++) {
    _tile_loadd(6, s->codes[0] + step * STEP * BP_TILE_HEIGHT, 64);
    _tile_loadd(4, a + step * STEP * BLOCK_TOKENS, STEP);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, s->codes[1] + step * STEP * BP_TILE_HEIGHT, 64);
    _tile_dpbssd(1, 4, 7);
    if (blocks == 2) {
      _tile_loadd(5, a + block_bytes + step * STEP * BLOCK_TOKENS, STEP);
      _tile_dpbssd(2, 5, 6);
      _tile_dpbssd(3, 5, 7);
    }
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + 256, 64);
  if (blocks == 2) {
    _tile_stored(2, sums + 512, 64);
    _tile_stored(3, sums + 768, 64);
  }
}

/// Writes the results of some tiles for some blocks.
static void store_results(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile,
    int64_t tiles, int64_t block_begin, int64_t block_end, const workspace *s) {
  for (int64_t r = 0; r < tiles; r++) {
    const __m512 weight_scale = bp512_scales(bp_row_scales_at(w, tile + r));
    const int64_t last = BP_MIN(block_end * BLOCK_TOKENS, x->tokens);
    for (int64_t token = block_begin * BLOCK_TOKENS; token < last; token++) {
      const int32_t *sums =
          s->sums[token / BLOCK_TOKENS - block_begin][r] + token % BLOCK_TOKENS * 16;
      const __m512 scale = _mm512_mul_ps(weight_scale, _mm512_set1_ps(x->scales[token]));
      bp512_store(
          y, token, tile + r, w->rows,
          _mm512_fmadd_ps(
              _mm512_cvtepi32_ps(bp512_load(sums)), scale, _mm512_setzero_ps()));
    }
  }
}

void bp_multiply_row_avx512amx(
    const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,
    int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch) {
  assert(x->block == BLOCK_TOKENS && x->depth == STEP);
  workspace *s = scratch;
  bp_amx_configure(STEP);
  const int64_t run_groups = RUN_DEPTH / w->group_size;
  const int64_t block_bytes = x->groups * x->group_size * BLOCK_TOKENS;
  for (int64_t chunk = block_begin; chunk < block_end; chunk += CHUNK_BLOCKS) {
    const int64_t chunk_end = BP_MIN(block_end, chunk + CHUNK_BLOCKS);
    for (int64_t tile = tile_begin; tile < tile_end; tile += PAIR) {
      // A single last tile is multiplied beside stale bytes, whose sums go nowhere.
      const int64_t tiles = BP_MIN(PAIR, tile_end - tile);
      for (int64_t begin = 0; begin < w->groups; begin += run_groups) {
        const int64_t end = BP_MIN(w->groups, begin + run_groups);
        for (int64_t r = 0; r < tiles; r++) expand_run(w, tile + r, begin, end, s->codes[r]);
        prefetch_run(w, tile + PAIR, tile_end, begin, end);
        const int64_t steps = (end - begin) * w->group_size / STEP;
        const int8_t *a = x->codes + begin * x->group_size * BLOCK_TOKENS;
        for (int64_t block = chunk; block < chunk_end; block += 2) {
          const int8_t *block_codes = a + block * block_bytes;
          if (block + 1 < chunk_end) {
            if (begin == 0) multiply_steps(2, block_codes, block_bytes, s, block - chunk, steps, 1);
            else multiply_steps(2, block_codes, block_bytes, s, block - chunk, steps, 0);
          } else {
            if (begin == 0) multiply_steps(1, block_codes, block_bytes, s, block - chunk, steps, 1);
            else multiply_steps(1, block_codes, block_bytes, s, block - chunk, steps, 0);
          }
        }
      }
      store_results(w, x, y, tile, tiles, chunk, chunk_end, s);
    }
  }
  _tile_release();
}

#pragma clang attribute pop

#endif
