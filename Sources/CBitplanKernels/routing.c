#include "internal.h"

// Calls the kernels of an instruction set, or the scalar ones for what it lacks.

static int takes(const bp_kernels *kernels, const bp_matrix *w) {
  return w->family == BP_FAMILY_INTEGER || (kernels->families & BP_FAMILY_BIT(w->family)) != 0;
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
  return takes(kernels, w) ? kernels->scratch_bytes(w, tokens) : 0;
}

void bp_multiply(
    const bp_kernels *kernels, const bp_matrix *w, const bp_activations *x, const bp_output *y,
    int64_t tile_begin, int64_t tile_end, int64_t block_begin, int64_t block_end,
    void *scratch) {
  if (takes(kernels, w)) {
    kernels->multiply(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  } else {
    bp_multiply_scalar(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  }
}
