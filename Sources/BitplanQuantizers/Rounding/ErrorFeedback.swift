public import BitplanCore
public import BitplanKernels

/// Codes found under an operator's ``InputCurvature``: GPTQ, then coordinate descent.
///
/// Grids come first and are static: every (row, group) gets the scale and zero point that a clip
/// search finds (``GroupGrid``). GPTQ then rounds input features in the order of their curvature and
/// feeds each error forward (Frantar et al. 2023, in the form of LDLQ, which needs no inverse). Its
/// result is the start of a descent on the same objective: sweeps that let every code and every
/// scale in turn become the best one for all the others (QuantEase). Rows are independent, so a row
/// gets the same codes in any segment.
public struct ErrorFeedback: Sendable {
  /// Part of the sensitivity's provenance: other codes need another table.
  public static let name = "gptq+descent-2"

  /// Pairs of a sweep over codes and a sweep over scales after GPTQ; one more over codes ends it.
  /// `nil` takes two, and one for operators so wide that a sweep takes many seconds.
  public var refinements: Int?

  /// Input features beyond which the second refinement is left out.
  private static let wide = 6144
  let pool: ThreadPool

  /// Quantizes on the threads of `pool`.
  ///
  /// - Parameter refinements: 0 stops after GPTQ.
  public init(pool: ThreadPool, refinements: Int? = nil) {
    self.pool = pool
    self.refinements = refinements
  }

  /// Codes for the rows in `rows`, in that order: one segment.
  ///
  /// - Parameters:
  ///   - weights: `[outputFeatures, inputFeatures]`, finite.
  ///   - format: any but binary16.
  ///   - curvature: of this operator.
  ///   - meanSquaredInput: `[inputFeatures]`, what the search of grids weighs errors with.
  public func quantize(
    _ weights: FloatMatrix, rows: [Range<Int>], as format: WeightFormat,
    curvature: InputCurvature, meanSquaredInput: [Float]?
  ) -> QuantizedWeights {
    let importance = RoundToNearest.importance(meanSquaredInput, count: weights.columns)
    switch format.coding {
    case .affine, .symmetric:
      return quantize(weights, rows: rows, as: format, curvature: curvature) { _, columns, group in
        importance.withUnsafeBufferPointer {
          GroupGrid.best(
            group, importance: UnsafeBufferPointer(rebasing: $0[columns]), format: format)
        }
      }
    case .nonlinear, .binary, .perRow, .blockFloat, .twoLevel:
      return quantize(weights, rows: rows, as: format, curvature: curvature) { row in
        importance.withUnsafeBufferPointer {
          format.fit(RowInput(weights: row, importance: $0))
        }
      }
    case .float16:
      preconditionFailure("binary16 weights have no codes to choose")
    }
  }

  /// The same on grids that the caller chooses.
  ///
  /// - Parameter grid: given a row, its columns of one group and their weights.
  package func quantize(
    _ weights: FloatMatrix, rows: [Range<Int>], as format: WeightFormat,
    curvature: InputCurvature,
    grid: @Sendable (_ row: Int, _ columns: Range<Int>, UnsafeBufferPointer<Float>) -> GroupGrid
  ) -> QuantizedWeights {
    precondition(curvature.size == weights.columns)
    let indices = rows.flatMap { Array($0) }
    let shape = MatrixShape(outputFeatures: indices.count, inputFeatures: weights.columns)
    let groups = PackedLayout(format, shape).groupCount
    var codes = [UInt8](repeating: 0, count: shape.weightCount)
    var scales = [UInt16](repeating: 0, count: shape.outputFeatures * groups)
    var zeros = [UInt8](
      repeating: 0, count: format.coding == .affine ? shape.outputFeatures * groups : 0)
    let chunks = (0..<pool.threadCount).map { _ in
      RoundingChunk(curvature, grids: EvenGrids(format, size: weights.columns))
    }
    codes.withUnsafeMutableBufferPointer { codes in
      scales.withUnsafeMutableBufferPointer { scales in
        zeros.withUnsafeMutableBufferPointer { zeros in
          let output = RoundToNearest.Output(codes: codes, scales: scales, zeros: zeros)
          weights.withUnsafeBufferPointer { source in
            let input = RoundToNearest.Input(weights: source, importance: [])
            deal(indices.count) { places, thread in
              run(chunks[thread], places, indices, format, input, grid, into: output)
            }
          }
        }
      }
    }
    return QuantizedWeights(
      format: format, shape: shape,
      payload: .integer(codes: codes, scales: scales, zeroPoints: zeros))
  }

  /// Calls `body` with the places of one chunk after the other, on the pool's threads.
  func deal(_ count: Int, _ body: @Sendable (Range<Int>, _ thread: Int) -> Void) {
    pool.deal((count + Lanes.height - 1) / Lanes.height) { index, thread in
      let begin = index * Lanes.height
      body(begin..<min(begin + Lanes.height, count), thread)
    }
  }

  /// Refinements for rows of so many input features.
  func refinements(columns: Int) -> Int { refinements ?? (columns > Self.wide ? 1 : 2) }

  private func run(
    _ chunk: RoundingChunk<EvenGrids>, _ places: Range<Int>, _ indices: [Int],
    _ format: WeightFormat, _ input: RoundToNearest.Input,
    _ grid: (Int, Range<Int>, UnsafeBufferPointer<Float>) -> GroupGrid,
    into output: RoundToNearest.Output
  ) {
    let columns = output.codes.count / indices.count
    let groups = output.scales.count / indices.count
    for (row, place) in places.enumerated() {
      let begin = indices[place] * columns
      let weights = UnsafeBufferPointer(rebasing: input.weights[begin..<begin + columns])
      let grids = (0..<groups).map { group in
        let range = group * format.groupSize..<min((group + 1) * format.groupSize, columns)
        return grid(indices[place], range, UnsafeBufferPointer(rebasing: weights[range]))
      }
      chunk.set(row: row, weights: weights)
      chunk.grids.set(row: row, grids: grids)
    }
    for row in places.count..<Lanes.height {
      chunk.clear(row: row)
      chunk.grids.clear(row: row)
    }
    chunk.solve(refinements: refinements(columns: columns))
    for (row, place) in places.enumerated() {
      for (column, code) in chunk.codes(row: row).enumerated() {
        output.codes[place * columns + column] = code
      }
      for group in 0..<groups {
        output.scales[place * groups + group] = chunk.grids.scaleBits(row: row, span: group)
        if format.coding == .affine {
          output.zeros[place * groups + group] = chunk.grids.zeroPoint(row: row, group: group)
        }
      }
    }
  }
}
