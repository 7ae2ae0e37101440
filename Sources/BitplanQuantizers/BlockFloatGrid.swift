internal import BitplanCore

/// The exponent of one block: `w ≈ 2^(exponent − 127) · (code − 2^(bitWidth − 1))`.
struct BlockFloatGrid {
  /// The stored byte; 0 for a block of zeros.
  let exponent: UInt8
  private let scale: Float
  private let middle: Float

  private init(exponent: Int, bitWidth: Int) {
    self.exponent = UInt8(min(max(exponent, 1), 254))
    scale = QuantizedWeights.scale(exponent: self.exponent)
    middle = Float(1 << (bitWidth - 1))
  }

  private init(zerosOf bitWidth: Int) {
    (exponent, scale) = (0, 0)
    middle = Float(1 << (bitWidth - 1))
  }

  /// The exponent with the least weighted squared error: the smallest that reaches every weight, or
  /// one of the two below it, which clip.
  static func best(
    _ weights: UnsafeBufferPointer<Float>, _ importance: UnsafeBufferPointer<Float>,
    bitWidth: Int
  ) -> BlockFloatGrid {
    let largest = weights.reduce(0) { max($0, abs($1)) }
    guard largest > 0 else { return BlockFloatGrid(zerosOf: bitWidth) }
    // largest ≤ 2^(its exponent + 1), and 2^(bitWidth − 1) steps reach as far as the scale allows.
    let reaching = Int(largest.exponent) + 1 - (bitWidth - 1) + 127
    var best = BlockFloatGrid(exponent: reaching, bitWidth: bitWidth)
    var bestError = best.error(weights, importance)
    for exponent in [reaching - 1, reaching - 2] {
      let grid = BlockFloatGrid(exponent: exponent, bitWidth: bitWidth)
      let error = grid.error(weights, importance)
      if error < bestError { (best, bestError) = (grid, error) }
    }
    return best
  }

  private func code(_ weight: Float) -> Float {
    guard scale > 0 else { return middle }
    return min(max((weight / scale).rounded(.toNearestOrEven) + middle, 0), 2 * middle - 1)
  }

  private func error(
    _ weights: UnsafeBufferPointer<Float>, _ importance: UnsafeBufferPointer<Float>
  ) -> Float {
    var total: Float = 0
    for index in weights.indices {
      let difference = weights[index] - scale * (code(weights[index]) - middle)
      total += importance[index] * difference * difference
    }
    return total
  }

  /// A whole row.
  static func fit(_ row: RowInput, format: WeightFormat) -> FittedRow {
    var result = FittedRow()
    row.forEachGroup(of: format.groupSize) { weights, importance in
      let grid = best(weights, importance, bitWidth: format.bitWidth)
      result.bytes.append(grid.exponent)
      result.addCodes(weights.count) { codes in
        for index in weights.indices { codes[index] = UInt8(grid.code(weights[index])) }
      }
    }
    return result
  }
}
