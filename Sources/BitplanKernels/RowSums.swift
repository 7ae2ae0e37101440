/// Sums of rows, dealt out over threads.
enum RowSums {
  /// Writes row `i` plus row `count + i` of `parts` to row `i` of `output`, for `i` in `0..<count`.
  static func add(
    _ parts: FloatMatrix, count: Int, into output: FloatMatrix, _ context: KernelContext
  ) {
    add((parts, 0), (parts, count), count: count, into: output, context)
  }

  /// Adds row `i` of `x` to row `i` of `output`, for `i` in `0..<count`.
  static func add(
    _ x: FloatMatrix, count: Int, to output: FloatMatrix, _ context: KernelContext
  ) {
    add((output, 0), (x, 0), count: count, into: output, context)
  }

  /// Sums of rows of two matrices, each from its first row on.
  private static func add(
    _ a: (matrix: FloatMatrix, row: Int), _ b: (matrix: FloatMatrix, row: Int), count: Int,
    into output: FloatMatrix, _ context: KernelContext
  ) {
    let columns = output.columns
    let addRow: @Sendable (Int, Int) -> Void = { row, _ in
      a.matrix.withUnsafeBufferPointer { first in
        b.matrix.withUnsafeBufferPointer { second in
          output.withUnsafeMutableBufferPointer { output in
            let (i, j, k) = ((a.row + row) * columns, (b.row + row) * columns, row * columns)
            VectorOperations.add(
              UnsafeBufferPointer(rebasing: first[i..<i + columns]),
              UnsafeBufferPointer(rebasing: second[j..<j + columns]),
              into: UnsafeMutableBufferPointer(rebasing: output[k..<k + columns]))
          }
        }
      }
    }
    context.pool.deal(
      count, isWorthwhile: count * columns >= KernelContext.parallelQuantization, addRow)
  }
}
