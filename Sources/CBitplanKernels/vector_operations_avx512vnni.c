#if defined(__x86_64__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)

#define BP_VECTOR_TABLE bp_vector_operations_avx512vnni
#define BP_VECTOR_TILE 4
#include "vector_operations.inc.h"

#pragma clang attribute pop

#endif
