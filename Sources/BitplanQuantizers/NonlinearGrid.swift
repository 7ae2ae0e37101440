internal import BitplanCore

/// The scale of one group of a non-linear format: `w ≈ scale · level[code]`.
struct NonlinearGrid {
  /// Binary16 pattern of the scale.
  let scaleBits: UInt16
  /// The scale that the stored pattern stands for; may be negative.
  let scale: Float

  /// Where the outermost weight may come to lie, in parts of the outermost level.
  private static let ratios: [Float] = [1, 0.96, 0.92, 0.88, 0.84, 0.8, 0.76, 0.72, 1.04, 1.08]

  /// The nearest code for every half step from −128 to 127.5: midpoints between whole levels are
  /// multiples of one half, so no half step has a boundary inside.
  private static let nearest: [UInt8] = (0..<512).map { index in
    let position = (Float(index) - 256) / 2 + 0.25
    let levels = NonlinearLevels.values.map { abs(Float($0) - position) }
    return UInt8(levels.indices.min { levels[$0] < levels[$1] } ?? 0)
  }
  private static let levels: [Float] = NonlinearLevels.values.map(Float.init)

  private init(scale: Float) {
    // As in GroupGrid: neither a scale of next to no precision nor an infinite one.
    let magnitude = min(max(abs(scale), 9.536_743e-07), 65_504)
    let half = Float16(scale < 0 ? -magnitude : magnitude)
    scaleBits = half.bitPattern
    self.scale = Float(half)
  }

  /// The scale for a group of zeros, which stands for zeros exactly.
  private init() { (scaleBits, scale) = (0, 0) }

  /// The scale, of either sign, with the least weighted squared error over ``ratios``, refitted.
  static func best(
    _ weights: UnsafeBufferPointer<Float>, _ importance: UnsafeBufferPointer<Float>
  ) -> NonlinearGrid {
    let extreme = weights.max { abs($0) < abs($1) } ?? 0
    guard extreme != 0 else { return NonlinearGrid() }
    var best = NonlinearGrid(scale: extreme / levels[0])
    var bestError = best.error(weights, importance)
    func consider(_ grid: NonlinearGrid) -> Bool {
      let error = grid.error(weights, importance)
      guard error < bestError else { return false }
      (best, bestError) = (grid, error)
      return true
    }
    for end in [levels[0], levels[15]] {
      for ratio in ratios { _ = consider(NonlinearGrid(scale: extreme / end * ratio)) }
    }
    for _ in 0..<2 {
      guard let refitted = best.refitted(weights, importance), consider(refitted) else { break }
    }
    return best
  }

  /// `Σ importance · (w − ŵ)²`.
  private func error(
    _ weights: UnsafeBufferPointer<Float>, _ importance: UnsafeBufferPointer<Float>
  ) -> Float {
    var total: Float = 0
    let doubled = 2 / scale
    Self.nearest.withUnsafeBufferPointer { nearest in
      Self.levels.withUnsafeBufferPointer { levels in
        for index in weights.indices {
          let level = levels[Int(nearest[Self.halfStep(weights[index] * doubled)])]
          let difference = weights[index] - scale * level
          total += importance[index] * difference * difference
        }
      }
    }
    return total
  }

  /// Index into ``nearest`` of twice a position.
  private static func halfStep(_ doubled: Float) -> Int {
    Int(min(max(doubled, -256), 255).rounded(.down)) + 256
  }

  private func code(_ weight: Float) -> UInt8 {
    scale == 0 ? 0 : Self.nearest[Self.halfStep(weight * (2 / scale))]
  }

  /// The same codes with the least-squares scale, or `nil` where there is none.
  private func refitted(
    _ weights: UnsafeBufferPointer<Float>, _ importance: UnsafeBufferPointer<Float>
  ) -> NonlinearGrid? {
    var (numerator, denominator): (Float, Float) = (0, 0)
    for index in weights.indices {
      let level = Self.levels[Int(code(weights[index]))]
      numerator += importance[index] * weights[index] * level
      denominator += importance[index] * level * level
    }
    guard denominator > 0, numerator != 0 else { return nil }
    return NonlinearGrid(scale: numerator / denominator)
  }

  /// A whole row.
  static func fit(_ row: RowInput, groupSize: Int) -> FittedRow {
    var result = FittedRow()
    row.forEachGroup(of: groupSize) { weights, importance in
      let grid = best(weights, importance)
      result.scales.append(grid.scaleBits)
      result.addCodes(weights.count) { codes in
        for index in weights.indices { codes[index] = grid.code(weights[index]) }
      }
    }
    return result
  }
}
