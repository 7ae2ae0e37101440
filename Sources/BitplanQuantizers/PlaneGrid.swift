internal import BitplanCore

/// Magnitudes of one group's bits as binary coding stores them: a binary16 scale times whole numbers.
struct PlaneGrid {
  /// As stored.
  let scale: Float
  /// Of every bit; together at most ``PlaneWeights/most``.
  let weights: PlaneWeights

  /// Scales that are tried: the sum of the magnitudes is so many of them.
  private static let sums = 112...PlaneWeights.most

  /// The grid nearest to `magnitudes`, whose signs do not matter: a magnitude and its negative add
  /// the same levels.
  ///
  /// With signs independent of each other, a code's level errs by the sum of squares of the
  /// magnitudes' errors; the best of ``sums`` is taken, each with the scale of least squares.
  init(magnitudes: [Float]) {
    let magnitudes = magnitudes.map { Double(abs($0)) }
    let sum = magnitudes.reduce(0, +)
    guard magnitudes.count > 1, sum > 0, sum < .infinity else {
      // Powers of two, in case the scale is ever refitted; one bit has nothing to choose.
      weights = PlaneWeights(stored: magnitudes.indices.map { UInt8(1) << UInt8($0) })
      scale = Self.stored(magnitudes.count == 1 ? magnitudes[0] : 0)
      return
    }
    var best: (gain: Double, scale: Double, weights: [UInt8]) = (-1, 0, [])
    for count in Self.sums {
      let rounded = magnitudes.map { ($0 / sum * Double(count)).rounded() }
      guard rounded.reduce(0, +) <= Double(PlaneWeights.most) else { continue }
      let products = zip(rounded, magnitudes).reduce(0) { $0 + $1.0 * $1.1 }
      let squares = rounded.reduce(0) { $0 + $1 * $1 }
      // Σ (m − s·q)² at the best s is Σ m² less this.
      let gain = products * products / squares
      if gain > best.gain { best = (gain, products / squares, rounded.map { UInt8($0) }) }
    }
    scale = Self.stored(best.scale)
    weights = PlaneWeights(stored: best.weights)
  }

  private static func stored(_ scale: Double) -> Float {
    Float(Float16(Float(min(scale, 65_504))))
  }
}
