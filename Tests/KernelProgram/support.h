#ifndef KERNEL_PROGRAM_SUPPORT_H
#define KERNEL_PROGRAM_SUPPORT_H

// What the cases share: random numbers, memory between forbidden pages, comparison of bits.

#include "bitplan_kernels.h"

#include <stddef.h>
#include <stdint.h>

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014, doi:10.1145/2660193.2660195).
typedef struct {
  uint64_t state;
} generator;

uint64_t next_bits(generator *g);
/// Uniform in −1…1, a multiple of 2^-23.
float next_float(generator *g);
/// Mixed magnitudes, some of them zero.
float next_activation(generator *g);
/// A finite binary16, now and then a subnormal one or zero.
uint16_t next_half(generator *g);

/// Where memory lies between its forbidden pages.
typedef enum {
  /// The first byte follows a forbidden page, at a multiple of the page size.
  AFTER_GUARD,
  /// The last byte precedes a forbidden page.
  BEFORE_GUARD,
} placement;

typedef struct {
  void *data;
  void *mapping;
  size_t mapped_bytes;
} buffer;

/// Zeroed memory; ends the program if the system gives none.
buffer make_buffer(size_t bytes, placement where);
/// The same with a copy of `source`.
buffer copy_to_buffer(const void *source, size_t bytes, placement where);
void free_buffer(buffer *b);

/// malloc that ends the program if there is no memory.
void *allocate(size_t bytes);

/// A number for all results so far (64-bit FNV-1a over the bits of the finite ones), to compare
/// two machines. Signs and payloads of NaNs differ between architectures.
extern uint64_t results_hash;
void hash_results(const float *values, int64_t count);

/// Whether two floats have the same bits or are both NaN.
int same(float a, float b);

/// Numbers of comparisons made and of those that failed.
extern int64_t comparison_count, failure_count;
/// Prints failures when not 0; broken kernels are expected to fail silently.
extern int prints_failures;
/// Counts one comparison; `difference` is the index of the first difference, −1 where equal.
void report(const char *set, const char *what, int64_t difference);

#endif
