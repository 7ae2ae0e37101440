public import BitplanCore
public import BitplanKernels

/// Round-to-nearest codes with a clip search.
///
/// Every (row, group) of an affine or symmetric format gets the scale and zero point that minimise `Σ_k h_k (w_k − ŵ_k)²`, where `h`
/// is the mean squared activation of input feature `k`, or 1 without calibration. The search tries
/// a grid of clip ratios on the group's range (OmniQuant's closed-grid stand-in, AWQ's clip) and
/// then refits the scale to the winning codes by least squares, twice. Non-linear formats search
/// scales of either sign, block floating point exponents, two-level formats in DGQ's two phases;
/// binary coding alternates between codes and scales. Rows are independent, so any thread count and
/// any split of the rows gives the same codes.
public struct RoundToNearest: Sendable {
  /// Part of the sensitivity's provenance: other codes need another table.
  public static let name = "round-to-nearest+clip"

  /// Clip ratios that are tried, 1 first so that ties keep the whole range.
  static let ratios: [Float] = [
    1, 0.97, 0.94, 0.91, 0.88, 0.85, 0.82, 0.78, 0.74, 0.7, 0.65, 0.6, 0.55, 0.5,
  ]

  private let pool: ThreadPool
  private let clips: Bool

  /// Quantizes on the threads of `pool`.
  ///
  /// - Parameter clips: without it, affine and symmetric grids span their group's weights, and nothing
  ///   is searched for; other formats have no such grid and keep their fit.
  public init(pool: ThreadPool, clips: Bool = true) {
    self.pool = pool
    self.clips = clips
  }

  /// Codes for all rows of `weights` in `format`.
  ///
  /// - Parameters:
  ///   - weights: `[outputFeatures, inputFeatures]`, finite.
  ///   - meanSquaredInput: `[inputFeatures]`, non-negative, or `nil` for equal weights.
  public func quantize(
    _ weights: FloatMatrix, as format: WeightFormat, meanSquaredInput: [Float]? = nil
  ) -> QuantizedWeights {
    quantize(weights, rows: [0..<weights.rows], as: format, meanSquaredInput: meanSquaredInput)
  }

  /// Codes for the rows in `rows`, in that order: one segment.
  public func quantize(
    _ weights: FloatMatrix, rows: [Range<Int>], as format: WeightFormat,
    meanSquaredInput: [Float]? = nil
  ) -> QuantizedWeights {
    let rowIndices = rows.flatMap { Array($0) }
    let shape = MatrixShape(outputFeatures: rowIndices.count, inputFeatures: weights.columns)
    precondition(meanSquaredInput.map { $0.count == weights.columns } ?? true)
    if format.coding == .float16 {
      return QuantizedWeights(
        format: format, shape: shape, payload: .float16(binary16(weights, rowIndices)))
    }
    let groups = PackedLayout(format, shape).groupCount
    let importance = Self.importance(meanSquaredInput, count: weights.columns)
    if format.coding != .affine && format.coding != .symmetric {
      let rows = fitted(weights, rowIndices, format, importance)
      return QuantizedWeights(format: format, shape: shape, payload: format.payload(rows))
    }
    var codes = [UInt8](repeating: 0, count: shape.weightCount)
    var scales = [UInt16](repeating: 0, count: shape.outputFeatures * groups)
    var zeros = [UInt8](
      repeating: 0, count: format.coding == .affine ? shape.outputFeatures * groups : 0)
    let threads = pool.threadCount
    codes.withUnsafeMutableBufferPointer { codes in
      scales.withUnsafeMutableBufferPointer { scales in
        zeros.withUnsafeMutableBufferPointer { zeros in
          let output = Output(codes: codes, scales: scales, zeros: zeros)
          weights.withUnsafeBufferPointer { source in
            let input = Input(weights: source, importance: importance)
            pool.run { thread in
              let begin = rowIndices.count * thread / threads
              let end = rowIndices.count * (thread + 1) / threads
              for row in begin..<end {
                quantizeRow(
                  input, sourceRow: rowIndices[row], row: row, columns: shape.inputFeatures,
                  groups: groups, format: format, into: output)
              }
            }
          }
        }
      }
    }
    return QuantizedWeights(
      format: format, shape: shape,
      payload: .integer(codes: codes, scales: scales, zeroPoints: zeros))
  }

  /// Relative importance of input features: the mean square, floored so that a feature that was
  /// silent during calibration still keeps a sensible code.
  static func importance(_ meanSquaredInput: [Float]?, count: Int) -> [Float] {
    guard let meanSquaredInput else { return [Float](repeating: 1, count: count) }
    let mean = meanSquaredInput.reduce(0, +) / Float(count)
    guard mean > 0, mean.isFinite else { return [Float](repeating: 1, count: count) }
    return meanSquaredInput.map { max($0 / mean, 1e-3) }
  }

  /// Every row fitted as `format` says.
  private func fitted(
    _ weights: FloatMatrix, _ rowIndices: [Int], _ format: WeightFormat, _ importance: [Float]
  ) -> [FittedRow] {
    let (columns, threads) = (weights.columns, pool.threadCount)
    var rows = [FittedRow](repeating: FittedRow(), count: rowIndices.count)
    rows.withUnsafeMutableBufferPointer { rows in
      let output = Rows(rows: rows)
      weights.withUnsafeBufferPointer { source in
        let input = Input(weights: source, importance: importance)
        pool.run { thread in
          let begin = rowIndices.count * thread / threads
          let end = rowIndices.count * (thread + 1) / threads
          input.importance.withUnsafeBufferPointer { importance in
            for row in begin..<end {
              let start = rowIndices[row] * columns
              let weights = UnsafeBufferPointer(rebasing: input.weights[start..<start + columns])
              output.rows[row] = format.fit(RowInput(weights: weights, importance: importance))
            }
          }
        }
      }
    }
    return rows
  }

  private func binary16(_ weights: FloatMatrix, _ rows: [Int]) -> [UInt16] {
    let columns = weights.columns
    var values = [UInt16](repeating: 0, count: rows.count * columns)
    weights.withUnsafeBufferPointer { source in
      for (row, sourceRow) in rows.enumerated() {
        for column in 0..<columns {
          let half = Float16(source[sourceRow * columns + column])
          // A weight beyond binary16's range keeps its sign at the largest finite value.
          let finite =
            half.isFinite
            ? half : (half < 0 ? -Float16.greatestFiniteMagnitude : .greatestFiniteMagnitude)
          values[row * columns + column] = finite.bitPattern
        }
      }
    }
    return values
  }

  /// Sources shared by all threads, read only.
  struct Input: @unchecked Sendable {
    let weights: UnsafeBufferPointer<Float>
    let importance: [Float]
  }

  /// Destinations of whole rows; every thread writes its own.
  private struct Rows: @unchecked Sendable {
    let rows: UnsafeMutableBufferPointer<FittedRow>
  }

  /// Destinations; every thread writes its own rows.
  struct Output: @unchecked Sendable {
    let codes: UnsafeMutableBufferPointer<UInt8>
    let scales: UnsafeMutableBufferPointer<UInt16>
    let zeros: UnsafeMutableBufferPointer<UInt8>
  }

  private func quantizeRow(
    _ input: Input, sourceRow: Int, row: Int, columns: Int, groups: Int, format: WeightFormat,
    into output: Output
  ) {
    input.importance.withUnsafeBufferPointer { importance in
      for group in 0..<groups {
        let begin = group * format.groupSize
        let count = min(format.groupSize, columns - begin)
        let weights = UnsafeBufferPointer(
          rebasing: input.weights[sourceRow * columns + begin..<sourceRow * columns + begin + count]
        )
        let h = UnsafeBufferPointer(rebasing: importance[begin..<begin + count])
        let grid =
          clips
          ? GroupGrid.best(weights, importance: h, format: format)
          : GroupGrid.spanning(weights, format: format)
        let codes = UnsafeMutableBufferPointer(
          rebasing: output.codes[row * columns + begin..<row * columns + begin + count])
        grid.round(weights, into: codes)
        output.scales[row * groups + group] = grid.scaleBits
        if format.coding == .affine {
          output.zeros[row * groups + group] = UInt8(grid.zeroPoint)
        }
      }
    }
  }
}
