#if defined(__linux__)
#define _GNU_SOURCE
#include <sched.h>
#endif

#include "bitplan_kernels.h"

#include <unistd.h>

int32_t bp_processor_count(void) {
#if defined(__linux__)
  // What the scheduler allows, which in a container is fewer than the machine has.
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) {
    return (int32_t)CPU_COUNT(&set);
  }
#endif
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (int32_t)online : 1;
}
