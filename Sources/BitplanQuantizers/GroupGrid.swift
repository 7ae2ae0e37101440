public import BitplanCore

/// The grid of one group: `w ≈ scale · (code − zeroPoint)`, codes in `0 … maximumCode`.
public struct GroupGrid: Sendable {
  /// Binary16 pattern of the scale: what is stored.
  public let scaleBits: UInt16
  /// The scale that the stored pattern stands for.
  public let scale: Float
  /// Code that means 0.
  public let zeroPoint: Float
  /// Largest code.
  public let maximumCode: Float

  /// Adding and subtracting 1.5·2²³ rounds a float below 2²² to the nearest integer, ties to even.
  private static let roundingConstant: Float = 12_582_912

  package init(scale: Float, zeroPoint: Float, format: WeightFormat) {
    // 2⁻²⁰ still has four significant bits as a subnormal binary16; the top keeps the scale finite.
    let bounded = min(max(scale, 9.536_743e-07), 65_504)
    let half = Float16(bounded)
    scaleBits = half.bitPattern
    self.scale = Float(half)
    maximumCode = Float((1 << format.bitWidth) - 1)
    self.zeroPoint = zeroPoint
  }

  /// The grid with the least weighted squared error over `RoundToNearest.ratios`, then refitted.
  ///
  /// - Parameters:
  ///   - weights: the group's weights, at most the format's group size; a row's for formats with
  ///     one scale a row.
  ///   - importance: one non-negative factor for every weight.
  public static func best(
    _ weights: UnsafeBufferPointer<Float>, importance: UnsafeBufferPointer<Float>,
    format: WeightFormat
  ) -> GroupGrid {
    let (low, high) = range(weights)
    var best = spanning(low: low, high: high, format: format)
    guard low < 0 || high > 0 else { return best }
    var bestError = best.error(weights, importance)
    for ratio in RoundToNearest.ratios.dropFirst() {
      let grid = minMax(low: low * ratio, high: high * ratio, format: format)
      let error = grid.error(weights, importance)
      if error < bestError { (best, bestError) = (grid, error) }
    }
    for _ in 0..<2 {
      guard let refitted = best.refitted(weights, importance, format: format) else { break }
      let error = refitted.error(weights, importance)
      guard error < bestError else { break }
      (best, bestError) = (refitted, error)
    }
    return best
  }

  /// The grid from the smallest weight, or 0, to the largest, or 0.
  static func spanning(
    _ weights: UnsafeBufferPointer<Float>, format: WeightFormat
  ) -> GroupGrid {
    let (low, high) = range(weights)
    return spanning(low: low, high: high, format: format)
  }

  private static func spanning(low: Float, high: Float, format: WeightFormat) -> GroupGrid {
    guard low < 0 || high > 0 else {
      return GroupGrid(scale: 0, zeroPoint: middle(format), format: format)
    }
    return minMax(low: low, high: high, format: format)
  }

  private static func range(_ weights: UnsafeBufferPointer<Float>) -> (low: Float, high: Float) {
    weights.reduce((low: 0, high: 0)) { (min($0.low, $1), max($0.high, $1)) }
  }

  private static func middle(_ format: WeightFormat) -> Float {
    Float(1 << (format.bitWidth - 1))
  }

  /// The grid that spans `[low, high]`, which contains 0.
  private static func minMax(low: Float, high: Float, format: WeightFormat) -> GroupGrid {
    let maximumCode = Float((1 << format.bitWidth) - 1)
    switch format.coding {
    case .symmetric, .perRow:
      let middle = middle(format)
      let scale = max(-low / middle, high / (maximumCode - middle))
      return GroupGrid(scale: scale, zeroPoint: middle, format: format)
    case .affine, .nonlinear, .blockFloat, .twoLevel, .binary, .float16:
      let trial = GroupGrid(scale: (high - low) / maximumCode, zeroPoint: 0, format: format)
      let zero = min(max((-low / trial.scale).rounded(), 0), maximumCode)
      return GroupGrid(scale: trial.scale, zeroPoint: zero, format: format)
    }
  }

  /// The nearest code of one weight.
  private func code(_ weight: Float, _ inverse: Float) -> Float {
    // Clamped before rounding, so that the constant's bound of 2²² holds for any weight.
    let position = min(max(weight * inverse + zeroPoint, 0), maximumCode)
    return (position + Self.roundingConstant) - Self.roundingConstant
  }

  /// `Σ importance · (w − ŵ)²`.
  func error(_ weights: UnsafeBufferPointer<Float>, _ importance: UnsafeBufferPointer<Float>)
    -> Float
  {
    let inverse = 1 / scale
    var lanes = SIMD8<Float>(repeating: 0)
    let vectorEnd = weights.count / 8 * 8
    let (zero, top) = (SIMD8(repeating: zeroPoint), SIMD8(repeating: maximumCode))
    let rounding = SIMD8(repeating: Self.roundingConstant)
    var index = 0
    while index < vectorEnd {
      let w = load(weights, index)
      var position = w * inverse + zero
      // By selection: `clamped` is a call for every four bytes here.
      position.replace(with: 0, where: position .< 0)
      position.replace(with: top, where: position .> top)
      let code = (position + rounding) - rounding
      let difference = w - (code - zero) * scale
      lanes += load(importance, index) * difference * difference
      index += 8
    }
    var total = lanes.sum()
    while index < weights.count {
      let difference = weights[index] - (code(weights[index], inverse) - zeroPoint) * scale
      total += importance[index] * difference * difference
      index += 1
    }
    return total
  }

  private func load(_ buffer: UnsafeBufferPointer<Float>, _ index: Int) -> SIMD8<Float> {
    UnsafeRawPointer(buffer.baseAddress! + index).loadUnaligned(as: SIMD8<Float>.self)
  }

  /// The same codes with the least-squares scale, or `nil` when every code is the zero point.
  private func refitted(
    _ weights: UnsafeBufferPointer<Float>, _ importance: UnsafeBufferPointer<Float>,
    format: WeightFormat
  ) -> GroupGrid? {
    let inverse = 1 / scale
    var numerator: Float = 0
    var denominator: Float = 0
    for index in weights.indices {
      let level = code(weights[index], inverse) - zeroPoint
      numerator += importance[index] * weights[index] * level
      denominator += importance[index] * level * level
    }
    guard denominator > 0, numerator > 0 else { return nil }
    return GroupGrid(scale: numerator / denominator, zeroPoint: zeroPoint, format: format)
  }

  /// Writes the code of every weight.
  func round(_ weights: UnsafeBufferPointer<Float>, into codes: UnsafeMutableBufferPointer<UInt8>) {
    let inverse = 1 / scale
    for index in weights.indices { codes[index] = UInt8(code(weights[index], inverse)) }
  }
}
