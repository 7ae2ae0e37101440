public import BitplanCore
internal import CBitplanKernels

/// What a side branch makes of activations.
///
/// The right factor of a low-rank branch meets the activations as the operator's codes do, the left
/// one and outliers meet float values. The result does not depend on the instruction set, the batch or
/// the number of threads.
extension KernelContext {
  /// `y += (branch) · x` for the tokens of `x`, whose shapes are those of the branch's operator.
  ///
  /// - Parameter format: how the operator's activations are kept.
  public func add(
    _ branch: PackedBranch, _ x: Activations, as format: ActivationFormat, into y: FloatMatrix
  ) {
    precondition(
      x.values.columns == branch.shape.inputFeatures && y.columns == branch.shape.outputFeatures
        && y.rows >= x.tokenCount, "a branch of \(branch.shape) needs x and y of its shape")
    switch branch.parts {
    case .lowRank(let right, let left):
      let middle = x.branchInput(rank: right.shape.outputFeatures)
      var factor = PackedOperator(right)
      factor.activations = format
      multiply(factor, x, into: middle.values)
      middle.didChange(tokenCount: x.tokenCount)
      let product = x.partialOutput(columns: y.columns)
      multiply(PackedOperator(left), middle, into: product)
      RowSums.add(product, count: x.tokenCount, to: y, self)
    case .outliers(let layout): addOutliers(branch, layout, x, into: y)
    }
  }

  private func addOutliers(
    _ branch: PackedBranch, _ layout: OutlierLayout, _ x: Activations, into y: FloatMatrix
  ) {
    let (tokens, columns, rows) = (x.tokenCount, x.values.columns, layout.shape.outputFeatures)
    let source = tokens == 1 ? x.values : x.sideBySide(self)
    let part: @Sendable (Int, Int) -> Void = { share, shares in
      // Rows of about equally many entries; a row has one writer.
      branch.withOutliers(layout) { starts, places, values in
        let first = Self.row(starts, rows, entry: layout.count * share / shares)
        let end =
          share + 1 == shares
          ? rows : Self.row(starts, rows, entry: layout.count * (share + 1) / shares)
        source.withUnsafeBufferPointer { source in
          y.withUnsafeMutableBufferPointer { y in
            VectorOperations.addSparse(
              starts, places, isWide: layout.columnBytes == 4, values, rows: first..<end,
              source.baseAddress, columnCount: columns, tokens: tokens, into: y.baseAddress,
              stride: rows)
          }
        }
      }
    }
    let threads = layout.count * tokens < Self.parallelMultiplication / 8 ? 1 : pool.threadCount
    if threads == 1 { part(0, 1) } else { pool.run { part($0, threads) } }
  }

  /// The first row whose entries begin at or after `entry`.
  private static func row(_ starts: UnsafePointer<UInt32>, _ rows: Int, entry: Int) -> Int {
    var (low, high) = (0, rows)
    while low < high {
      let middle = (low + high) / 2
      if Int(starts[middle]) < entry { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

extension Activations {
  /// The values in blocks of ``VectorOperations/sparseLanes`` tokens, `[block][feature][lane]`, lanes
  /// without a token 0; made once for every change.
  func sideBySide(_ context: KernelContext) -> FloatMatrix {
    let lanes = VectorOperations.sparseLanes
    let (tokens, columns) = (tokenCount, values.columns)
    let blocks = (tokens + lanes - 1) / lanes
    return blocked(rows: blocks * columns, columns: lanes) { target in
      let fill: @Sendable (Int, Int) -> Void = { [values] block, _ in
        values.withUnsafeBufferPointer { source in
          target.withUnsafeMutableBufferPointer { target in
            guard let source = source.baseAddress, let target = target.baseAddress else { return }
            let first = block * lanes * columns
            VectorOperations.interleave(
              source + first, columnCount: columns, tokens: min(lanes, tokens - block * lanes),
              into: target + first)
          }
        }
      }
      context.pool.deal(
        blocks, isWorthwhile: tokens * columns >= KernelContext.parallelQuantization, fill)
    }
  }
}
