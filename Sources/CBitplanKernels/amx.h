#ifndef BITPLAN_AMX_H
#define BITPLAN_AMX_H

// What the AMX files share. To be included after the target attribute has been pushed.

#include "avx512.h"

/// Sets the shapes of the tiles: 0–3 integer sums, 4–5 activations, 6–7 weights.
BP_INLINE void bp_amx_configure(int32_t group_size) {
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t column_bytes[16];
    uint8_t rows[16];
  } shapes __attribute__((aligned(64)));
  _Static_assert(sizeof shapes == 64, "the processor reads 64 bytes");
  memset(&shapes, 0, sizeof shapes);
  shapes.palette = 1;
  const int32_t depth = BP_MIN(group_size, 64);
  for (int i = 0; i < 8; i++) {
    shapes.column_bytes[i] = (uint16_t)(i == 4 || i == 5 ? depth : 64);
    shapes.rows[i] = (uint8_t)(i >= 6 ? depth / 4 : 16);
  }
  _tile_loadconfig(&shapes);
}

#endif
