internal import Foundation

/// Statistics of repeated timings.
public struct TimingStatistics: Hashable, Sendable {
  /// The middle value; the mean of the two middle ones for an even count.
  public let median: Double
  /// Half the distance between the quartiles.
  public let spread: Double
  /// Values kept.
  public let count: Int

  /// `values` must not be empty.
  public init(_ values: [Double]) {
    precondition(!values.isEmpty, "no timings")
    let sorted = values.sorted()
    median = Self.quantile(sorted, 0.5)
    spread = (Self.quantile(sorted, 0.75) - Self.quantile(sorted, 0.25)) / 2
    count = sorted.count
  }

  /// Linear interpolation between order statistics.
  private static func quantile(_ sorted: [Double], _ fraction: Double) -> Double {
    let position = fraction * Double(sorted.count - 1)
    let lower = Int(position)
    let upper = min(lower + 1, sorted.count - 1)
    return sorted[lower] + (sorted[upper] - sorted[lower]) * (position - Double(lower))
  }
}

/// Seconds on a clock that never goes back.
public struct Stopwatch: Sendable {
  private let start = DispatchTime.now().uptimeNanoseconds

  /// Starts now.
  public init() {}

  /// Seconds since the start.
  public var seconds: Double { Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9 }
}
