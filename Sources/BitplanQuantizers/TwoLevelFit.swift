internal import BitplanCore

/// The two-phase search of Zhang et al. 2023 (DGQ, arXiv:2310.04836) for two-level formats.
///
/// Phase 1 finds a real scale and a zero point for every group, as for affine formats. Phase 2
/// tries scales for the row: every group takes the whole multiple next to its real scale, below or
/// above, that errs less. Codes keep to the protective range, so that integer weights stay within
/// −127…127.
enum TwoLevelFit {
  /// Parts of the largest group scale that are tried as the row's scale: 16 is the largest multiple
  /// a group can take.
  private static let divisors: [Float] = (0...20).map { 16 - Float($0) / 2 }

  /// One group during the search.
  private struct Group {
    let weights: UnsafeBufferPointer<Float>
    let importance: UnsafeBufferPointer<Float>
    let scale: Float
    let zeroPoint: Int

    /// The better of the multiples next to the group's scale, and its error.
    func level(rowScale: Float) -> (code: TwoLevelCode, error: Float) {
      let below = Int(min(max((scale / rowScale).rounded(.down), 1), 16))
      let first = TwoLevelCode(groupScale: below, zeroPoint: zeroPoint)
      let firstError = error(first, rowScale)
      guard below < 16 else { return (first, firstError) }
      let second = TwoLevelCode(groupScale: below + 1, zeroPoint: zeroPoint)
      let secondError = error(second, rowScale)
      return secondError < firstError ? (second, secondError) : (first, firstError)
    }

    func code(_ weight: Float, _ level: TwoLevelCode, _ rowScale: Float) -> Float {
      let step = rowScale * Float(level.groupScale)
      let range = level.codes
      let position = (weight / step + Float(level.zeroPoint)).rounded(.toNearestOrEven)
      return min(max(position, Float(range.lowerBound)), Float(range.upperBound))
    }

    private func error(_ level: TwoLevelCode, _ rowScale: Float) -> Float {
      let step = rowScale * Float(level.groupScale)
      let (inverse, zero) = (1 / step, Float(level.zeroPoint))
      let range = level.codes
      let (low, high) = (Float(range.lowerBound), Float(range.upperBound))
      // Adding 1.5·2²³ rounds to the nearest integer, ties to even.
      let rounding: Float = 12_582_912
      var total: Float = 0
      for index in weights.indices {
        let position = min(max(weights[index] * inverse + zero, low), high)
        let difference = weights[index] - ((position + rounding) - rounding - zero) * step
        total += importance[index] * difference * difference
      }
      return total
    }
  }

  /// A whole row.
  static func fit(_ row: RowInput, format: WeightFormat) -> FittedRow {
    guard let affine = WeightFormat(identifier: "int4_g128") else {
      preconditionFailure("int4_g128 is a format")
    }
    var groups: [Group] = []
    row.forEachGroup(of: format.groupSize) { weights, importance in
      let grid = GroupGrid.best(weights, importance: importance, format: affine)
      groups.append(
        Group(
          weights: weights, importance: importance, scale: grid.scale,
          zeroPoint: Int(grid.zeroPoint)))
    }
    let largest = groups.reduce(0) { max($0, $1.scale) }
    var best: (scale: Float16, levels: [TwoLevelCode], error: Float)?
    for divisor in divisors {
      // The smallest positive binary16 is a scale too: the groups of a row of zeros have one.
      let scale = max(Float16(largest / divisor), .leastNonzeroMagnitude)
      let levels = groups.map { $0.level(rowScale: Float(scale)) }
      let error = levels.reduce(0) { $0 + $1.error }
      if best.map({ error < $0.error }) ?? true { best = (scale, levels.map(\.code), error) }
    }
    guard let best else { return FittedRow() }
    var result = FittedRow(scales: [best.scale.bitPattern], bytes: best.levels.map(\.byte))
    for (group, level) in zip(groups, best.levels) {
      result.addCodes(group.weights.count) { codes in
        for index in group.weights.indices {
          codes[index] = UInt8(group.code(group.weights[index], level, Float(best.scale)))
        }
      }
    }
    return result
  }
}
