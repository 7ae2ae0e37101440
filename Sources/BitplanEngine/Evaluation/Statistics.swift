/// What a set of values amounts to: a mean with its uncertainty, and its tail.
public struct SampleSummary: Hashable, Sendable {
  /// Mean over all values.
  public let mean: Double
  /// Middle value; the mean of the two middle ones for an even count.
  public let median: Double
  /// The smallest value that at least 99 % of the values do not exceed.
  public let percentile99: Double
  /// Largest value.
  public let maximum: Double
  /// Standard error of the mean if all values were independent.
  public let standardErrorOverTokens: Double
  /// Standard error of the mean if only the windows were independent: the honest one, since
  /// neighbouring tokens are alike. 0 for a single window.
  public let standardErrorOverWindows: Double

  /// Summarises values that came in windows; there must be at least one value.
  public init(windows: [[Double]]) {
    let values = windows.flatMap { $0 }.sorted()
    precondition(!values.isEmpty, "nothing to summarise")
    let count = Double(values.count)
    let mean = values.reduce(0, +) / count
    self.mean = mean
    let middle = values.count / 2
    median = values.count % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2
    percentile99 = values[(99 * values.count + 99) / 100 - 1]
    maximum = values[values.count - 1]
    let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    standardErrorOverTokens = values.count > 1 ? (squares / (count - 1) / count).squareRoot() : 0
    // Ratio estimator: windows may differ in length.
    let groups = Double(windows.count)
    let spread = windows.reduce(0.0) { sum, window in
      let difference = window.reduce(0, +) - Double(window.count) * mean
      return sum + difference * difference
    }
    standardErrorOverWindows =
      windows.count > 1 ? (spread * groups / (groups - 1)).squareRoot() / count : 0
  }
}
