// Compares the kernels of every instruction set that this machine, or an emulator, can run with
// the definition, bit for bit, every buffer against forbidden pages. Plain C on the kernel library
// alone, so that it can be built for any CPU (see Scripts/test-arm).
//
//   kernel-program [--expect SET,SET…]
//
// --expect: the instruction sets that must be found, exactly and in order. The last line printed
// ends in a number for all results; it must be the same on every machine.
// Exit: 0 all equal, 1 not, 2 wrong usage or no memory.

#include "broken.h"
#include "matrix_case.h"
#include "support.h"
#include "vector_cases.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const case_shape formats[] = {
    {.bit_width = 2, .is_affine = 1},  {.bit_width = 3, .is_affine = 1},
    {.bit_width = 4, .is_affine = 1},  {.bit_width = 5, .is_affine = 1},
    {.bit_width = 6, .is_affine = 1},  {.bit_width = 8, .is_affine = 1},
    {.bit_width = 8, .is_affine = 0},  {.bit_width = 16, .is_affine = 0},
    {.bit_width = 4, .family = BP_FAMILY_NONLINEAR},
    {.bit_width = 4, .family = BP_FAMILY_BLOCK_FLOAT},
    {.bit_width = 6, .family = BP_FAMILY_BLOCK_FLOAT},
    {.bit_width = 8, .family = BP_FAMILY_BLOCK_FLOAT},
    {.bit_width = 8, .family = BP_FAMILY_PER_ROW},
    {.bit_width = 4, .family = BP_FAMILY_TWO_LEVEL},
    {.bit_width = 1, .family = BP_FAMILY_BINARY},
    {.bit_width = 2, .family = BP_FAMILY_BINARY},
    {.bit_width = 3, .family = BP_FAMILY_BINARY},
    {.bit_width = 4, .family = BP_FAMILY_BINARY},
};
static const int64_t shapes[][2] = {{1, 1}, {7, 33}, {16, 128}, {17, 96}, {50, 300}, {90, 160}};
static const int64_t token_counts[] = {1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 16, 17, 30};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/// Checks one case on every supported set.
static void check(case_shape shape, uint64_t seed) {
  matrix_case c = make_matrix_case(shape, seed);
  for (int isa = 0; isa < BP_ISA_COUNT; isa++) {
    const bp_kernels *set = bp_kernels_for((bp_isa)isa);
    if (!set) continue;
    bp_kernels without_lookup = *set;
    without_lookup.multiply_lookup = NULL;
    check_matrix_case(&without_lookup, &c, BEFORE_GUARD, 1);
    check_matrix_case(&without_lookup, &c, AFTER_GUARD, 2);
    if (set->multiply_lookup && shape.family == BP_FAMILY_BINARY && bp_lookup_supported()) {
      check_matrix_case(set, &c, BEFORE_GUARD, 1);
      check_matrix_case(set, &c, AFTER_GUARD, 2);
    }
  }
  free_matrix_case(&c);
}

static void check_matrices(void) {
  uint64_t seed = 1;
  for (size_t f = 0; f < COUNT(formats); f++) {
    for (int32_t group_size = 128; group_size >= 32; group_size /= 2) {
      case_shape shape = formats[f];
      shape.group_size = group_size;
      if (shape.bit_width == 16) {
        shape.group_size = 1;
        if (group_size != 128) continue;
      }
      for (size_t i = 0; i < COUNT(shapes); i++) {
        for (size_t t = 0; t < COUNT(token_counts); t++) {
          shape.rows = shapes[i][0];
          shape.input_features = shapes[i][1];
          shape.tokens = token_counts[t];
          shape.pattern = CODES_RANDOM;
          shape.row_map = (int)(seed % 3);
          check(shape, seed++);
          if (i != 3 || shape.bit_width == 16) continue;
          for (code_pattern p = CODES_TOP; p <= CODES_NOT_FINITE; p++) {
            shape.pattern = p;
            shape.input_features = 2 * group_size;
            check(shape, seed++);
          }
        }
      }
    }
  }
}

int main(int count, char **arguments) {
  const char *expected = NULL;
  if (count == 3 && strcmp(arguments[1], "--expect") == 0) {
    expected = arguments[2];
  } else if (count != 1) {
    fprintf(stderr, "usage: %s [--expect SET,SET…]\n", arguments[0]);
    return 2;
  }
  char found[256] = "";
  for (int isa = 0; isa < BP_ISA_COUNT; isa++) {
    const bp_kernels *set = bp_kernels_for((bp_isa)isa);
    if ((set != NULL) != (bp_isa_supported((bp_isa)isa) != 0)
        || (set != NULL) != (bp_vector_operations_for((bp_isa)isa) != NULL)
        || (set && set->isa != (bp_isa)isa)) {
      fprintf(stderr, "instruction set %d: the tables disagree\n", isa);
      failure_count++;
    }
    if (!set) continue;
    if (found[0]) strcat(found, ",");
    strcat(found, set->name);
  }
  if (expected && strcmp(expected, found) != 0) {
    fprintf(stderr, "instruction sets: expected %s, found %s\n", expected, found);
    failure_count++;
  }
  check_matrices();
  check_vector_operations();
  const int unnoticed = count_unnoticed();
  printf(
      "%s: %" PRId64 " comparisons, %" PRId64 " failed, %d wrong kernels not noticed, results %016" PRIx64
      "\n",
      found, comparison_count, failure_count, unnoticed, results_hash);
  return failure_count == 0 && unnoticed == 0 ? 0 : 1;
}
