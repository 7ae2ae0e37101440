// Weights in compressed rows times tokens, part of `vector_operations.inc.h`: one accumulator for every
// fourth entry, so that one addition need not wait for the last, and the same sums for one token as for
// many.

BP_INLINE float bfloat16_value(uint16_t pattern) {
  const uint32_t bits = (uint32_t)pattern << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

BP_INLINE int64_t sparse_column(const void *columns, const int wide, int64_t entry) {
  return wide ? ((const uint32_t *)columns)[entry] : ((const uint16_t *)columns)[entry];
}

/// Rows times one token.
BP_INLINE void add_sparse_token(
    const uint32_t *starts, const void *columns, const int wide, const uint16_t *values,
    int64_t first, int64_t end, const float *x, float *out) {
  for (int64_t row = first; row < end; row++) {
    const int64_t begin = starts[row], stop = starts[row + 1], whole = (stop - begin) & ~3ll;
    if (begin == stop) continue;
    float sums[4] = {0, 0, 0, 0};
    for (int64_t e = begin; e < begin + whole; e += 4) {
      BP_UNROLL for (int i = 0; i < 4; i++) {
        sums[i] = sums[i] + bfloat16_value(values[e + i]) * x[sparse_column(columns, wide, e + i)];
      }
    }
    for (int64_t e = begin + whole; e < stop; e++) {
      const int i = (int)(e - begin) & 3;
      sums[i] = sums[i] + bfloat16_value(values[e]) * x[sparse_column(columns, wide, e)];
    }
    out[row] = out[row] + ((sums[0] + sums[2]) + (sums[1] + sums[3]));
  }
}

/// One row times a block of tokens.
BP_INLINE vec sparse_row_block(
    const uint32_t *starts, const void *columns, const int wide, const uint16_t *values,
    int64_t row, const float *block) {
  const int64_t begin = starts[row], stop = starts[row + 1], whole = (stop - begin) & ~3ll;
  vec sums[4] = {splat(0), splat(0), splat(0), splat(0)};
  for (int64_t e = begin; e < begin + whole; e += 4) {
    BP_UNROLL for (int i = 0; i < 4; i++) {
      const int64_t column = sparse_column(columns, wide, e + i);
      sums[i] = sums[i]
          + splat(bfloat16_value(values[e + i])) * load(block + column * BP_SPARSE_LANES, 16);
    }
  }
  for (int64_t e = begin + whole; e < stop; e++) {
    const int64_t column = sparse_column(columns, wide, e);
    const int i = (int)(e - begin) & 3;
    sums[i] =
        sums[i] + splat(bfloat16_value(values[e])) * load(block + column * BP_SPARSE_LANES, 16);
  }
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

/// Rows times many tokens, block by block, so that a block stays in the second-level cache; results
/// of a few rows are written together, since the rows of `out` lie far apart.
BP_INLINE void add_sparse_blocks(
    const uint32_t *starts, const void *columns, const int wide, const uint16_t *values,
    int64_t first, int64_t end, const float *x, int64_t columns_count, int64_t tokens, float *out,
    int64_t out_stride) {
  for (int64_t token = 0; token < tokens; token += BP_SPARSE_LANES) {
    const float *block = x + token * columns_count;
    const int64_t lanes = BP_MIN(BP_SPARSE_LANES, tokens - token);
    for (int64_t row = first; row < end; row += 16) {
      const int64_t rows = BP_MIN(16, end - row);
      float tile[16 * BP_SPARSE_LANES];
      for (int64_t r = 0; r < rows; r++) {
        const vec sums = sparse_row_block(starts, columns, wide, values, row + r, block);
        store(tile + r * BP_SPARSE_LANES, sums, 16);
      }
      for (int64_t t = 0; t < lanes; t++) {
        float *line = out + (token + t) * out_stride + row;
        for (int64_t r = 0; r < rows; r++) line[r] = line[r] + tile[r * BP_SPARSE_LANES + t];
      }
    }
  }
}

BP_INLINE void add_sparse_rows(
    const uint32_t *starts, const void *columns, const int wide, const uint16_t *values,
    int64_t first, int64_t end, const float *x, int64_t columns_count, int64_t tokens, float *out,
    int64_t out_stride) {
  if (tokens == 1) {
    add_sparse_token(starts, columns, wide, values, first, end, x, out);
  } else {
    add_sparse_blocks(
        starts, columns, wide, values, first, end, x, columns_count, tokens, out, out_stride);
  }
}

static void add_sparse(
    const uint32_t *starts, const void *columns, int wide, const uint16_t *values, int64_t first,
    int64_t end, const float *x, int64_t columns_count, int64_t tokens, float *out,
    int64_t out_stride) {
  if (wide) {
    add_sparse_rows(
        starts, columns, 1, values, first, end, x, columns_count, tokens, out, out_stride);
  } else {
    add_sparse_rows(
        starts, columns, 0, values, first, end, x, columns_count, tokens, out, out_stride);
  }
}

static void interleave(
    const float *x, int64_t stride, int64_t columns_count, int64_t tokens, float *out) {
  for (int64_t first = 0; first < columns_count; first += 16) {
    const int64_t count = BP_MIN(16, columns_count - first);
    float tile[BP_SPARSE_LANES * 16];
    for (int64_t t = 0; t < BP_SPARSE_LANES; t++) {
      store(tile + t * 16, t < tokens ? load(x + t * stride + first, count) : splat(0), 16);
    }
    for (int64_t column = 0; column < count; column++) {
      float *line = out + (first + column) * BP_SPARSE_LANES;
      BP_UNROLL for (int t = 0; t < BP_SPARSE_LANES; t++) line[t] = tile[t * 16 + column];
    }
  }
}
