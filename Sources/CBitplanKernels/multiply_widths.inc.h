// One function for every family and width from the including file's `multiply_width`, so that both
// are constants in it, and which of them multiplies some weights.

#define MULTIPLY_WIDTH(name, family, bits)                                                     \
  static void name(                                                                            \
      const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,     \
      int64_t tile_end, int64_t block_begin, int64_t block_end, uint8_t *scratch) {            \
    multiply_width(                                                                            \
        family, bits, w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);         \
  }

MULTIPLY_WIDTH(multiply_2, BP_FAMILY_INTEGER, 2)
MULTIPLY_WIDTH(multiply_3, BP_FAMILY_INTEGER, 3)
MULTIPLY_WIDTH(multiply_4, BP_FAMILY_INTEGER, 4)
MULTIPLY_WIDTH(multiply_5, BP_FAMILY_INTEGER, 5)
MULTIPLY_WIDTH(multiply_6, BP_FAMILY_INTEGER, 6)
MULTIPLY_WIDTH(multiply_8, BP_FAMILY_INTEGER, 8)
MULTIPLY_WIDTH(multiply_nonlinear, BP_FAMILY_NONLINEAR, 4)
MULTIPLY_WIDTH(multiply_binary_1, BP_FAMILY_BINARY, 1)
MULTIPLY_WIDTH(multiply_binary_2, BP_FAMILY_BINARY, 2)
MULTIPLY_WIDTH(multiply_binary_3, BP_FAMILY_BINARY, 3)
MULTIPLY_WIDTH(multiply_binary_4, BP_FAMILY_BINARY, 4)

typedef void (*multiply_function)(
    const bp_matrix *, const bp_activations *, const bp_output *, int64_t, int64_t, int64_t,
    int64_t, uint8_t *);

static multiply_function multiply_for(const bp_matrix *w) {
  if (w->family == BP_FAMILY_NONLINEAR) return multiply_nonlinear;
  const int binary = w->family == BP_FAMILY_BINARY;
  switch (w->bit_width) {
    case 1: return multiply_binary_1;
    case 2: return binary ? multiply_binary_2 : multiply_2;
    case 3: return binary ? multiply_binary_3 : multiply_3;
    case 4: return binary ? multiply_binary_4 : multiply_4;
    case 5: return multiply_5;
    case 6: return multiply_6;
    default: return multiply_8;
  }
}
