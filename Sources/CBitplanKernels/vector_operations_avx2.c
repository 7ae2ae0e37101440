#if defined(__x86_64__)

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)

#define BP_VECTOR_TABLE bp_vector_operations_avx2
#define BP_VECTOR_TILE 1
#include "vector_operations.inc.h"

#pragma clang attribute pop

#endif
