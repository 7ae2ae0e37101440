#define _GNU_SOURCE

#include "broken.h"

#include "matrix_case.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// Kernels that are wrong in one small way each: a check that passes with them checks nothing.

#define MULTIPLY_PARAMETERS                                                                    \
  const bp_matrix *w, const bp_activations *x, const bp_output *y, int64_t tile_begin,         \
      int64_t tile_end, int64_t block_begin, int64_t block_end, void *scratch

static const bp_kernels *right(void) { return bp_kernels_for(BP_ISA_SCALAR); }

static void multiply_right(MULTIPLY_PARAMETERS) {
  right()->multiply(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
}

/// The last bit of one result.
static void multiply_one_bit(MULTIPLY_PARAMETERS) {
  multiply_right(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  const int64_t place = y->row_map ? (int64_t)y->row_map[w->rows - 1] : w->rows - 1;
  uint32_t bits;
  memcpy(&bits, y->values + place, 4);
  bits ^= 1;
  memcpy(y->values + place, &bits, 4);
}

/// Zero points of symmetric weights everywhere.
static void multiply_symmetric(MULTIPLY_PARAMETERS) {
  bp_matrix symmetric = *w;
  symmetric.zero_points = NULL;
  multiply_right(&symmetric, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
}

/// Binary weights with another third section: the first group's as `change` leaves it.
static void multiply_changed(void (*change)(uint16_t *offsets), MULTIPLY_PARAMETERS) {
  const int64_t tiles = (w->rows + BP_TILE_HEIGHT - 1) / BP_TILE_HEIGHT;
  const size_t bytes =
      (size_t)(tiles * w->groups * (2 + w->bit_width) * BP_TILE_HEIGHT);
  uint16_t *offsets = allocate(bytes);
  memcpy(offsets, w->offsets, bytes);
  change(offsets);
  bp_matrix other = *w;
  other.offsets = offsets;
  multiply_right(&other, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  free(offsets);
}

static void drop_offset(uint16_t *offsets) { offsets[0] = 0; }

static void multiply_without_offset(MULTIPLY_PARAMETERS) {
  multiply_changed(
      drop_offset, w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
}

static void raise_plane_weight(uint16_t *offsets) { offsets[BP_TILE_HEIGHT] ^= 1; }

/// One plane weight off by one.
static void multiply_other_plane_weight(MULTIPLY_PARAMETERS) {
  multiply_changed(
      raise_plane_weight, w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
}

/// The last tile is left out.
static void multiply_fewer_tiles(MULTIPLY_PARAMETERS) {
  multiply_right(w, x, y, tile_begin, tile_end - 1, block_begin, block_end, scratch);
}

/// Results past the last row.
static void multiply_past_rows(MULTIPLY_PARAMETERS) {
  multiply_right(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
  y->values[w->rows] = 0;
}

/// Codes after the last one are read.
static void multiply_past_codes(MULTIPLY_PARAMETERS) {
  const int64_t tiles = (w->rows + BP_TILE_HEIGHT - 1) / BP_TILE_HEIGHT;
  const volatile uint8_t *end =
      w->codes + tiles * w->groups * 2 * w->bit_width * w->group_size;
  (void)*end;
  multiply_right(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
}

/// Codes before the first one are read.
static void multiply_before_codes(MULTIPLY_PARAMETERS) {
  (void)*((const volatile uint8_t *)w->codes - 1);
  multiply_right(w, x, y, tile_begin, tile_end, block_begin, block_end, scratch);
}

/// One code of one token is off by one.
static void quantize_one_code(
    const float *x, int64_t stride, int64_t input_features, const bp_activations *out,
    int64_t block_begin, int64_t block_end) {
  right()->quantize(x, stride, input_features, out, block_begin, block_end);
  out->codes[0] += out->codes[0] > 0 ? -1 : 1;
}

/// Whether a child process that runs the checks with `set` dies.
static int dies(const bp_kernels *set, const matrix_case *c, placement where) {
  fflush(NULL);
  const pid_t child = fork();
  if (child < 0) {
    perror("no process");
    exit(2);
  }
  if (child == 0) {
    // What a sanitizer says about the expected fault is of no interest.
    const int null = open("/dev/null", O_WRONLY);
    if (null >= 0) dup2(null, STDERR_FILENO);
    check_matrix_case(set, c, where, 1);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int count_unnoticed(void) {
  const case_shape shape = {
      .bit_width = 5, .group_size = 32, .is_affine = 1, .rows = 23, .input_features = 70,
      .tokens = 3,
  };
  const case_shape binary_shape = {
      .bit_width = 3, .group_size = 128, .family = BP_FAMILY_BINARY, .rows = 23,
      .input_features = 200, .tokens = 3,
  };
  const uint64_t hash = results_hash;
  matrix_case c = make_matrix_case(shape, 99), binary = make_matrix_case(binary_shape, 99);
  results_hash = hash;
  int unnoticed = 0;
  const struct {
    const char *name;
    bp_kernels kernels;
    int is_binary;
  } wrong[] = {
      {"one bit", {.multiply = multiply_one_bit}, 0},
      {"no zero points", {.multiply = multiply_symmetric}, 0},
      {"a tile left out", {.multiply = multiply_fewer_tiles}, 0},
      {"a write past the rows", {.multiply = multiply_past_rows}, 0},
      {"one activation", {.multiply = multiply_right, .quantize = quantize_one_code}, 0},
      {"an offset", {.multiply = multiply_without_offset}, 1},
      {"a plane weight", {.multiply = multiply_other_plane_weight}, 1},
  };
  const int64_t comparisons = comparison_count, failures = failure_count;
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    bp_kernels set = *right();
    set.name = wrong[i].name;
    set.multiply = wrong[i].kernels.multiply;
    if (wrong[i].kernels.quantize) set.quantize = wrong[i].kernels.quantize;
    failure_count = 0;
    prints_failures = 0;
    check_matrix_case(&set, wrong[i].is_binary ? &binary : &c, AFTER_GUARD, 1);
    prints_failures = 1;
    if (failure_count == 0) {
      unnoticed++;
      fprintf(stderr, "not noticed: %s\n", wrong[i].name);
    }
  }
  comparison_count = comparisons;
  failure_count = failures;

  bp_kernels set = *right();
  if (dies(&set, &c, AFTER_GUARD) || dies(&set, &c, BEFORE_GUARD)) {
    unnoticed++;
    fprintf(stderr, "the right kernels are taken for wrong ones\n");
  }
  set.multiply = multiply_past_codes;
  if (!dies(&set, &c, BEFORE_GUARD)) {
    unnoticed++;
    fprintf(stderr, "not noticed: a read past the codes\n");
  }
  set.multiply = multiply_before_codes;
  if (!dies(&set, &c, AFTER_GUARD)) {
    unnoticed++;
    fprintf(stderr, "not noticed: a read before the codes\n");
  }
  free_matrix_case(&c);
  free_matrix_case(&binary);
  return unnoticed;
}
