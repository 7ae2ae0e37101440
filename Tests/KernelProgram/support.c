#define _GNU_SOURCE

#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

uint64_t results_hash = 0xCBF29CE484222325u;
int64_t comparison_count = 0, failure_count = 0;
int prints_failures = 1;

uint64_t next_bits(generator *g) {
  g->state += 0x9E3779B97F4A7C15u;
  uint64_t z = g->state;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

float next_float(generator *g) {
  return (float)((int64_t)(next_bits(g) >> 40) - (1 << 23)) * 0x1p-23f;
}

float next_activation(generator *g) {
  const float value = next_float(g);
  switch (next_bits(g) % 16) {
    case 0: return 0;
    case 1: return 40 * value;
    default: return value;
  }
}

uint16_t next_half(generator *g) {
  const uint64_t bits = next_bits(g);
  const uint16_t exponent = bits >> 32 & 31 ? 6 + (bits >> 40) % 6 : 0;
  return (uint16_t)((bits & 0x83FF) | (exponent << 10));
}

static void stop(const char *message) {
  perror(message);
  exit(2);
}

buffer make_buffer(size_t bytes, placement where) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t inner = (bytes + page - 1) / page * page + (bytes == 0 ? page : 0);
  char *mapping =
      mmap(NULL, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED || mprotect(mapping + page, inner, PROT_READ | PROT_WRITE) != 0) {
    stop("the system gave no memory");
  }
  char *data = mapping + page + (where == AFTER_GUARD ? 0 : inner - bytes);
  return (buffer){data, mapping, inner + 2 * page};
}

buffer copy_to_buffer(const void *source, size_t bytes, placement where) {
  buffer b = make_buffer(bytes, where);
  memcpy(b.data, source, bytes);
  return b;
}

void free_buffer(buffer *b) {
  if (b->mapping) munmap(b->mapping, b->mapped_bytes);
  *b = (buffer){NULL, NULL, 0};
}

void *allocate(size_t bytes) {
  void *p = calloc(1, bytes ? bytes : 1);
  if (!p) stop("the system gave no memory");
  return p;
}

void hash_results(const float *values, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, values + i, 4);
    if ((bits & 0x7F800000) == 0x7F800000) continue;
    for (int byte = 0; byte < 4; byte++) {
      results_hash = (results_hash ^ (bits >> (8 * byte) & 0xFF)) * 0x100000001B3u;
    }
  }
}

int same(float a, float b) { return memcmp(&a, &b, 4) == 0 || (a != a && b != b); }

void report(const char *set, const char *what, int64_t difference) {
  comparison_count++;
  if (difference < 0) return;
  failure_count++;
  if (prints_failures && failure_count <= 20) {
    fprintf(stderr, "%s, %s: first difference at %lld\n", set, what, (long long)difference);
  }
}
