#if defined(__x86_64__)

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)

#define BP_VECTOR_TABLE bp_vector_operations_avx512vnni
#include "vector_operations.inc.h"

#pragma clang attribute pop

#endif
