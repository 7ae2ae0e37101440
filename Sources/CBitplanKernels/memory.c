#include "bitplan_kernels.h"

#include <stdlib.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

void bp_keep_large_blocks_apart(void) {
#if defined(__GLIBC__)
  // Without a fixed limit it rises with every large block that is freed, up to 32 MiB.
  mallopt(M_MMAP_THRESHOLD, 256 << 10);
#endif
}

void bp_give_back_freed_memory(void) {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}
