/// Sums of the two halves of a matrix.
enum RowSums {
  /// Writes row `i` plus row `count + i` of `parts` to row `i` of `output`, for `i` in `0..<count`.
  static func add(
    _ parts: FloatMatrix, count: Int, into output: FloatMatrix, _ context: KernelContext
  ) {
    let columns = output.columns
    let addRow: @Sendable (Int, Int) -> Void = { row, _ in
      parts.withUnsafeBufferPointer { parts in
        output.withUnsafeMutableBufferPointer { output in
          let (first, second) = (row * columns, (count + row) * columns)
          VectorOperations.add(
            UnsafeBufferPointer(rebasing: parts[first..<first + columns]),
            UnsafeBufferPointer(rebasing: parts[second..<second + columns]),
            into: UnsafeMutableBufferPointer(rebasing: output[first..<first + columns]))
        }
      }
    }
    context.pool.deal(
      count, isWorthwhile: count * columns >= KernelContext.parallelQuantization, addRow)
  }
}
