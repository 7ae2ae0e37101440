#ifndef BITPLAN_NEON_DOTPROD_H
#define BITPLAN_NEON_DOTPROD_H

// What the files with NEON's dot products share. To be included after the target attribute has been
// pushed.

#include "neon.h"

/// sum + codes · the four activations in 32-bit lane `lane`; the instruction wants a constant.
BP_INLINE int32x4_t bp_neon_dot_lane(
    int32x4_t sum, int8x16_t codes, int8x16_t values, const int lane) {
  switch (lane) {
    case 0: return vdotq_laneq_s32(sum, codes, values, 0);
    case 1: return vdotq_laneq_s32(sum, codes, values, 1);
    case 2: return vdotq_laneq_s32(sum, codes, values, 2);
    default: return vdotq_laneq_s32(sum, codes, values, 3);
  }
}

#endif
