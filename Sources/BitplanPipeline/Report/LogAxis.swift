import Foundation

/// A logarithmic axis with ticks at round numbers.
package struct LogAxis: Sendable {
  /// Ends of the axis, both positive.
  package let range: ClosedRange<Double>
  /// Labelled values inside ``range``, ascending: at least three.
  package let ticks: [Double]

  /// An axis that shows all `values`, of which some must be positive and finite.
  ///
  /// The axis spans at least a factor of three, so that a single value has surroundings.
  package init?(_ values: [Double]) {
    let usable = values.filter { $0 > 0 && $0.isFinite }
    guard let smallest = usable.min(), let largest = usable.max() else { return nil }
    var (low, high) = (log10(smallest), log10(largest))
    let padding = max(0.05 * (high - low), (log10(3) - (high - low)) / 2)
    (low, high) = (low - padding, high + padding)
    let ends = (max(pow(10, low), .leastNormalMagnitude), min(pow(10, high), 1e300))
    guard ends.0 < ends.1 else { return nil }
    range = ends.0...ends.1
    ticks = Self.ticks(range, low, high)
  }

  /// Where `value` stands between 0 and 1; values beyond the ends stand at the ends.
  package func position(_ value: Double) -> Double {
    guard value > range.lowerBound else { return 0 }
    let (low, high) = (log10(range.lowerBound), log10(range.upperBound))
    return min(1, (log10(value) - low) / (high - low))
  }

  /// Decades where there are enough of them, else more round numbers inside each.
  private static func ticks(
    _ range: ClosedRange<Double>, _ low: Double, _ high: Double
  ) -> [Double] {
    let decades = Int(low.rounded(.down))...Int(high.rounded(.up))
    let step = max(1, decades.count / 8)
    let mantissas: [[Double]] = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 7]]
    var found: [Double] = []
    for candidate in mantissas {
      found = decades.filter { candidate.count > 1 || $0.isMultiple(of: step) }.flatMap { decade in
        // A power of ten is exact from the text, not from repeated multiplication.
        candidate.compactMap { Double("\($0)e\(decade)") }
      }.filter(range.contains)
      if found.count >= 4 { break }
    }
    return found
  }
}

/// A linear axis with ticks at round numbers.
package struct LinearAxis: Sendable {
  /// Ends of the axis.
  package let range: ClosedRange<Double>
  /// Labelled values inside ``range``, ascending.
  package let ticks: [Double]
  /// Digits after the point that tell ticks apart.
  package let decimals: Int

  /// An axis that shows all `values`, of which one must be finite, with about `count` ticks.
  package init?(_ values: [Double], count: Int) {
    let usable = values.filter { $0.isFinite && abs($0) < 1e12 }
    guard let smallest = usable.min(), let largest = usable.max() else { return nil }
    let padding = max(0.06 * (largest - smallest), 0.05 * max(abs(largest), 1e-3))
    let (low, high) = (smallest - padding, largest + padding)
    let raw = (high - low) / Double(max(2, count))
    let magnitude = pow(10, log10(raw).rounded(.down))
    let step = ([1, 2, 5, 10].first { $0 * magnitude >= raw } ?? 10) * magnitude
    let first = (low / step).rounded(.up)
    let last = (high / step).rounded(.down)
    range = low...high
    ticks = stride(from: first, through: last, by: 1).map { $0 * step }
    decimals = max(0, -Int(log10(step * 1.0001).rounded(.down)))
  }

  /// Where `value` stands between 0 and 1; values beyond the ends stand at the ends.
  package func position(_ value: Double) -> Double {
    let span = range.upperBound - range.lowerBound
    return min(1, max(0, (value - range.lowerBound) / span))
  }
}
