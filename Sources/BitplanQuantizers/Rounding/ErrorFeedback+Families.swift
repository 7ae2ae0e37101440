package import BitplanCore
package import BitplanKernels

/// Formats whose rows are more than affine or symmetric groups: their own fit chooses the grids, and
/// feedback the codes; the descent refits whatever numbers the format stores.
extension ErrorFeedback {
  /// Codes on the grids that `fit` chooses.
  ///
  /// - Parameter fit: a row's numbers, given its weights; codes in it are not used.
  package func quantize(
    _ weights: FloatMatrix, rows: [Range<Int>], as format: WeightFormat,
    curvature: InputCurvature, fit: @Sendable (UnsafeBufferPointer<Float>) -> FittedRow
  ) -> QuantizedWeights {
    precondition(curvature.size == weights.columns)
    let indices = rows.flatMap { Array($0) }
    let fitted =
      switch format.coding {
      case .nonlinear, .binary:
        solved(weights, indices, curvature, fit) { LadderGrids(format, size: weights.columns) }
      case .affine, .symmetric, .perRow, .blockFloat, .twoLevel, .float16:
        solved(weights, indices, curvature, fit) { EvenGrids(format, size: weights.columns) }
      }
    return QuantizedWeights(
      format: format,
      shape: MatrixShape(outputFeatures: indices.count, inputFeatures: weights.columns),
      payload: format.payload(fitted))
  }

  private func solved<Grids: RowGrids>(
    _ weights: FloatMatrix, _ indices: [Int], _ curvature: InputCurvature,
    _ fit: @Sendable (UnsafeBufferPointer<Float>) -> FittedRow, _ grids: () -> Grids
  ) -> [FittedRow] {
    let columns = weights.columns
    let chunks = (0..<pool.threadCount).map { _ in RoundingChunk(curvature, grids: grids()) }
    var result = [FittedRow](repeating: FittedRow(), count: indices.count)
    result.withUnsafeMutableBufferPointer { rows in
      let output = Rows(rows: rows)
      weights.withUnsafeBufferPointer { source in
        let input = RoundToNearest.Input(weights: source, importance: [])
        deal(indices.count) { places, thread in
          let chunk = chunks[thread]
          for (row, place) in places.enumerated() {
            let begin = indices[place] * columns
            let weights = UnsafeBufferPointer(rebasing: input.weights[begin..<begin + columns])
            chunk.set(row: row, weights: weights)
            chunk.grids.set(row: row, fitted: fit(weights))
          }
          for row in places.count..<Lanes.height {
            chunk.clear(row: row)
            chunk.grids.clear(row: row)
          }
          chunk.solve(refinements: refinements(columns: columns))
          for (row, place) in places.enumerated() {
            output.rows[place] = chunk.grids.fitted(row: row, codes: chunk.codes(row: row))
          }
        }
      }
    }
    return result
  }

  /// Destinations of whole rows; every thread writes its own.
  private struct Rows: @unchecked Sendable {
    let rows: UnsafeMutableBufferPointer<FittedRow>
  }
}

/// Grids whose rows come and go as fitted rows.
private protocol RowGrids: RoundingGrids {
  func set(row: Int, fitted: FittedRow)
  func clear(row: Int)
  func fitted(row: Int, codes: [UInt8]) -> FittedRow
}

extension EvenGrids: RowGrids {}
extension LadderGrids: RowGrids {}
