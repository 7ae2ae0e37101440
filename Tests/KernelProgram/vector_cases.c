#include "vector_cases.h"

#include "support.h"

#include <stdio.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

/// Results of one operation of one set, with inputs and output at `where`.
typedef struct {
  const bp_vector_operations *table;
  placement where;
  int64_t count;
  const float *a, *b;
} run;

enum { operation_count = 17 };
static const char *const names[operation_count] = {
    "rms_norm", "layer_norm", "softmax",    "silu_multiply", "gelu",         "add",
    "dot",      "add_scaled", "key_scores", "key_scores 64", "weighted_sum", "add_products",
    "hadamard", "interleave", "add_sparse 1", "add_sparse 5", "add_sparse wide",
};

enum { sparse_rows = 3, sparse_tokens = 5 };

/// Three rows, the middle one empty, whose entries are all columns in two parts, times one token or
/// several; columns of 16 or of 32 bits.
static void apply_sparse(const run *r, const float *x, int wide, int64_t tokens, float *out) {
  const int64_t n = r->count;
  const uint32_t rows[sparse_rows + 1] = {0, (uint32_t)(n / 2), (uint32_t)(n / 2), (uint32_t)n};
  buffer starts = copy_to_buffer(rows, sizeof rows, r->where);
  buffer columns = make_buffer((size_t)n * (wide ? 4 : 2), r->where);
  buffer values = make_buffer((size_t)n * 2, r->where);
  buffer blocks = make_buffer((size_t)n * (tokens > 1 ? BP_SPARSE_LANES : 1) * 4, r->where);
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, &r->b[i], 4);
    ((uint16_t *)values.data)[i] = (uint16_t)(bits >> 16);
    if (wide) {
      ((uint32_t *)columns.data)[i] = (uint32_t)i;
    } else {
      ((uint16_t *)columns.data)[i] = (uint16_t)i;
    }
  }
  if (tokens > 1) {
    r->table->interleave(x, n, n, tokens, blocks.data);
  } else {
    memcpy(blocks.data, x, (size_t)n * 4);
  }
  for (int64_t i = 0; i < tokens * sparse_rows; i++) out[i] = r->a[i];
  r->table->add_sparse(
      starts.data, columns.data, wide, values.data, 0, sparse_rows, blocks.data, n, tokens, out,
      sparse_rows);
  free_buffer(&starts);
  free_buffer(&columns);
  free_buffer(&values);
  free_buffer(&blocks);
}

/// Runs operation `index`; writes at most `count` results and returns how many.
static int64_t apply(const run *r, int index, float *out) {
  const int64_t n = r->count;
  // Keys or rows of a matrix of 5 rows; with 64 columns where the head size is fixed.
  const int64_t rows = 5, size = index == 9 ? 64 : n;
  const int64_t elements = index >= 8 ? rows * size : n;
  buffer a = copy_to_buffer(r->a, (size_t)elements * 4, r->where);
  const int64_t others = index == 11 ? rows * BP_PRODUCT_LANES
      : index == 10                  ? rows
      : index >= 8                   ? size
                                     : n;
  buffer b = copy_to_buffer(r->b, (size_t)others * 4, r->where);
  const int64_t results = index == 6 ? 1
      : index == 8 || index == 9     ? rows
      : index == 11                  ? n * BP_PRODUCT_LANES
      : index == 13                  ? n * BP_SPARSE_LANES
      : index == 14                  ? sparse_rows
      : index >= 15                  ? sparse_rows * sparse_tokens
                                     : n;
  buffer y = make_buffer((size_t)results * 4, r->where);
  float *target = y.data;
  switch (index) {
    case 0: r->table->rms_norm(a.data, b.data, 1e-5f, target, n); break;
    case 1: r->table->layer_norm(a.data, b.data, a.data, 1e-12f, target, n); break;
    case 2:
      memcpy(target, a.data, (size_t)n * 4);
      r->table->softmax(target, n);
      break;
    case 3: r->table->silu_multiply(a.data, b.data, target, n); break;
    case 4: r->table->gelu(a.data, target, n); break;
    case 5: r->table->add(a.data, b.data, target, n); break;
    case 6: target[0] = r->table->dot(a.data, b.data, n); break;
    case 7:
      memcpy(target, b.data, (size_t)n * 4);
      r->table->add_scaled(a.data, 0.3f, target, n);
      break;
    case 8:
    case 9: r->table->key_scores(b.data, a.data, size, rows, size, 0.125f, target); break;
    case 10: r->table->weighted_sum(b.data, a.data, n, rows, n, target); break;
    case 11:
      for (int64_t i = 0; i < results; i++) target[i] = r->a[i % n];
      r->table->add_products(a.data, n, b.data, rows, target, n);
      break;
    case 13: r->table->interleave(a.data, n, n, sparse_tokens, target); break;
    case 14: apply_sparse(r, a.data, 0, 1, target); break;
    case 15:
    case 16: apply_sparse(r, a.data, index == 16, sparse_tokens, target); break;
    default:
      memcpy(target, a.data, (size_t)n * 4);
      // Runs as short as can be: the odd part of the count.
      r->table->hadamard(target, n / (n & -n), n);
      break;
  }
  memcpy(out, target, (size_t)results * 4);
  free_buffer(&a);
  free_buffer(&b);
  free_buffer(&y);
  return results;
}

void check_vector_operations(void) {
  static const int64_t counts[] = {1, 3, 15, 16, 17, 31, 32, 33, 64, 100, 128};
  enum { largest = 128, rows = 5 };
  static float a[rows * largest], b[rows * largest];
  generator g = {21};
  for (int i = 0; i < rows * largest; i++) {
    a[i] = 3 * next_activation(&g);
    b[i] = next_activation(&g);
  }
  const bp_vector_operations *scalar = bp_vector_operations_for(BP_ISA_SCALAR);
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    for (int index = 0; index < operation_count; index++) {
      static float expected[largest * BP_PRODUCT_LANES], actual[largest * BP_PRODUCT_LANES];
      const run reference = {scalar, AFTER_GUARD, counts[i], a, b};
      const int64_t results = apply(&reference, index, expected);
      hash_results(expected, results);
      for (int isa = 0; isa < BP_ISA_COUNT; isa++) {
        const bp_vector_operations *table = bp_vector_operations_for((bp_isa)isa);
        if (!table) continue;
        for (placement where = AFTER_GUARD; where <= BEFORE_GUARD; where++) {
          const run r = {table, where, counts[i], a, b};
          apply(&r, index, actual);
          int64_t difference = -1;
          for (int64_t k = results - 1; k >= 0; k--) {
            if (!same(expected[k], actual[k])) difference = k;
          }
          char what[80];
          snprintf(what, sizeof what, "%s of %lld", names[index], (long long)counts[i]);
          report(bp_kernels_for((bp_isa)isa)->name, what, difference);
        }
      }
    }
  }
}
