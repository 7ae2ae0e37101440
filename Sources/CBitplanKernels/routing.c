#include "internal.h"

// Calls the kernels of an instruction set, or the scalar ones for what it lacks.

static int takes(const bp_kernels *kernels, const bp_matrix *w) {
  return w->family == BP_FAMILY_INTEGER || (kernels->families & BP_FAMILY_BIT(w->family)) != 0;
}

/// With more bits tables would be looked up once a bit, but one product does for all of them.
static int looks_up(const bp_kernels *kernels, const bp_matrix *w, int64_t tokens) {
  return w->family == BP_FAMILY_BINARY && w->bit_width == 1 && tokens == 1
      && kernels->multiply_lookup != NULL;
}

int bp_lookup_supported(void) {
#if defined(__x86_64__)
  return bp_isa_supported(BP_ISA_AVX512VNNI) && __builtin_cpu_supports("avx512vbmi");
#else
  return 0;
#endif
}

void bp_quantize(
    const bp_kernels *kernels, const float *x, int64_t stride, int64_t input_features,
    const bp_activations *out, int64_t block_begin, int64_t block_end) {
  if (!out->per_token) {
    kernels->quantize(x, stride, input_features, out, block_begin, block_end);
  } else if (kernels->quantize_tokens) {
    kernels->quantize_tokens(x, stride, input_features, out, block_begin, block_end);
  } else {
    bp_quantize_tokens_scalar(x, stride, input_features, out, block_begin, block_end);
  }
}

size_t bp_scratch_bytes(const bp_kernels *kernels, const bp_matrix *w, int64_t tokens) {
  if (looks_up(kernels, w, tokens)) {
    return (size_t)(w->groups * w->group_size * BP_LOOKUP_BYTES);
  }
  return takes(kernels, w) ? kernels->scratch_bytes(w, tokens) : 0;
}

void bp_multiply(
    const bp_kernels *kernels, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile_begin, int64_t tile_end, int64_t block_begin, int64_t block_end,
    void *scratch) {
  if (looks_up(kernels, w, x->tokens)) {
    kernels->multiply_lookup(w, x, y, tile_begin, tile_end, scratch);
  } else if (takes(kernels, w)) {
    kernels->multiply(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  } else {
    bp_multiply_scalar(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  }
}
