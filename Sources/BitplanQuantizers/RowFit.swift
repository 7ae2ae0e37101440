internal import BitplanCore

/// What one row of a segment becomes: its codes, and beside them the numbers that its coding has.
package struct FittedRow: Sendable {
  /// One code a weight.
  var codes: [UInt8] = []
  /// Binary16 patterns.
  var scales: [UInt16] = []
  /// Exponents, two-level codes or plane weights; empty where the coding has none.
  var bytes: [UInt8] = []
  /// Binary16 patterns; empty where the coding has none.
  var offsets: [UInt16] = []

  /// Makes a row; what is left out is empty.
  package init(
    codes: [UInt8] = [], scales: [UInt16] = [], bytes: [UInt8] = [], offsets: [UInt16] = []
  ) {
    (self.codes, self.scales, self.bytes, self.offsets) = (codes, scales, bytes, offsets)
  }

  /// Adds a group of `count` codes, which `write` fills.
  mutating func addCodes(_ count: Int, _ write: (UnsafeMutableBufferPointer<UInt8>) -> Void) {
    let start = codes.count
    codes.append(contentsOf: repeatElement(0, count: count))
    codes.withUnsafeMutableBufferPointer {
      write(UnsafeMutableBufferPointer(rebasing: $0[start..<start + count]))
    }
  }
}

/// One row's weights and the importance of their input features.
struct RowInput {
  /// `[inputFeatures]`.
  let weights: UnsafeBufferPointer<Float>
  /// `[inputFeatures]`, non-negative.
  let importance: UnsafeBufferPointer<Float>

  /// Calls `body` with the weights and the importance of every group, in order.
  func forEachGroup(
    of size: Int, _ body: (UnsafeBufferPointer<Float>, UnsafeBufferPointer<Float>) -> Void
  ) {
    for begin in stride(from: 0, to: weights.count, by: size) {
      let range = begin..<min(begin + size, weights.count)
      body(
        UnsafeBufferPointer(rebasing: weights[range]),
        UnsafeBufferPointer(rebasing: importance[range]))
    }
  }
}

extension WeightFormat {
  /// The fit of one row, for codings whose rows are more than affine or symmetric groups.
  func fit(_ row: RowInput) -> FittedRow {
    switch coding {
    case .nonlinear: NonlinearGrid.fit(row, groupSize: groupSize)
    case .blockFloat: BlockFloatGrid.fit(row, format: self)
    case .twoLevel: TwoLevelFit.fit(row, format: self)
    case .binary: BinaryFit.fit(row, format: self)
    case .perRow, .affine, .symmetric, .float16: perRowFit(row)
    }
  }

  private func perRowFit(_ row: RowInput) -> FittedRow {
    var result = FittedRow()
    let grid = GroupGrid.best(row.weights, importance: row.importance, format: self)
    result.scales = [grid.scaleBits]
    result.addCodes(row.weights.count) { grid.round(row.weights, into: $0) }
    return result
  }

  /// Rows put together as this coding stores them.
  func payload(_ rows: [FittedRow]) -> QuantizedWeights.Payload {
    let codes = rows.flatMap(\.codes)
    let scales = rows.flatMap(\.scales)
    switch coding {
    case .blockFloat: return .blockFloat(codes: codes, exponents: rows.flatMap(\.bytes))
    case .twoLevel:
      return .twoLevel(
        codes: codes, scales: scales,
        levels: rows.flatMap { $0.bytes.map(TwoLevelCode.init(byte:)) })
    case .binary:
      return .binary(
        codes: codes, scales: scales, offsets: rows.flatMap(\.offsets),
        planeWeights: rows.flatMap(\.bytes))
    case .nonlinear, .perRow, .affine, .symmetric, .float16:
      return .integer(codes: codes, scales: scales, zeroPoints: [])
    }
  }
}
