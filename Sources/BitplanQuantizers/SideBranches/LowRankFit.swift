internal import BitplanCore
internal import BitplanKernels

/// The branch of a rank that narrows the grids of what is left most.
///
/// A code's error grows with the spread of its group and counts with the mean square of its input, so
/// the branch takes as much as it can of `Σ h_g · ‖W_g‖²`, with `h_g` the mean square of a group's
/// inputs: the leading singular vectors of `W · diag(h)^½`, by randomized subspace iteration (Halko,
/// Martinsson, Tropp 2011, arXiv:0909.4061). SVDQuant (arXiv:2411.05007) takes those of `W` after a
/// scaling.
enum LowRankFit {
  static func packed(
    _ weights: FloatMatrix, rank: Int, meanSquaredInput: [Float]?
  ) -> PackedBranch {
    let (rows, columns) = (weights.rows, weights.columns)
    let scales = meanSquaredInput.map(groupScales) ?? [Float](repeating: 1, count: columns)
    let weighted = FloatMatrix(rows: rows, columns: columns)
    weighted.withUnsafeMutableBufferPointer { target in
      weights.withUnsafeBufferPointer { source in
        for row in 0..<rows {
          for index in row * columns..<(row + 1) * columns {
            target[index] = source[index] * scales[index - row * columns]
          }
        }
      }
    }
    let basis = Subspace.leading(of: weighted, count: rank, seed: 1)
    let left = FloatMatrix(rows: rows, columns: rank)
    for row in 0..<rows {
      for column in 0..<rank { left[row, column] = basis[column, row] }
    }
    let right = FloatProducts.product(basis, weights, transposed: false)
    return PackedBranch(left: left, right: rounded(right))
  }

  /// `√h_g` of every input feature's group, 0 inputs floored.
  private static func groupScales(_ meanSquares: [Float]) -> [Float] {
    let mean = meanSquares.reduce(0, +) / Float(meanSquares.count)
    guard mean > 0, mean.isFinite else {
      return [Float](repeating: 1, count: meanSquares.count)
    }
    return stride(from: 0, to: meanSquares.count, by: BranchFit.groupSize).flatMap { begin in
      let group = meanSquares[begin..<min(begin + BranchFit.groupSize, meanSquares.count)]
      let share = group.reduce(0, +) / Float(group.count) / mean
      return [Float](repeating: max(share, 1e-4).squareRoot(), count: group.count)
    }
  }

  /// Each weight of the right factor to its nearest code, on grids that end at the largest magnitude.
  private static func rounded(_ right: FloatMatrix) -> QuantizedWeights {
    RoundToNearest(pool: ThreadPool(threadCount: 1), clips: false)
      .quantize(right, as: SideBranch.rightFormat)
  }
}
